"""What an adaptive search searches: the axes that the model knows, at one value of each axis that it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from loadtune.describe.config import LoaderConfig
from loadtune.judge.choose import cost
from loadtune.judge.evidence import group_of
from loadtune.judge.extend import MAX_WORKERS
from loadtune.judge.search.room import with_room
from loadtune.judge.search.standing import leading, standings
from loadtune.judge.state import Group, State, group_configs
from loadtune.record.results import TrialResult, result_columns

MODELLED = ("batch_size", "num_workers", "prefetch_factor", "in_order")
RACED = ("pin_memory", "persistent_workers", "multiprocessing_context")
"""Axes that no model is asked about: their values are tried at the best point."""
LEAPS = 2
"""How often the workers may be doubled at once beyond the most that were tried."""
MEMORY_KINDS = ("host_oom", "shm_full", "device_oom", "open_files")
"""Kinds of failure that a configuration which needs as much of everything has too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The groups of a grid, and those among them that the model can tell apart."""

    groups: Mapping[LoaderConfig, Group]
    """All, by their settings with ``drop_last`` off; a baseline outside of the grid is not among them."""
    configs: tuple[LoaderConfig, ...]
    """With the plainest value of each axis in ``RACED``."""
    drop_last: tuple[bool, ...]
    """The values that the grid has."""

    def group(self, config: LoaderConfig) -> Group:
        """Return the group of a configuration, in the grid or beyond it."""
        drops = self.drop_last if config.batch_size is not None else (False,)
        return self.groups.get(config) or Group(config=config, drop_last=drops)


@lru_cache(maxsize=4)
def pool_of(configs: tuple[LoaderConfig, ...]) -> Pool:
    """Return what there is to search in a grid."""
    groups = {group.config: group for group in group_configs(configs, configs[0])}
    # Without workers an axis of theirs has one value, whatever was asked for.
    telling = [one for one in groups if one.num_workers] or list(groups)
    plain = tuple(min((getattr(one, axis) for one in telling), key=_plainness) for axis in RACED)
    return Pool(
        groups=groups,
        configs=tuple(one for one in groups if _at(one, plain)),
        drop_last=tuple(sorted({one.drop_last for one in configs})),
    )


def _at(config: LoaderConfig, plain: Sequence[object]) -> bool:
    """Return whether a configuration has these values; without workers only pinning means anything."""
    own = tuple(getattr(config, axis) for axis in RACED)
    return own == plain or (config.num_workers == 0 and own[0] == plain[0])


def _plainness(value: object) -> tuple[bool, str]:
    return bool(value), str(value)


def reachable(state: State, pool: Pool) -> tuple[LoaderConfig, ...]:
    """Return what can still be chosen: the pool and, where the workers were left open, some with more.

    Out are those with a failed trial, and those that need as much of everything as one that ran out of memory or was
    over a limit.
    """
    out, too_much = state.spoilt(), _too_much(state)
    beyond = _beyond(state, pool) if state.workers_open_ended and _more_may_help(state) else ()
    able = [one for one in (*pool.configs, *beyond) if one not in out and not _needs_as_much(one, too_much)]
    return with_room(state, able)


def _more_may_help(state: State) -> bool:
    """Return whether none is faster than one with the most workers that were tried: then more of them may be faster."""
    standing = standings(state)
    best = leading(standing)
    return best is None or best.num_workers == max(config.num_workers for config in standing)


def _beyond(state: State, pool: Pool) -> tuple[LoaderConfig, ...]:
    grid_top = max(config.num_workers for config in pool.configs)
    top = max([grid_top, *(record.config.num_workers for record in state.records)])
    counts, count = [], grid_top
    while count and count < min(top * 2**LEAPS, MAX_WORKERS):
        counts.append(count := min(2 * count, MAX_WORKERS))
    at_top = [config for config in pool.configs if config.num_workers == grid_top]
    return tuple(replace(config, num_workers=count) for count in counts for config in at_top)


def _too_much(state: State) -> tuple[LoaderConfig, ...]:
    failed = [record.config for record in state.records if record.failure_kind in MEMORY_KINDS]
    refused = {record.config for record in state.records if record.status == "refused"}
    over = [group_of(row.config) for row in state.narrowed().choice().rows if row.within_limits is False]
    return tuple(dict.fromkeys(config for config in (*failed, *over) if config not in refused))


def _needs_as_much(config: LoaderConfig, others: Sequence[LoaderConfig]) -> bool:
    return any(
        config.num_workers >= other.num_workers
        and config.batches_in_flight >= other.batches_in_flight
        and (config.batch_size or 0) >= (other.batch_size or 0)
        for other in others
    )


def price(config: LoaderConfig) -> tuple[float, ...]:
    """Return what a configuration costs, to sort by, as the choice does (``choose.cost``)."""
    return cost(TrialResult(status="interrupted", **result_columns(config)))
