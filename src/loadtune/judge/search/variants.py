"""The axes that no model is asked about: each of their other values is tried at the best point, then raced."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.judge.search.pool import RACED, Pool

MOST = 8
"""Trials of them in all."""


def next_config(pool: Pool, best: LoaderConfig | None, tried: Collection[LoaderConfig]) -> LoaderConfig | None:
    """Return the best configuration with another value on one such axis that is still to be tried; None where none.

    Args:
        pool: The grid.
        best: The leader, which moves when another value turns out to be better.
        tried: Whatever its trials gave.
    """
    if best is None or sum(is_variant(config, pool) for config in tried) >= MOST:
        return None
    for axis in RACED:
        for value in dict.fromkeys(getattr(config, axis) for config in pool.groups):
            other = _with(best, axis, value)
            if other is not None and other not in tried and _in_reach(other, pool):
                return other
    return None


def is_variant(config: LoaderConfig, pool: Pool) -> bool:
    """Return whether a configuration is of the grid and has another value than the plainest on such an axis."""
    return config in pool.groups and config not in _plain(pool)


def _plain(pool: Pool) -> frozenset[LoaderConfig]:
    return frozenset(pool.configs)


def _with(best: LoaderConfig, axis: str, value: Any) -> LoaderConfig | None:
    if best.num_workers == 0 and axis != "pin_memory":
        return None
    changed: dict[str, Any] = {axis: value}
    return replace(best, **changed)


def _in_reach(config: LoaderConfig, pool: Pool) -> bool:
    """Return whether a configuration is of the grid, or beyond it in the number of workers alone."""
    most = max(one.num_workers for one in pool.configs)
    return config in pool.groups or config.num_workers > most
