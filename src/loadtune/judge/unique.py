"""Rates that count unique samples: what workers deliver twice is no work done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from loadtune.record.results import Probe, SteadyMeasurement, TrialRecord

TELLING_SHARE = 0.9
"""A share of unique samples below this is worth a word; what a sampler pads its last batches with is not."""


def is_repeating(share: float | None) -> bool:
    """Return whether so small a share of unique samples is worth a word; None is not."""
    return share is not None and share < TELLING_SHARE


def unique_share(probe: Probe, num_workers: int) -> float | None:
    """Return the share of delivered samples that are unique with so many workers; None where it is not known.

    One process repeats nothing. Numbers beyond those that were checked deliver no more unique samples than the largest
    of them, where that one repeated any.
    """
    deliveries = {one.num_workers: one.unique_share for one in probe.contents.deliveries}
    if not deliveries or num_workers in deliveries:
        return deliveries.get(num_workers)
    if num_workers <= 1:
        return 1.0
    fewer = [count for count in deliveries if count < num_workers]
    share = deliveries[max(fewer)] if fewer else None
    return share * max(fewer) / num_workers if share is not None and is_repeating(share) else None


def counting_unique(records: Iterable[TrialRecord], probe: Probe) -> tuple[TrialRecord, ...]:
    """Return the records as they count: with unique samples in place of delivered ones, in windows and in epochs."""
    return tuple(_counted(record, unique_share(probe, record.config.num_workers)) for record in records)


def _counted(record: TrialRecord, share: float | None) -> TrialRecord:
    if record.steady is None or share is None or share == 1.0:
        return record
    return replace(record, steady=_scaled(record.steady, share))


def _scaled(steady: SteadyMeasurement, share: float) -> SteadyMeasurement:
    return replace(
        steady,
        window_samples_per_second=tuple(rate * share for rate in steady.window_samples_per_second),
        samples_measured=max(1, round(steady.samples_measured * share)),
        epochs=tuple(replace(epoch, samples=max(1, round(epoch.samples * share))) for epoch in steady.epochs),
    )
