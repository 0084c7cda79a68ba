"""Where the model is not trusted: one axis after the other from the leader, halving what lies around it.

It assumes no more than that along one axis the rate rises to a best value and falls behind it. The leader's nearest
neighbours that were tried on an axis bracket its best value; the bracket is halved until it is narrow, and where one
side is open the axis is followed by doubling.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.search.pool import MODELLED, price
from loadtune.judge.search.standing import Standing, leading

MOST = 14
"""Trials beyond the seeds."""
NARROW = math.log2(1.3)
"""Doublings between neighbours on an axis below which nothing between them is tried."""


def next_config(
    configs: Sequence[LoaderConfig],
    standing: Mapping[LoaderConfig, Standing],
    tried: Collection[LoaderConfig],
    tie: float,
) -> LoaderConfig | None:
    """Return the configuration to try next, or None where the leader is bracketed on every axis.

    So is the cheapest that is tied with it: on a plateau it is what would be chosen, and it may lie at another end.

    Args:
        configs: What can be chosen.
        standing: Of what was measured.
        tried: Whatever its trials gave.
        tie: Rates no further apart than this share count as equal.
    """
    able = set(configs)
    own = {config: one for config, one in standing.items() if config in able and one.may_win}
    best = leading(own)
    if best is None:
        return next((config for config in configs if config not in tried), None)
    tied = (config for config, one in own.items() if one.log_rate >= own[best].log_rate - tie)
    for centre in dict.fromkeys((best, min(tied, key=price))):
        gaps = [gap for axis in MODELLED for gap in _gaps(axis, centre, configs, tried)]
        if gaps:
            return max(gaps, key=lambda gap: gap[0])[1]
    return None


def _gaps(
    axis: str, best: LoaderConfig, configs: Sequence[LoaderConfig], tried: Collection[LoaderConfig]
) -> Iterator[tuple[float, LoaderConfig]]:
    """Yield what may be tried on either side of the best along an axis, with how wide the gap is."""
    line = sorted((config for config in configs if _on_line(config, best, axis)), key=lambda one: _level(one, axis))
    here = line.index(best)
    for side in (line[here + 1 :], line[:here][::-1]):
        found = _inside(side, best, axis, tried)
        if found is not None:
            yield found


def _on_line(config: LoaderConfig, best: LoaderConfig, axis: str) -> bool:
    """Return whether a configuration differs from the best on this axis at most."""
    others: tuple[str, ...] = tuple(name for name in MODELLED if name != axis)
    if axis == "num_workers" and 0 in (config.num_workers, best.num_workers):
        others = ("batch_size",)  # without workers there is nothing to prefetch or to order
    return all(getattr(config, name) == getattr(best, name) for name in others)


def _inside(
    side: Sequence[LoaderConfig], best: LoaderConfig, axis: str, tried: Collection[LoaderConfig]
) -> tuple[float, LoaderConfig] | None:
    """Return what halves the gap between the best and the nearest that was tried on one side; None where narrow."""
    end = next((index for index, config in enumerate(side) if config in tried), None)
    between = side if end is None else side[:end]
    if not between:
        return None
    gaps = {config: abs(_level(config, axis) - _level(best, axis)) for config in side}
    if end is None:
        # Nothing was tried on this side: a doubling from the best.
        return gaps[between[-1]] + 1.0, min(between, key=lambda config: abs(gaps[config] - 1.0))
    width = gaps[side[end]]
    if width < 2 * NARROW:
        return None
    return width, min(between, key=lambda config: abs(gaps[config] - width / 2))


def _level(config: LoaderConfig, axis: str) -> float:
    """Return where a configuration lies on an axis, in doublings."""
    value = getattr(config, axis)
    if axis == "in_order":
        return float(value)
    return math.log2(value) if value else -1.0
