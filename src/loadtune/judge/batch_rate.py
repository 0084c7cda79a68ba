"""The best batch size: the smallest whose step is as fast per sample as the fastest's, out of those that fit."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.record.batch_size import BatchSizePlan, StepProbe

NEAR = 1.25
"""A size within this factor of one that is measured tells nothing new."""
MOST_RATES = 6


def next_rate(plan: BatchSizePlan, largest: int, probes: Sequence[StepProbe]) -> int | None:
    """Return the next batch size whose rate is to be measured: halves of the largest, where there is none near."""
    known = [probe.batch_size for probe in probes if probe.samples_per_second is not None]
    if sum(1 for probe in probes if probe.purpose == "rate") >= MOST_RATES:
        return None
    size = largest // 2
    while size >= max(plan.multiple_of, 1):
        aligned = size // plan.multiple_of * plan.multiple_of
        tried = any(probe.batch_size == aligned for probe in probes)
        if aligned and not tried and not any(1 / NEAR < aligned / other < NEAR for other in known):
            return aligned
        size //= 2
    return None


def best_and_fastest(plan: BatchSizePlan, probes: Sequence[StepProbe]) -> tuple[int | None, int | None]:
    """Return the smallest batch size tied with the fastest, and the fastest; of those that fit."""
    rates = {
        probe.batch_size: probe.samples_per_second
        for probe in probes
        if probe.fit == "fits" and probe.samples_per_second is not None
    }
    if not rates:
        return None, None
    fastest = max(rates, key=lambda size: (rates[size], -size))
    return min(size for size, rate in rates.items() if rate >= (1 - plan.tie) * rates[fastest]), fastest
