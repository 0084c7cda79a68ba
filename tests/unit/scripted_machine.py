"""A machine whose true rates are known: it answers the steps of a sweep without waiting."""

# ruff: noqa: S311 - simulated noise is no secret
from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Phase, SweepPlan
from loadtune.judge.strategy import Step, next_step
from loadtune.record.results import (
    Environment,
    Feeding,
    MemoryLimits,
    MemoryMeasurement,
    Probe,
    Rung,
    SteadyMeasurement,
    TrialRecord,
)

MIB = 2**20


def a_probe(**changes: object) -> Probe:
    settings: dict[str, object] = {
        "dataset_kind": "map",
        "dataset_samples": 50_000,
        "seconds_per_sample": 1e-3,
        "cpu_seconds_per_sample": 1e-3,
        "bytes_per_sample": 12_288.0,
        "samples_probed": 64,
        "baseline": LoaderConfig(batch_size=64),
    }
    return Probe(**(settings | changes))  # type: ignore[arg-type]


def an_environment(**changes: Any) -> Environment:
    known = Environment(
        hostname="here",
        platform="Linux",
        cpu_model="a processor",
        logical_cpus=2,
        usable_cpus=2.0,
        usable_cpus_source="affinity",
        host_memory_limit_bytes=8 * 2**30,
        host_memory_limit_source="physical",
        shm_total_bytes=None,
        shm_free_bytes=None,
        open_files_limit=1024,
        load_average=0.0,
        python_version="3.12",
        loadtune_version="0",
    )
    return replace(known, **changes)


def a_record(
    config: LoaderConfig,
    rates: Sequence[float] = (1000.0, 1000.0),
    *,
    order: int = 0,
    block: int = 0,
    phase: Phase = "screen",
    peak: int | None = 500 * MIB,
    seconds: float | None = None,
    status: str = "ok",
    **steady: object,
) -> TrialRecord:
    """A trial with windows of half a second at these rates."""
    size = config.batch_size or 64
    measured = sum(rates) * 0.5
    settings: dict[str, object] = {
        "startup_seconds": 0.02,
        "first_batch_seconds": 0.1,
        "window_samples_per_second": tuple(rates),
        "batches_measured": max(1, round(measured / size)),
        "samples_measured": round(measured),
        "measured_seconds": 0.5 * len(rates) * round(measured) / measured if measured else 0.0,
        "steady": True,
        "batch_wait_p50_seconds": 0.001,
        "batch_wait_p95_seconds": 0.002,
        "batch_wait_p99_seconds": 0.003,
        "cpu_seconds": 0.9,
        "bytes_per_batch": 12_288.0 * size,
        "samples_per_batch": float(size),
    }
    return TrialRecord(
        order=order,
        block=block,
        phase=phase,
        config=config.steady,
        drop_last=(config.drop_last,),
        status=status,  # type: ignore[arg-type]
        failure_kind=None if status == "ok" else "worker_error",
        failure_reason=None if status == "ok" else "a worker raised",
        started_at="2025-01-01T00:00:00Z",
        seconds=seconds if seconds is not None else 0.5 * len(rates) + 0.3,
        steady=SteadyMeasurement(**(settings | steady)) if status == "ok" else None,  # type: ignore[arg-type]
        memory=MemoryMeasurement(host_peak_bytes=peak, private_peak_bytes=peak, samples=2),
    )


@dataclass
class Machine:
    """Gives every configuration a true rate, and noise as it was asked for."""

    rate: Callable[[LoaderConfig], float]
    seed: int = 0
    window_sd: float = 0.0
    trial_sd: float = 0.0
    block_sd: float = 0.0
    slowing: float = 0.0
    """Share of the speed that is lost each second."""
    overhead: float = 0.4
    worker_start: float = 0.0
    """Seconds that each worker takes to start."""
    cached: float | None = None
    """Samples per second of the step on batches that are there already; None is no step."""
    peak: Callable[[LoaderConfig], int] = lambda config: (300 + 100 * config.num_workers) * MIB
    status: Callable[[LoaderConfig], str] = lambda _: "ok"
    elapsed: float = 0.0
    records: list[TrialRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.moods: dict[int, float] = {}

    def run(self, step: Step) -> TrialRecord:
        """Measure one step, and let the time pass that it takes."""
        mood = self.moods.setdefault(step.block, self.random.gauss(0, self.block_sd))
        trial = self.random.gauss(0, self.trial_sd)
        status = self.status(step.config)
        rates = []
        began = self.elapsed
        self.elapsed += self.overhead + self.worker_start * step.config.num_workers
        for _ in range(max(1, round(step.measurement.max_seconds / 0.5)) if status == "ok" else 0):
            log = math.log(self.rate(step.config)) + mood + trial + self.random.gauss(0, self.window_sd)
            rates.append(math.exp(log + math.log1p(-self.slowing) * self.elapsed))
            self.elapsed += 0.5
        record = a_record(
            step.config,
            rates,
            order=len(self.records),
            block=step.block,
            phase=step.phase,
            peak=self.peak(step.config),
            seconds=self.elapsed - began,
            status=status,
            feeding=Feeding(wait_share=0.0, step_share=None, cached_samples_per_second=self.cached)
            if self.cached is not None and step.phase == "screen"
            else None,
        )
        object.__setattr__(record, "drop_last", step.drop_last)
        if status == "ok":
            object.__setattr__(record, "rungs", tuple(self._rung(step, size, mood + trial) for size in step.ladder))
        self.records.append(record)
        return record

    def _rung(self, step: Step, size: int, shared: float) -> Rung:
        """Measure another batch size with the same workers: what the trial is off by, it is off by too."""
        rate = math.log(self.rate(replace(step.config, batch_size=size))) + shared
        windows = tuple(math.exp(rate + self.random.gauss(0, self.window_sd)) for _ in range(2))
        self.elapsed += 2.0
        return Rung(
            batch_size=size,
            seconds=2.0,
            window_samples_per_second=windows,
            samples_measured=round(sum(windows) / 2),
        )

    def sweep(
        self,
        plan: SweepPlan,
        configs: Sequence[LoaderConfig],
        *,
        probe: Probe | None = None,
        limits: MemoryLimits | None = None,
        workers_open_ended: bool = False,
        environment: Environment | None = None,
    ) -> list[TrialRecord]:
        """Run all the steps that the strategy asks for."""
        while len(self.records) < 10_000:
            step = next_step(
                plan,
                configs,
                self.records,
                self.elapsed,
                probe=probe or a_probe(),
                limits=limits or MemoryLimits(),
                workers_open_ended=workers_open_ended,
                environment=environment,
            )
            if step is None:
                return self.records
            self.run(step)
        raise AssertionError("the sweep does not end")
