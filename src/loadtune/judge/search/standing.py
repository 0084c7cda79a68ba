"""How the configurations that were tried stand: the rate that the choice goes by, and whether they may be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loadtune.describe.config import LoaderConfig
from loadtune.judge.contest import contest
from loadtune.judge.evidence import group_of
from loadtune.judge.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One group that was measured."""

    log_rate: float
    """Of the better of its values of ``drop_last``: over an epoch where N is known, else steady."""
    may_win: bool
    """Whether it is in the grid or beyond it, and under the limits."""
    repeats: int


def standings(state: State) -> Mapping[LoaderConfig, Standing]:
    """Return every measured group by its settings with ``drop_last`` off."""
    small = state.narrowed()
    choice, eligible = small.choice(), small.eligible()
    game = contest(choice.rows, small.records, small.probe)
    found: dict[LoaderConfig, Standing] = {}
    for row in choice.rows:
        if row.config_id not in game.levels:
            continue
        group = group_of(row.config)
        own = Standing(
            log_rate=game.levels[row.config_id],
            may_win=bool(row.within_limits) and row.config in eligible,
            repeats=len(game.table[row.config_id]),
        )
        known = found.get(group)
        if known is None or (own.may_win, own.log_rate) > (known.may_win, known.log_rate):
            found[group] = own
    return found


def leading(standing: Mapping[LoaderConfig, Standing]) -> LoaderConfig | None:
    """Return the fastest that may be chosen; None where none may."""
    able = [config for config, one in standing.items() if one.may_win]
    return max(able, key=lambda config: (standing[config].log_rate, -config.num_workers), default=None)
