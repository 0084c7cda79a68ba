"""Which trials speak for a configuration, and what each says: from records to repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.epoch import epoch_rate, steady_rate
from loadtune.judge.statistics import Repeat, window_noise
from loadtune.record.results import Probe, TrialRecord

FAILED = ("failed", "hung")
"""What a trial is that was run and went wrong; one that was refused was not run."""

SPOILT = (*FAILED, "refused")
"""A configuration with one such trial is never chosen, whatever its other trials gave."""

MIN_FRESH = 2
"""Trials made after the pick, below which they do not stand alone: one of them is no better than what came before."""

Rate = Callable[[TrialRecord], "float | None"]


def group_of(config: LoaderConfig) -> LoaderConfig:
    """Return the settings whose trials speak for ``config``: its own with ``drop_last`` off."""
    return config.steady if config.drop_last else config


def speaking(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return the trials that speak for their configuration: all but those that answer a question of their own."""
    return tuple(record for record in records if record.phase != "threads")


def asides(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return the others: trials of what threads cost, which are compared with each other and with nothing else."""
    return tuple(record for record in records if record.phase == "threads")


def by_group(records: Iterable[TrialRecord]) -> dict[LoaderConfig, list[TrialRecord]]:
    """Return the records that speak for each configuration (``drop_last`` off), in the order they ran."""
    groups: dict[LoaderConfig, list[TrialRecord]] = {}
    for record in sorted(speaking(records), key=lambda record: record.order):
        groups.setdefault(group_of(record.config), []).append(record)
    return groups


def measured(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the records that hold a rate."""
    return [r for r in records if r.status == "ok" and r.steady is not None and steady_rate(r.steady)]


def spoilt(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """Return the first trial that failed, hung or was refused; None where all went well."""
    return next((record for record in records if record.status in SPOILT), None)


def deciding(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of one configuration that its number comes from: the fresh ones where there are enough.

    The best of many noisy numbers is flattered by its noise; trials made after it was picked out are not.
    """
    ok = measured(records)
    return fresh(ok) if is_verified(ok) else ok


def fresh(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the records with a rate that were made after their configuration was picked out."""
    return [record for record in measured(records) if record.phase == "verify"]


def is_verified(records: Iterable[TrialRecord]) -> bool:
    """Return whether a configuration was measured again after the race, often enough to go by that alone."""
    return len(fresh(records)) >= MIN_FRESH


def steady_of(record: TrialRecord) -> float | None:
    """Return the steady rate of a trial in samples per second."""
    return None if record.steady is None else steady_rate(record.steady)


def objective_of(config: LoaderConfig, probe: Probe) -> Rate:
    """Return what is compared: the rate over a whole epoch of ``config``, the steady rate where N is unknown."""
    if probe.dataset_samples is None:
        return steady_of
    return lambda record: epoch_rate(record, config, probe)


def middles(records: Iterable[TrialRecord]) -> dict[int, float]:
    """Return the middle of each trial, by its order, in seconds of measuring since the first."""
    result, passed = {}, 0.0
    for record in sorted(records, key=lambda record: record.order):
        result[record.order] = passed + record.seconds / 2
        passed += record.seconds
    return result


def repeats(records: Iterable[TrialRecord], rate: Rate, at: dict[int, float]) -> tuple[Repeat, ...]:
    """Return one repeat for each trial that has a rate above zero."""
    return tuple(_repeat(r, value, at.get(r.order, 0.0)) for r in measured(records) if (value := rate(r)))


def _repeat(record: TrialRecord, rate: float, at: float) -> Repeat:
    windows = record.steady.window_samples_per_second if record.steady else ()
    variance, worth, df = window_noise(windows)
    return Repeat(
        block=record.block,
        at_seconds=at,
        log_rate=math.log(rate),
        window_variance=variance,
        windows=worth,
        window_df=df,
    )


def steady_table(records: Sequence[TrialRecord]) -> dict[LoaderConfig, tuple[Repeat, ...]]:
    """Return the repeats of the steady rate of every measured configuration."""
    at = middles(records)
    table = {group: repeats(trials, steady_of, at) for group, trials in by_group(records).items()}
    return {group: found for group, found in table.items() if found}


def taken_cores(record: TrialRecord) -> float | None:
    """Return how many cores other work took during a trial's windows; None where it is not known."""
    steady = record.steady
    if steady is None or steady.others_cpu_seconds is None or not steady.measured_seconds:
        return None
    return steady.others_cpu_seconds / steady.measured_seconds
