"""From trials to rows: all that is known of each configuration."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.judge import memory
from loadtune.judge.contest import Contest, epoch_contest, steady_contest
from loadtune.judge.document import document_figures
from loadtune.judge.epoch import EpochShape, composed_epoch_seconds, epoch_shape, run_epoch
from loadtune.judge.evidence import by_group, deciding, group_of, is_verified, measured, spoilt
from loadtune.judge.throttle import worst_share
from loadtune.judge.told import told_looks, told_runs, told_waits
from loadtune.judge.unique import unique_share
from loadtune.record.results import (
    EpochMeasurement,
    Probe,
    SteadyMeasurement,
    TrialRecord,
    TrialResult,
    result_columns,
)

NOT_REACHED = "it was not measured before the sweep ended"
NOT_WORTH = "not tried: the search went elsewhere"


def all_configs(
    configs: Sequence[LoaderConfig], records: Sequence[TrialRecord], probe: Probe
) -> tuple[LoaderConfig, ...]:
    """Return the grid, the baseline, and what the sweep went on to measure beyond the grid, each once."""
    beyond = [replace(r.config, drop_last=True) if drop else r.config.steady for r in records for drop in r.drop_last]
    baseline = probe.baseline
    known = {*configs, baseline}
    grid_groups = {config.steady for config in configs}
    extra = [
        config for config in beyond if config not in known and config.steady not in {*grid_groups, baseline.steady}
    ]
    return tuple(dict.fromkeys([*configs, baseline, *extra]))


def summarise(records: Sequence[TrialRecord], configs: Sequence[LoaderConfig], probe: Probe) -> tuple[TrialResult, ...]:
    """Return a row for each configuration, in the order of ``configs``; unmeasured ones say why.

    Rates, waits and times come from the trials made after the pick where a configuration has two or more, else from all
    of its trials. Rates are those of one scale for all rows (``contest``); waits and times are medians over repeats.
    Memory is the largest of all trials. Configurations that differ in ``drop_last`` alone
    share their steady measurement. One with a failed or hung trial has that status, whatever else it gave.
    ``repeats``, ``windows`` and ``batches_measured`` say what the printed rate rests on; ``order`` names every trial.
    """
    groups = by_group(records)
    steady = steady_contest(records, probe)
    bare = [_unmeasured_row(config, groups.get(group_of(config), []), probe) for config in configs]
    running = [row.config for row in bare if row.status == "ok"]
    epochs = epoch_contest(running, records, probe) if probe.dataset_samples is not None else None
    return tuple(_row(row, groups.get(group_of(row.config), []), steady, epochs, probe) for row in bare)


def _unmeasured_row(config: LoaderConfig, trials: Sequence[TrialRecord], probe: Probe) -> TrialResult:
    """Return what is known of a configuration without its rates."""
    shape = epoch_shape(config, probe)
    return TrialResult(
        **result_columns(config),
        **_status(config, trials, shape),
        **_document_columns(config, shape, probe, None),
        order=tuple(r.order for r in trials),
        throttled_share=worst_share(trials),
    )


def _row(
    row: TrialResult,
    trials: Sequence[TrialRecord],
    steady: Contest[LoaderConfig],
    epochs: Contest[str] | None,
    probe: Probe,
) -> TrialResult:
    chosen, group = deciding(trials), group_of(row.config)
    if row.status == "refused" or not chosen:
        return row
    seen = [record.steady for record in chosen if record.steady is not None]
    rate = steady.rate(group)
    share = unique_share(probe, row.num_workers)
    row = replace(
        row,
        samples_per_second=rate.estimate,
        samples_per_second_low=rate.low,
        samples_per_second_high=rate.high,
        repeats=len(chosen),
        measured_again=is_verified(chosen),
        unique_share=share,
        delivered_samples_per_second=rate.estimate / share if share else None,
        windows=tuple(window for one in seen for window in one.window_samples_per_second),
        runs=told_runs(measured(trials)),
        batch_wait_quantiles_seconds=told_waits(seen),
        looks=told_looks(measured(trials)),
        **_time_columns(seen),
        **_memory_columns(measured(trials)),
    )
    compared = math.exp(epochs.levels[row.config_id]) if epochs and row.config_id in epochs.levels else None
    return replace(row, **_epoch_columns(row.config, seen, rate.estimate, compared, probe))


def _status(config: LoaderConfig, trials: Sequence[TrialRecord], shape: EpochShape | None) -> dict[str, Any]:
    if shape is not None and shape.batches == 0:
        reason = (
            f"batch size {config.batch_size:,} is larger than the data set ({shape.dropped:,} samples), "
            "and drop_last leaves out its only batch"
        )
        return {"status": "refused", "failure_kind": "last_batch", "failure_reason": reason}
    bad = spoilt(trials)
    if bad is not None:
        names = ("status", "failure_kind", "failure_reason", "failure_evidence", "failure_advice")
        return {name: getattr(bad, name) for name in names}
    if measured(trials):
        return {"status": "ok"}
    if trials:
        last = trials[-1]
        return {
            "status": "interrupted",
            "failure_kind": last.failure_kind,
            "failure_reason": last.failure_reason or "it was stopped before it gave a rate",
        }
    return {"status": "interrupted", "failure_reason": NOT_REACHED}


def left_out(rows: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """Return the rows of a search that had come to its end: what it did not try was not missed for want of time."""
    return tuple(replace(row, failure_reason=NOT_WORTH) if row.failure_reason == NOT_REACHED else row for row in rows)


def _median(seen: Sequence[SteadyMeasurement], value: Callable[[SteadyMeasurement], float | None]) -> float | None:
    found = [number for one in seen if (number := value(one)) is not None]
    return plain.median(found) if found else None


def _cpu_per_1000(one: SteadyMeasurement) -> float | None:
    if one.cpu_seconds is None or one.samples_measured < 1:
        return None
    return 1000 * one.cpu_seconds / one.samples_measured


def _time_columns(seen: Sequence[SteadyMeasurement]) -> dict[str, Any]:
    names = (
        "startup_seconds",
        "first_batch_seconds",
        "batch_wait_p50_seconds",
        "batch_wait_p95_seconds",
        "batch_wait_p99_seconds",
        "bytes_per_batch",
    )
    columns: dict[str, Any] = {name: plain.median(getattr(one, name) for one in seen) for name in names}
    columns["cpu_seconds_per_1000_samples"] = _median(seen, _cpu_per_1000)
    columns["batches_measured"] = sum(one.batches_measured for one in seen)
    return columns


def _memory_columns(trials: Sequence[TrialRecord]) -> dict[str, Any]:
    return {
        "host_peak_bytes": memory.host_peak_bytes(trials),
        "shm_peak_bytes": memory.shm_peak_bytes(trials),
        "gpu_peak_bytes": memory.gpu_peak_bytes(trials),
    }


def _document_columns(
    config: LoaderConfig, shape: EpochShape | None, probe: Probe, seen: Sequence[SteadyMeasurement] | None
) -> dict[str, Any]:
    """Return N/B, K·B·T and K·B·M: T from the probe, M as received, else from the probe."""
    size = config.batch_size or (plain.median(one.samples_per_batch for one in seen) if seen else None)
    sample_bytes = _median(seen or (), lambda one: one.bytes_per_batch / one.samples_per_batch or None)
    batches, kbt, kbm = document_figures(
        batches=shape.batches if shape else None,
        batch_size=size,
        seconds_per_sample=probe.seconds_per_sample,
        bytes_per_sample=probe.bytes_per_sample if sample_bytes is None else sample_bytes,
    )
    return {
        "batches_per_epoch": batches,
        "kbt_epoch_seconds": kbt,
        "kbm_epoch_bytes": kbm,
        "dropped_samples": shape.dropped if shape else None,
    }


def _epoch_columns(
    config: LoaderConfig, seen: Sequence[SteadyMeasurement], rate: float, compared: float | None, probe: Probe
) -> dict[str, Any]:
    """Return what an epoch takes: by the rate over it that the row is compared by.

    A row that is compared with nothing has the median of the epochs run whole, else one put together (see ``epoch``).
    """
    size = plain.median(one.samples_per_batch for one in seen)
    runs = [run for one in seen if (run := run_epoch(one, drop_last=config.drop_last)) is not None]
    shape = epoch_shape(config, probe, size)
    if runs:
        shape = _run_shape(runs, probe)
    columns = _document_columns(config, shape, probe, seen)
    if shape is None:
        return columns
    if compared is not None and shape.samples:
        seconds = shape.samples / compared
    elif runs:
        seconds = plain.median(run.seconds for run in runs)
    else:
        first = plain.median(one.first_batch_seconds for one in seen)
        batch = float(config.batch_size or size)
        seconds = composed_epoch_seconds(config, shape, rate=rate, first_batch_seconds=first, batch_size=batch)
    return {
        **columns,
        "epoch_seconds": seconds,
        "epoch_samples_per_second": shape.samples / seconds if seconds > 0 else None,
        "epoch_was_run": bool(runs),
    }


def _run_shape(runs: Sequence[EpochMeasurement], probe: Probe) -> EpochShape:
    samples = round(plain.median(run.samples for run in runs))
    dropped = max(0, (probe.dataset_samples or samples) - samples)
    return EpochShape(batches=round(plain.median(run.batches for run in runs)), samples=samples, dropped=dropped)
