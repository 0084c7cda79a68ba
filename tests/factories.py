"""Results made by hand, as a sweep would give them: for the tests of whatever shows, stores or compares them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Limits, SweepPlan, TrialRequest
from loadtune.describe.space import SearchSpace
from loadtune.record.results import (
    WAIT_SHARES,
    Cost,
    Environment,
    Finding,
    Interval,
    MemoryLimits,
    MemoryLook,
    MemoryMeasurement,
    Model,
    Pick,
    Probe,
    RunResult,
    SteadyMeasurement,
    TrialRecord,
    TrialResult,
    TrialRun,
    result_columns,
)
from loadtune.units import Size

MIB = 2**20
SAMPLES = 50_000
SECONDS_PER_SAMPLE = 0.62e-3
BYTES_PER_SAMPLE = 12_296
BATCH_SIZES = (32, 64, 128, 256, 512)
WORKERS = (0, 1, 2, 4)
HOST_LIMIT = 900 * MIB

HOSTILE = (
    "<script>alert('x')</script> [bold red]x[/] \x1b[31mred\x1b[0m \x1b]0;title\x07 =1+1 | `a` \r\nsecond \u202eline"
)
"""A string that tries every output at once."""


def make_environment(**changes: Any) -> Environment:
    """Return a machine of two cores."""
    values: dict[str, Any] = {
        "hostname": "bench-1",
        "platform": "Linux-6.1-x86_64",
        "cpu_model": "Xeon Platinum 8481C",
        "logical_cpus": 2,
        "usable_cpus": 2.0,
        "usable_cpus_source": "affinity",
        "host_memory_limit_bytes": 8 * 2**30,
        "host_memory_limit_source": "cgroup memory.max",
        "shm_total_bytes": 4 * 2**30,
        "shm_free_bytes": 4 * 2**30,
        "open_files_limit": 1024,
        "load_average": 0.2,
        "python_version": "3.11.7",
        "loadtune_version": "0.1.0",
        "packages": {"torch": "2.15.0", "torchvision": "0.30.0"},
    }
    return Environment(**{**values, **changes})


def make_probe(**changes: Any) -> Probe:
    """Return what is seen of 50,000 images of 32 × 32."""
    values: dict[str, Any] = {
        "dataset_kind": "map",
        "dataset_samples": SAMPLES,
        "seconds_per_sample": SECONDS_PER_SAMPLE,
        "cpu_seconds_per_sample": 0.6e-3,
        "bytes_per_sample": float(BYTES_PER_SAMPLE),
        "samples_probed": 256,
        "baseline": LoaderConfig(batch_size=64),
        "name": "cifar10",
        "torch_version": "2.15.0",
    }
    return Probe(**{**values, **changes})


def make_trial(config: LoaderConfig, rate: float, **changes: Any) -> TrialResult:
    """Return a measured row at ``rate`` samples a second, with epoch, memory and the document's figures to match."""
    batch = config.batch_size or 1
    batches = SAMPLES // batch if config.drop_last else math.ceil(SAMPLES / batch)
    used = min(SAMPLES, batches * batch)
    bytes_per_batch = float(batch * BYTES_PER_SAMPLE)
    ahead = config.batches_in_flight + 1
    epoch = 0.05 + 0.03 * config.num_workers + used / rate
    peak = int(310 * MIB + 160 * MIB * config.num_workers + ahead * bytes_per_batch)
    values: dict[str, Any] = {
        **result_columns(config),
        "status": "ok",
        "samples_per_second": rate,
        "samples_per_second_low": rate * 0.989,
        "samples_per_second_high": rate * 1.011,
        "epoch_samples_per_second": used / epoch,
        "batches_measured": 120,
        "repeats": 2,
        "startup_seconds": 0.01 + 0.03 * config.num_workers,
        "first_batch_seconds": 0.05 + 0.03 * config.num_workers,
        "batch_wait_p50_seconds": batch / rate,
        "batch_wait_p95_seconds": 1.5 * batch / rate,
        "batch_wait_p99_seconds": 2.0 * batch / rate,
        "cpu_seconds_per_1000_samples": 0.64,
        "host_peak_bytes": peak,
        "shm_peak_bytes": int(ahead * bytes_per_batch) if config.num_workers else 0,
        "batches_per_epoch": batches,
        "kbt_epoch_seconds": batches * batch * SECONDS_PER_SAMPLE,
        "epoch_seconds": epoch,
        "kbm_epoch_bytes": batches * batch * BYTES_PER_SAMPLE,
        "bytes_per_batch": bytes_per_batch,
        "within_limits": peak <= HOST_LIMIT,
        "windows": (rate * 0.99, rate * 1.01, rate),
        "order": (3, 17),
        "epoch_was_run": epoch < 20,
        "dropped_samples": SAMPLES - used,
    }
    return TrialResult(**{**values, **changes})


