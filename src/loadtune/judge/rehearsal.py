"""A sweep that is played through in advance, for ``--dry-run``: what it will try, what it refuses, how long it takes.

The strategy is asked for its steps as in a sweep; they are answered by the pipeline model, with costs as the probe saw
them or as they are on ordinary machines, and with noise as trials have it. Nothing is measured.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement, SweepPlan
from loadtune.judge.epoch import epoch_shape
from loadtune.judge.feasible import Refusal, least_bytes, refusal
from loadtune.judge.state import State, group_configs
from loadtune.judge.strategy import Step, first_step, next_step, opening
from loadtune.judge.summary import all_configs
from loadtune.record.results import (
    Environment,
    EpochMeasurement,
    Feeding,
    MemoryLimits,
    MemoryMeasurement,
    Probe,
    Rung,
    SteadyMeasurement,
    TrialRecord,
)

WORKER_START_SECONDS = {"fork": 0.012, "forkserver": 2.0, "spawn": 2.0}
"""Of one worker; those that are not forked import torch, one after another where cores are few."""
TRIAL_SECONDS = 0.12
"""Of a trial beside its start-up, priming, windows, pause and epochs."""
UNKNOWN_SAMPLE_SECONDS = 1e-3
TRIAL_NOISE, WINDOW_NOISE = 0.03, 0.03
"""Standard deviations of a log rate, between trials and between windows: what a machine shows that others use too."""
EVEN = 0.1
"""Share of that noise which stays where a simulated step, not the loader, decides the rate."""
MOST_TRIALS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a sweep is expected to do."""

    seconds: float
    """From the first trial to the choice."""
    trials: Mapping[str, int]
    """By phase."""
    first: tuple[LoaderConfig, ...]
    """What is tried first, in order, by what the first look at the data set lets expect."""
    settled: int
    """How many of ``first`` are tried in any case: no rate has a say in them."""
    refused: Mapping[LoaderConfig, Refusal]
    """What cannot run here."""
    over_limit: Mapping[LoaderConfig, float]
    """What can run and is over the limit of host memory in any case: the least that it needs, in bytes."""
    configs: int
    """Of the grid and the baseline, as the result has rows."""


def rehearse(
    plan: SweepPlan,
    configs: Sequence[LoaderConfig],
    *,
    probe: Probe,
    environment: Environment,
    limits: MemoryLimits,
    workers_open_ended: bool,
) -> Rehearsal:
    """Return what a sweep with these arguments is expected to do; the arguments are those of ``next_step``."""
    groups, every = group_configs(configs, probe.baseline), all_configs(configs, (), probe)
    reasons = {
        group.config: refusal(group.config, probe=probe, environment=environment, limits=limits) for group in groups
    }
    refused = {config: reason for config in every if (reason := reasons[config.steady]) is not None}
    actor = _Actor(plan, probe, environment)
    for group in groups:
        if group.config in refused:
            actor.refuse(first_step(group, plan))
    most = len(actor.records) + MOST_TRIALS
    settled = opening(
        State(
            plan=plan,
            configs=tuple(configs),
            records=tuple(actor.records),
            probe=probe,
            limits=limits,
            usable_cpus=environment.usable_cpus,
            environment=environment,
            workers_open_ended=workers_open_ended,
        )
    )
    while len(actor.records) < most and actor.seconds < plan.time_budget_seconds:
        step = next_step(
            plan,
            configs,
            actor.records,
            actor.seconds,
            probe=probe,
            limits=limits,
            workers_open_ended=workers_open_ended,
            usable_cpus=environment.usable_cpus,
            environment=environment,
        )
        if step is None:
            break
        if refusal(step.config, probe=probe, environment=environment, limits=limits) is not None:
            actor.refuse(step)
        else:
            actor.play(step)
    first = tuple(dict.fromkeys(record.config for record in actor.records if _is_first_look(record)))
    played = [record for record in actor.records if record.status == "ok"]
    return Rehearsal(
        seconds=actor.seconds,
        trials=Counter(record.phase for record in played),
        first=first,
        settled=sum(1 for _ in itertools.takewhile(operator.truth, map(operator.eq, first, settled))),
        refused=refused,
        over_limit=_over(tuple(config for config in every if config not in refused), probe, limits.host_memory_bytes),
        configs=len(every),
    )


def _is_first_look(record: TrialRecord) -> bool:
    return record.status == "ok" and record.phase == "screen"


def _over(configs: Sequence[LoaderConfig], probe: Probe, limit_bytes: int | None) -> dict[LoaderConfig, float]:
    needed = {config: least_bytes(config, probe) or 0.0 for config in configs if limit_bytes is not None}
    return {config: size for config, size in needed.items() if size > (limit_bytes or 0)}


