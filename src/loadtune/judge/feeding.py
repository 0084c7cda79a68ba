"""What feeds or holds up the training step: the step itself, the loader, the copy to the device, the main thread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from loadtune.judge.evidence import by_group, deciding, group_of
from loadtune.record.results import Finding, TrialRecord, TrialResult
from loadtune.units import format_rate, format_share

LEAST_HEADSPACE = 0.05
"""Below this share the loader is not the limit."""
Limit = Literal["step-bound", "loader-bound", "transfer-bound", "main-thread-bound"]
_ADVICE: dict[Limit, str] = {
    "step-bound": "nothing to tune in the loader: a larger batch or a faster step is what would help",
    "loader-bound": "the step waits for batches: more workers, or less work a sample",
    "transfer-bound": "batches are there and the step is late: pin_memory=True and non_blocking copies",
    "main-thread-bound": "batches are there and the step is late: fewer tensors a batch, less work beside the step",
}


def headspace(rate: float, cached: float) -> float:
    """Return the share of the rate that a perfect loader would add: 1 − rate / rate on cached batches."""
    return max(0.0, 1 - rate / cached) if cached > 0 else 0.0


def limit_of(*, headspace_share: float, wait_share: float, on_device: bool) -> Limit:
    """Return what the rate is bound by.

    Where there is room and the waits for batches do not explain half of it, batches come in time and are late at the
    step: on the way to the device, or for what else the main thread does.
    """
    if headspace_share < LEAST_HEADSPACE:
        return "step-bound"
    if wait_share >= headspace_share / 2:
        return "loader-bound"
    return "transfer-bound" if on_device else "main-thread-bound"


def hardly_waits(records: Sequence[TrialRecord], row: TrialResult) -> bool:
    """Return whether no loader makes the step of a row faster by ``LEAST_HEADSPACE``; False where there is none."""
    cached = cached_rate(records, row.config.batch_size)
    rate = row.samples_per_second
    return cached is not None and rate is not None and headspace(rate, cached) < LEAST_HEADSPACE


def finding(records: Sequence[TrialRecord], row: TrialResult | None, *, on_device: bool) -> Finding | None:
    """Return how well the chosen configuration feeds the step; None where there was no step.

    Args:
        records: Every trial whose rate counts.
        row: Of the chosen configuration.
        on_device: Whether batches are copied to a device.
    """
    if row is None or row.samples_per_second is None:
        return None
    cached = cached_rate(records, row.config.batch_size)
    waits = [
        (record.steady.feeding.wait_share, record.steady.feeding.step_share)
        for record in deciding(by_group(records).get(group_of(row.config), []))
        if record.steady is not None and record.steady.feeding is not None
    ]
    if cached is None or not waits:
        return None
    room = headspace(row.samples_per_second, cached)
    wait = statistics.median(one for one, _ in waits)
    busy = [share for _, share in waits if share is not None]
    limit = limit_of(headspace_share=room, wait_share=wait, on_device=on_device)
    numbers = {"headspace": room, "wait_share": wait, "cached_samples_per_second": cached}
    if busy:
        numbers["utilisation"] = statistics.median(busy)
    used = f", utilisation {format_share(numbers['utilisation'])}" if busy else ""
    return Finding(
        code="LT030",
        severity="info",
        message=f"{limit}: at most {format_share(room)} to win here by loading; on batches that are there already the"
        f" step takes {format_rate(cached)}. It waits {format_share(wait)} of the time{used}",
        advice=_ADVICE[limit],
        numbers=numbers,
    )


def cached_rate(records: Sequence[TrialRecord], batch_size: int | None) -> float | None:
    """Return the step's own rate at a batch size: the median of what was measured."""
    rates = [
        record.steady.feeding.cached_samples_per_second
        for record in records
        if record.steady is not None and record.steady.feeding is not None and record.config.batch_size == batch_size
    ]
    known = [rate for rate in rates if rate is not None]
    return statistics.median(known) if known else None