def make_result(*, hostile: str = "", **changes: Any) -> RunResult:
    """Return a whole sweep: measured rows with ties, failed, hung, refused and over-limit ones, both ``drop_last``.

    Args:
        hostile: A string put wherever a user's own words can come through.
        changes: Fields of the result to replace.
    """
    trials = _grid(hostile)
    by_id = {trial.config_id: trial for trial in trials}
    best, fastest, baseline = by_id["b256-w2-drop"], by_id["b512-w2"], by_id["b64-w0"]
    reason = (
        "2 workers, batch 256, drop_last: 2,835 ± 31 samples/s, 1.86 × your current settings; "
        "batch 512 is no faster (+0.8 %, within noise) and takes 15.0 MiB more"
    )
    values: dict[str, Any] = {
        "target": hostile or "cifar10",
        "command": ("loadtune", "sweep", hostile or "cifar10", "--time-budget", "60s"),
        "started_at": "2031-05-04T10:11:12+00:00",
        "environment": make_environment(hostname=hostile or "bench-1"),
        "plan": SweepPlan(
            target=hostile or "cifar10",
            space=SearchSpace(num_workers=WORKERS, pin_memory=(False,)),
            limits=Limits(host_memory=Size(bytes=HOST_LIMIT)),
        ),
        "limits": MemoryLimits(host_memory_bytes=HOST_LIMIT),
        "probe": make_probe(name=hostile or "cifar10"),
        "best": make_pick(best, reason + hostile),
        "fastest": make_pick(fastest, "the highest rate measured within the limits"),
        "baseline": make_pick(baseline, "torch's defaults with batch 64"),
        "gain": Interval(estimate=1.86, low=1.82, high=1.90),
        "tied": ("b256-w2-drop", "b256-w2", "b512-w2", "b512-w2-drop"),
        "trials": trials,
        "findings": _findings(hostile),
        "model": Model(parameters={"seconds_per_sample": SECONDS_PER_SAMPLE}, median_abs_error=None),
        "cost": Cost(seconds=58.31, trials=44),
    }
    return RunResult(**{**values, **changes})


def make_detailed_result(*, count: int = 0, **changes: Any) -> RunResult:
    """Return a sweep with everything that a report can show: waits, looks, runs, the model, a third knob.

    Args:
        count: Rows at least, by more values on every axis.
        changes: Fields of the result to replace.
    """
    result = make_result(**changes)
    grid = itertools.product((48, 96, 192, 384, 768, 1024), (1, 3, 6, 8), (2, 3, 4, 6, 8), (False, True), (False, True))
    more = [
        make_trial(
            LoaderConfig(
                batch_size=batch, num_workers=workers, prefetch_factor=ahead, drop_last=drop, persistent_workers=keep
            ),
            1000.123 + 0.77 * batch + 93.3 * workers + 11.1 * ahead,
        )
        for batch, workers, ahead, drop, keep in grid
    ][: max(count - len(result.trials) - 10, 0)]
    third = [
        make_trial(
            LoaderConfig(batch_size=batch, num_workers=workers, prefetch_factor=4), 1700.0 + 3 * batch + 200 * workers
        )
        for batch in BATCH_SIZES
        for workers in (1, 2)
    ]
    rows = [*result.trials, *third, *more]
    model = Model(
        parameters={"seconds_per_sample": SECONDS_PER_SAMPLE},
        median_abs_error=0.03,
        p90_abs_error=0.07,
        pick_bounded_by="cores",
    )
    return dataclasses.replace(
        with_trials(result, tuple(_detailed(row, number) for number, row in enumerate(rows))), model=model
    )


def _detailed(row: TrialResult, number: int) -> TrialResult:
    if row.samples_per_second is None:
        return row
    rate, wait, peak = row.samples_per_second, row.batch_wait_p50_seconds or 0.01, row.host_peak_bytes or MIB
    looks = tuple(
        MemoryLook(
            batches=batches,
            resident_bytes=peak - (3 - place) * 4 * MIB,
            shm_bytes=place * MIB,
            main_bytes=200 * MIB,
            workers_bytes=peak - 250 * MIB,
            held_bytes=peak - 20 * MIB,
            shared_bytes=MIB,
        )
        for place, batches in enumerate((6, 40, 120), start=1)
    )
    return dataclasses.replace(
        row,
        runs=tuple(
            TrialRun(order=order, phase="race", samples_per_second=rate * (1 + 0.01 * ((number + turn) % 3 - 1)))
            for turn, order in enumerate((number, number + 60))
        ),
        batch_wait_quantiles_seconds=tuple(wait * (0.2 + 1.8 * share**2) for share in WAIT_SHARES),
        looks=looks,
        predicted_host_peak_bytes=peak + 3 * MIB,
        predicted_samples_per_second=rate * 1.02,
        predicted_samples_per_second_low=rate * 0.97,
        predicted_samples_per_second_high=rate * 1.07,
    )


def make_pick(trial: TrialResult, reason: str) -> Pick:
    """Return the pick that points at ``trial``."""
    rate = trial.samples_per_second or 0.0
    return Pick(
        config_id=trial.config_id,
        config=trial.config,
        samples_per_second=Interval(
            estimate=rate,
            low=trial.samples_per_second_low or rate,
            high=trial.samples_per_second_high or rate,
        ),
        host_peak_bytes=trial.host_peak_bytes,
        gpu_peak_bytes=trial.gpu_peak_bytes,
        reason=reason,
    )


