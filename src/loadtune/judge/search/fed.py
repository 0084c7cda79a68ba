"""The short way, where the step hardly waits: no loader makes it faster, and a cheaper one is all that is left to find.

Of one batch size only: a larger one may make the step itself faster, which no trial of another size tells. Fewer
workers are tried by halving. It assumes that a step which so many workers keep fed is kept fed by more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import group_of
from loadtune.judge.feeding import LEAST_HEADSPACE, cached_rate, headspace
from loadtune.judge.search.pool import Pool
from loadtune.judge.search.standing import Standing, leading
from loadtune.judge.state import State


def leader(state: State, pool: Pool, standing: Mapping[LoaderConfig, Standing]) -> LoaderConfig | None:
    """Return the best so far, where a perfect loader would add less than ``LEAST_HEADSPACE`` to its rate; else None.

    That rate is the one that the choice goes by: over an epoch with its start, where that is known.
    """
    best = leading(standing)
    if best is None or len({config.batch_size for config in pool.groups}) > 1:
        return None
    cached = cached_rate(state.records, best.batch_size)
    if cached is None or headspace(math.exp(standing[best].log_rate), cached) >= LEAST_HEADSPACE:
        return None
    return best


def next_config(state: State, pool: Pool, best: LoaderConfig, tried: Collection[LoaderConfig]) -> LoaderConfig | None:
    """Return the number of workers that halves what lies between enough and too few; None where nothing does.

    Enough are those that would be tied with the best, as noise has it: one trial that came out low is not too few.

    Args:
        state: What is known.
        pool: The grid.
        best: Of ``leader``.
        tried: Whatever its trials gave.
    """
    line = sorted(
        (config for config in {*pool.groups, best} if _is_like(config, best)), key=lambda one: one.num_workers
    )
    choice = state.narrowed().choice()
    tied = {best, *(group_of(row.config) for row in choice.rows if row.config_id in choice.tied)}
    enough = next(place for place, config in enumerate(line) if config in tied)
    too_few = max((place for place in range(enough) if line[place] in tried), default=-1)
    between = line[too_few + 1 : enough]
    return between[len(between) // 2] if between else None


def _is_like(config: LoaderConfig, best: LoaderConfig) -> bool:
    """Return whether a configuration is the best one, but for its number of workers."""
    if 0 in (config.num_workers, best.num_workers):  # without workers only pinning means anything
        return config.pin_memory == best.pin_memory
    return replace(config, num_workers=best.num_workers) == best
