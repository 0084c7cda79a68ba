"""Beyond the grid: more workers, as long as more workers help. The cores seed the axis and never bound it."""

from __future__ import annotations

from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import by_group, group_of
from loadtune.judge.state import State

MAX_WORKERS = 1024


def next_config(state: State) -> LoaderConfig | None:
    """Return a configuration with more workers than the grid has that is worth a look; None where none is.

    The workers are doubled from the best configuration while it has the most workers tried, which means that the last
    doubling paid by more than ``tie``. Then the neighbouring batch sizes are tried at the count where it ended.
    """
    rates = _rates(state)
    if not rates:
        return None
    best = max(rates, key=lambda config: rates[config])
    tried = set(by_group(state.records))
    grid_top = max(config.num_workers for config in state.configs)
    top = max(config.num_workers for config in tried)
    if best.num_workers == top and (top == grid_top or _paid(best, rates, state.plan.tie)):
        more = replace(best, num_workers=min(2 * top, MAX_WORKERS)) if top else None
        if more is not None and more not in tried:
            return more
    if best.num_workers <= grid_top:
        return None
    return next((config for config in _neighbours(best, state) if config not in tried), None)


def _rates(state: State) -> dict[LoaderConfig, float]:
    """Return the judged rate of each group that may be chosen; the better of its two values of ``drop_last``."""
    rates: dict[LoaderConfig, float] = {}
    eligible = state.eligible()
    for row in state.choice().rows:
        rate = row.epoch_samples_per_second or row.samples_per_second
        if row.status == "ok" and row.within_limits and rate and row.config in eligible:
            group = group_of(row.config)
            rates[group] = max(rate, rates.get(group, 0.0))
    return rates


def _paid(best: LoaderConfig, rates: dict[LoaderConfig, float], tie: float) -> bool:
    """Return whether the best is better than any with fewer workers by more than ``tie``."""
    fewer = [rate for config, rate in rates.items() if config.num_workers < best.num_workers]
    return not fewer or rates[best] > max(fewer) * (1 + tie)


def _neighbours(best: LoaderConfig, state: State) -> list[LoaderConfig]:
    """Return ``best`` with the next larger and the next smaller batch size of the grid."""
    sizes = sorted({config.batch_size for config in state.configs if config.batch_size is not None})
    if best.batch_size not in sizes:
        return []
    place = sizes.index(best.batch_size)
    return [replace(best, batch_size=size) for size in (*sizes[place + 1 : place + 2], *sizes[:place][-1:])]