def make_request(config: LoaderConfig, **changes: Any) -> TrialRequest:
    """Return the request for one trial."""
    plan = SweepPlan(target="cifar10")
    values: dict[str, Any] = {
        "order": 0,
        "block": 0,
        "phase": "screen",
        "config": config,
        "measurement": plan.measurement,
        "consumer": plan.consumer,
    }
    return TrialRequest(**{**values, **changes})


def make_record(config: LoaderConfig, rate: float | None, **changes: Any) -> TrialRecord:
    """Return one trial as it ran: at ``rate`` samples a second, or failed where that is None."""
    steady = None
    if rate is not None:
        steady = SteadyMeasurement(
            startup_seconds=0.02,
            first_batch_seconds=0.05,
            window_samples_per_second=(rate, rate),
            batches_measured=40,
            samples_measured=int(rate * 1.0),
            measured_seconds=1.0,
            steady=True,
            batch_wait_p50_seconds=0.01,
            batch_wait_p95_seconds=0.02,
            batch_wait_p99_seconds=0.03,
            cpu_seconds=1.1,
            bytes_per_batch=float(BYTES_PER_SAMPLE * (config.batch_size or 1)),
            samples_per_batch=float(config.batch_size or 1),
        )
    values: dict[str, Any] = {
        "order": 0,
        "block": 0,
        "phase": "screen",
        "config": config,
        "drop_last": (False,),
        "status": "ok" if rate is not None else "failed",
        "failure_kind": None if rate is not None else "worker_error",
        "failure_reason": None if rate is not None else "worker 1 raised ValueError on sample 37",
        "started_at": "2031-05-04T10:11:12+00:00",
        "seconds": 1.4,
        "steady": steady,
        "memory": MemoryMeasurement(host_peak_bytes=412 * MIB if rate is not None else None),
    }
    return TrialRecord(**{**values, **changes})


def _grid(hostile: str) -> tuple[TrialResult, ...]:
    rows: list[TrialResult] = []
    for batch in BATCH_SIZES:
        for workers in WORKERS:
            for drop in (False, True):
                config = LoaderConfig(batch_size=batch, num_workers=workers, drop_last=drop)
                rows.append(_row(config, hostile))
    return tuple(dataclasses.replace(row, pareto=_is_pareto(row, rows)) for row in rows)


def _is_pareto(row: TrialResult, rows: list[TrialResult]) -> bool:
    if not row.within_limits:
        return False
    rate, peak = row.samples_per_second or 0.0, row.host_peak_bytes or 0
    rivals = [other for other in rows if other.within_limits]
    return not any(
        (other.samples_per_second or 0.0) >= rate
        and (other.host_peak_bytes or 0) <= peak
        and (other.samples_per_second, other.host_peak_bytes) != (rate, peak)
        for other in rivals
    )


def _row(config: LoaderConfig, hostile: str) -> TrialResult:
    batch, workers = config.batch_size or 0, config.num_workers
    reason = hostile or "worker 1 raised ValueError: cannot identify image file 'data/0037.png' (sample 37)"
    if (batch, workers) == (512, 4):
        needs = "a batch ahead of every worker needs 70.4 MiB of shared memory, and /dev/shm has 64.0 MiB"
        return _unmeasured(config, "refused", "shm_full", needs)
    if (batch, workers) == (32, 4):
        return _unmeasured(config, "failed", "worker_error", reason)
    if (batch, workers) == (64, 4):
        return _unmeasured(config, "hung", "hung", "no batch for 60.0 s: worker 2 stuck in cv2.resize, sample 1,204")
    speed_up = {0: 1.0, 1: 0.93, 2: 1.79, 4: 1.71}[workers]
    rate = 1_610 * speed_up * (1 - 4.5 / (batch + 20))
    chosen = config.config_id == "b256-w2-drop"
    tied = workers == 2 and batch >= 256
    return make_trial(config, rate, chosen=chosen, tied_with_best=tied)


def _unmeasured(config: LoaderConfig, status: Any, kind: str, reason: str) -> TrialResult:
    return TrialResult(**result_columns(config), status=status, failure_kind=kind, failure_reason=reason)


def _findings(hostile: str) -> tuple[Finding, ...]:
    return (
        Finding(
            code="LT001",
            severity="warning",
            message="2 of 20 steady rates reached ±4.0 % in the time given, not the ±2.0 % asked for" + hostile,
            advice="give it more time with --time-budget 120s, or run it on a quieter machine" + hostile,
            numbers={"reached": 0.04, "asked": 0.02},
        ),
        Finding(
            code="LT006",
            severity="info",
            message="no accelerator was found, so pin_memory was not varied",
            advice="run the sweep on the machine that trains to have pinning judged",
        ),
    )


def with_trials(result: RunResult, trials: tuple[TrialResult, ...]) -> RunResult:
    """Return the result with other rows."""
    return dataclasses.replace(result, trials=trials)
