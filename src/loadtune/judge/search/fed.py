"""The short way, where the step hardly waits: no loader makes it faster, and a cheaper one is all that is left to find.

Of one batch size only: a larger one may make the step itself faster, which no trial of another size tells. Fewer
workers are tried by halving, then the cheapest settings at the number that was found. It assumes that a step which so
many workers keep fed is kept fed by more.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import group_of
from loadtune.judge.feeding import LEAST_HEADSPACE, cached_rate, headspace
from loadtune.judge.search.pool import RACED, Pool, price
from loadtune.judge.search.standing import leading, standings
from loadtune.judge.state import State


def is_possible(state: State, pool: Pool) -> bool:
    """Return whether there may be such a way: a step, and one batch size."""
    consumer = state.plan.consumer
    has_step = consumer.step is not None or consumer.step_seconds > 0
    return has_step and len({config.batch_size for config in pool.groups}) == 1


def leader(state: State, pool: Pool) -> LoaderConfig | None:
    """Return the best so far, where a perfect loader would add less than ``LEAST_HEADSPACE`` to its rate; else None.

    That rate is the one that the choice goes by: over an epoch with its start, where that is known. What a step of the
    user's takes on a device is known with copies of unpinned batches: pinned ones have no bound.
    """
    if not is_possible(state, pool):
        return None
    standing = standings(state)
    best = leading(standing)
    if best is None or (best.pin_memory and _copies(state)):
        return None
    cached = cached_rate(state.records, best.batch_size)
    if cached is None or headspace(math.exp(standing[best].log_rate), cached) >= LEAST_HEADSPACE:
        return None
    return best


def next_config(state: State, pool: Pool, best: LoaderConfig, tried: Collection[LoaderConfig]) -> LoaderConfig | None:
    """Return what is worth a trial yet; None where nothing is.

    On a device the best with pinned memory comes first, which may be faster than the bound. Then the number of workers
    that halves what lies between enough and too few, then the cheapest settings at the number that is enough. Enough
    are those of what would be tied with the best, as noise has it: one trial that came out low is not too few.

    Args:
        state: What is known.
        pool: The grid.
        best: Of ``leader``.
        tried: Whatever its trials gave.
    """
    if _copies(state) and any(one.pin_memory for one in pool.groups) and not any(one.pin_memory for one in tried):
        return replace(best, pin_memory=True)
    tied = _tied(state, best)
    lead = min((one for one in tied if one.num_workers == best.num_workers), key=price)
    enough = min(one.num_workers for one in tied if _is_of_a_kind(one, lead))
    slower = (
        one for one, seen in standings(state).items() if seen.may_win and one not in tied and _is_of_a_kind(one, lead)
    )
    too_few = max((one.num_workers for one in slower if one.num_workers < enough), default=-1)
    able = [one for one in {*pool.groups, *_beyond(pool, lead)} if one not in state.spoilt() and one not in tried]
    line = {one.num_workers: one for one in able if _is_of_a_kind(one, lead) and _differs_in_workers(one, lead)}
    inside = sorted(count for count in line if too_few < count < enough)
    if inside:
        return line[inside[len(inside) // 2]]
    there = min((one for one in tied if one.num_workers == enough and _is_of_a_kind(one, lead)), key=price)
    cheaper = [one for one in able if one.num_workers == enough and _is_of_a_kind(one, lead)]
    found = min(cheaper, key=price, default=there)
    return found if price(found) < price(there) else None


def _copies(state: State) -> bool:
    """Return whether the step is the user's own, on a device that batches are copied to."""
    return state.plan.consumer.step is not None and state.plan.consumer.device != "cpu"


def _tied(state: State, best: LoaderConfig) -> set[LoaderConfig]:
    choice = state.narrowed().choice()
    return {best, *(group_of(row.config) for row in choice.rows if row.config_id in choice.tied)}


def _beyond(pool: Pool, lead: LoaderConfig) -> list[LoaderConfig]:
    """Return the doublings that lie between the grid and a leader beyond it."""
    count, found = max(config.num_workers for config in pool.groups), []
    while count and (count := 2 * count) < lead.num_workers:
        found.append(replace(lead, num_workers=count))
    return found


def _is_of_a_kind(config: LoaderConfig, lead: LoaderConfig) -> bool:
    """Return whether two configurations differ in what feeds the step alone: workers, and what these do ahead."""
    if config.batch_size != lead.batch_size or config.pin_memory != lead.pin_memory:
        return False
    # Without workers there is nothing that only workers have.
    alone = 0 in (config.num_workers, lead.num_workers)
    return alone or all(getattr(config, axis) == getattr(lead, axis) for axis in RACED)


def _differs_in_workers(config: LoaderConfig, lead: LoaderConfig) -> bool:
    return 0 in (config.num_workers, lead.num_workers) or replace(config, num_workers=lead.num_workers) == lead
