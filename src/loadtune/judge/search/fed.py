"""The short way, where the step hardly waits: no loader makes it faster, and a cheaper one is all that is left to find.

Of one batch size only: a larger one may make the step itself faster, which no trial of another size tells. Fewer
workers are tried by halving, then the cheapest settings at the number that was found. It assumes that a step which so
many workers keep fed is kept fed by more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import group_of
from loadtune.judge.feeding import LEAST_HEADSPACE, cached_rate, headspace
from loadtune.judge.search.pool import RACED, Pool, price, reachable
from loadtune.judge.search.standing import Standing, leading
from loadtune.judge.state import State


def is_possible(state: State, pool: Pool) -> bool:
    """Return whether there may be such a way: a step, and one batch size."""
    consumer = state.plan.consumer
    has_step = consumer.step is not None or consumer.step_seconds > 0
    return has_step and len({config.batch_size for config in pool.groups}) == 1


def leader(state: State, pool: Pool, standing: Mapping[LoaderConfig, Standing]) -> LoaderConfig | None:
    """Return the best so far, where a perfect loader would add less than ``LEAST_HEADSPACE`` to its rate; else None.

    That rate is the one that the choice goes by: over an epoch with its start, where that is known.
    """
    best = leading(standing)
    if best is None or not is_possible(state, pool):
        return None
    cached = cached_rate(state.records, best.batch_size)
    if cached is None or headspace(math.exp(standing[best].log_rate), cached) >= LEAST_HEADSPACE:
        return None
    return best


def next_config(
    state: State,
    pool: Pool,
    best: LoaderConfig,
    standing: Mapping[LoaderConfig, Standing],
    tried: Collection[LoaderConfig],
) -> LoaderConfig | None:
    """Return what is worth a trial yet; None where nothing is.

    On a device the best with pinned memory comes first: the step's own rate holds the copies of unpinned batches, and
    would hide what pinning wins. Then the number of workers that halves what lies between enough and too few. Enough
    are those of what would be tied with the best, as noise has it: one trial that came out low is not too few.

    Args:
        state: What is known.
        pool: The grid.
        best: Of ``leader``.
        standing: Of what was measured.
        tried: Whatever its trials gave.
    """
    pinned = replace(best, pin_memory=True)
    if state.plan.consumer.device != "cpu" and pinned in pool.groups and pinned not in tried:
        return pinned
    able = {config for config in (*pool.groups, *reachable(state, pool), best) if config not in state.spoilt()}
    tied = _tied(state, best)
    enough = min(config.num_workers for config in tied)
    fewer = [config.num_workers for config in standing if config not in tied and config.num_workers < enough]
    too_few = max(fewer, default=-1)
    between = sorted(
        {config.num_workers: config for config in able if _is_like(config, best) and config not in tried}.items()
    )
    inside = [config for count, config in between if too_few < count < enough]
    if inside:
        return inside[len(inside) // 2]
    at_it = [config for config in able if config.num_workers == enough and _raced(config) == _raced(best)]
    cheapest = min(at_it, key=price, default=best)
    return cheapest if cheapest not in tried else None


def _tied(state: State, best: LoaderConfig) -> set[LoaderConfig]:
    choice = state.narrowed().choice()
    return {best, *(group_of(row.config) for row in choice.rows if row.config_id in choice.tied)}


def _is_like(config: LoaderConfig, best: LoaderConfig) -> bool:
    """Return whether a configuration is the best one, but for its number of workers."""
    if 0 in (config.num_workers, best.num_workers):  # without workers only pinning means anything
        return config.pin_memory == best.pin_memory
    return replace(config, num_workers=best.num_workers) == best


def _raced(config: LoaderConfig) -> tuple[object, ...]:
    return tuple(getattr(config, axis) for axis in RACED)
