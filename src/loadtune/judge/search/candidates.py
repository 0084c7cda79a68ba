"""Where the model is trusted: what is worth a trial, by what it forecasts and by how sure it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from loadtune.describe.config import LoaderConfig
from loadtune.judge.search.forecast import Forecast
from loadtune.judge.search.pool import price
from loadtune.judge.search.standing import Standing, leading

MOST = 7
"""Trials beyond the seeds."""
WORTH = 0.25
"""Share of the tie that a configuration must be expected to be faster by, to be tried as the best."""
LIKELY = -1.3
"""Standard deviations: tried for insurance where a gain above the tie is no less likely than this, about 10 %."""


def next_config(
    ahead: Forecast, standing: Mapping[LoaderConfig, Standing], tried: Collection[LoaderConfig], tie: float
) -> LoaderConfig | None:
    """Return the configuration to try next, or None where no trial is likely to change the choice.

    In this order: what is expected to be the best; the cheapest of those expected to be tied with the best; what may
    well be better than the best by more than the tie.

    Args:
        ahead: Of all that can be chosen.
        standing: Of what was measured.
        tried: Whatever its trials gave.
        tie: Rates no further apart than this share count as equal.
    """
    best = leading({config: one for config, one in standing.items() if config in ahead.place})
    new = np.array([config not in tried for config in ahead.configs])
    if best is None or not new.any():
        return _first(ahead, new, np.where(new, ahead.log_rate, -np.inf)) if new.any() else None
    level = float(ahead.log_rate[ahead.place[best]])
    hopes = np.where(new, ahead.log_rate, -np.inf)
    if float(np.max(hopes)) > level + WORTH * tie:
        return _first(ahead, new, hopes)
    return _cheapest(ahead, new, tie) or _insurance(ahead, new, level + tie)


def _first(ahead: Forecast, new: np.ndarray, hopes: np.ndarray) -> LoaderConfig:
    """Return the best of the new ones; of those that are as good the cheapest."""
    near = np.flatnonzero(new & (hopes >= np.max(hopes) - 1e-3))
    return min((ahead.configs[index] for index in near), key=price)


def _cheapest(ahead: Forecast, new: np.ndarray, tie: float) -> LoaderConfig | None:
    """Return the cheapest that is expected to be tied with the best, where it is still to be tried."""
    tied = np.flatnonzero(ahead.log_rate >= float(np.max(ahead.log_rate)) + np.log1p(-tie))
    found = min(tied.tolist(), key=lambda index: price(ahead.configs[index]))
    return ahead.configs[found] if new[found] else None


def _insurance(ahead: Forecast, new: np.ndarray, level: float) -> LoaderConfig | None:
    """Return what has the best chance of a rate above ``level``, where that is no small one."""
    chance = np.where(new, (ahead.log_rate - level) / np.maximum(ahead.spread, 1e-6), -np.inf)
    found = int(np.argmax(chance))
    return ahead.configs[found] if chance[found] > LIKELY else None