class _Actor:
    """Stands in for the machine."""

    def __init__(self, plan: SweepPlan, probe: Probe, environment: Environment) -> None:
        self.records: list[TrialRecord] = []
        self.seconds = 0.0
        self._plan, self._probe, self._cores = plan, probe, environment.usable_cpus
        self._random = random.Random(plan.seed)  # noqa: S311 - made-up noise is no secret

    def refuse(self, step: Step) -> None:
        """Keep a trial that cannot run."""
        self.records.append(self._record(step, None, 0.0))

    def play(self, step: Step) -> None:
        """Keep a trial as it may come out, and let its time pass."""
        rate = self._rate(step.config)
        steady = self._steady(step, rate)
        epochs = sum(epoch.seconds for epoch in steady.epochs)
        before = steady.first_batch_seconds + _priming(step, rate)
        pause = step.measurement.pause_seconds or 0.0
        rungs = tuple(self._rungs(step, rate))
        took = TRIAL_SECONDS + before + steady.measured_seconds + min(pause, _filling(step, rate)) + epochs
        took += sum(rung.seconds for rung in rungs)
        self.seconds += took
        self.records.append(replace(self._record(step, steady, took), rungs=rungs))

    def _rungs(self, step: Step, rate: float) -> Iterator[Rung]:
        """Yield what the same workers may do with smaller batches, behind those that are ahead."""
        for size in sorted(step.ladder, reverse=True):
            ahead = step.config.batches_in_flight * float(step.config.batch_size or 1) / rate
            if ahead > step.measurement.rung_wait_seconds:
                return
            step = replace(step, config=replace(step.config, batch_size=size))
            rate = self._rate(step.config)
            seen = self._steady(step, rate)
            yield Rung(
                batch_size=size,
                seconds=ahead + _priming(step, rate) + seen.measured_seconds,
                window_samples_per_second=seen.window_samples_per_second,
                samples_measured=seen.samples_measured,
            )

    def _rate(self, config: LoaderConfig) -> float:
        """Return the samples per second that the probe's figures give."""
        size, workers = float(config.batch_size or 1), config.num_workers
        wall = self._probe.seconds_per_sample or UNKNOWN_SAMPLE_SECONDS
        cpu = min(wall, self._probe.cpu_seconds_per_sample or wall)
        overhead = 3e-4 + 2.5e-10 * size * (self._probe.bytes_per_sample or 0.0)
        step = self._plan.consumer.step_seconds
        if not workers:
            return size / (size * wall + step + 1e-4)
        bounds = (workers / (size * wall + 3e-4), self._cores / (size * cpu + overhead), 1 / (overhead + step))
        return float(size * sum(bound**-10 for bound in bounds) ** -0.1)

    def _steady(self, step: Step, rate: float) -> SteadyMeasurement:
        config, size = step.config, float(step.config.batch_size or 1)
        one_round = max(1, config.num_workers) * size / rate
        length = max(step.measurement.window_seconds, one_round)
        count = max(2, round(step.measurement.max_seconds / length))
        feeding = self._feeding(size, rate)
        calm = 1.0 if feeding is None else max(EVEN, feeding.wait_share)  # a step that waits for nothing is even
        level = rate * math.exp(self._random.gauss(0, calm * TRIAL_NOISE))
        rates = tuple(level * math.exp(self._random.gauss(0, calm * WINDOW_NOISE)) for _ in range(count))
        start = config.num_workers * WORKER_START_SECONDS[_method(config, self._probe)]
        return SteadyMeasurement(
            startup_seconds=start,
            first_batch_seconds=start + one_round,
            window_samples_per_second=rates,
            batches_measured=max(1, round(count * length * rate / size)),
            samples_measured=max(1, round(length * sum(rates))),
            measured_seconds=count * length,
            steady=True,
            batch_wait_p50_seconds=0.0,
            batch_wait_p95_seconds=0.0,
            batch_wait_p99_seconds=0.0,
            cpu_seconds=None,
            bytes_per_batch=size * (self._probe.bytes_per_sample or 0.0),
            samples_per_batch=size,
            epochs=tuple(self._epochs(step, rate, start + one_round)),
            feeding=feeding,
        )

    def _feeding(self, size: float, rate: float) -> Feeding | None:
        """Return how the step is fed; what a training step of the user's takes is not known before it ran."""
        seconds = self._plan.consumer.step_seconds
        if not seconds or not self._probe.batch_size_is_swept:
            return None
        busy = min(1.0, rate * seconds / size)
        return Feeding(wait_share=1 - busy, step_share=busy, cached_samples_per_second=size / seconds)

    def _epochs(self, step: Step, rate: float, before: float) -> list[EpochMeasurement]:
        found = []
        for drop in step.drop_last:
            config = LoaderConfig.normalised(**(step.config.as_dict() | {"drop_last": drop}))
            shape = epoch_shape(config, self._probe)
            seconds = before + shape.samples / rate if shape is not None else math.inf
            if shape is not None and shape.batches and seconds <= step.measurement.real_epoch_seconds:
                found.append(
                    EpochMeasurement(drop_last=drop, seconds=seconds, samples=shape.samples, batches=shape.batches)
                )
        return found

    def _record(self, step: Step, steady: SteadyMeasurement | None, seconds: float) -> TrialRecord:
        return TrialRecord(
            order=len(self.records),
            block=step.block,
            phase=step.phase,
            config=step.config,
            drop_last=step.drop_last,
            status="ok" if steady is not None else "refused",
            started_at="",
            seconds=seconds,
            steady=steady,
            # No more is known of the peaks, and a limit that is not reached changes nothing.
            memory=MemoryMeasurement(
                host_peak_bytes=round(least_bytes(step.config, self._probe) or 0.0), gpu_peak_bytes=0, samples=1
            ),
            one_thread=step.one_thread,
        )


def _method(config: LoaderConfig, probe: Probe) -> str:
    return config.multiprocessing_context or probe.default_start_method or "fork"


def _priming(step: Step, rate: float) -> float:
    """Return the seconds from the first batch to the first window: 2·P·W batches, or the time for priming."""
    size, workers = float(step.config.batch_size or 1), max(1, step.config.num_workers)
    whole = 2 * max(1, step.config.batches_in_flight) * size / rate
    measurement: Measurement = step.measurement
    return whole if whole <= measurement.priming_seconds else max(measurement.priming_seconds, workers * size / rate)


def _filling(step: Step, rate: float) -> float:
    """Return the seconds until the queue is full, with the look at memory."""
    return 0.05 + 1.5 * step.config.batches_in_flight * float(step.config.batch_size or 1) / rate
