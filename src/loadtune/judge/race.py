"""The race: the best and all that may still beat or equal it, in randomised complete blocks, until it is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.choose import cost
from loadtune.judge.contest import contest
from loadtune.judge.evidence import group_of
from loadtune.judge.state import State
from loadtune.judge.statistics import Difference
from loadtune.record.results import TrialResult

MAX_BLOCKS = 5
MIN_BLOCKS = 2
"""Of race blocks, before the outcome may count as decided."""
MAX_CONTENDERS = 7
FEW_BLOCKS, FEW_CONTENDERS = 3, 5
"""The same after a search that has tried few configurations, and those because they were thought to be good."""
DROP_ERRORS = 1.6
"""Standard errors: dropped where the mean difference + 1.6 of them is below −tie/2."""


def next_trial(state: State) -> tuple[int, LoaderConfig] | None:
    """Return the block and the configuration of the next race trial; None where the race is decided or over."""
    raced = state.in_phase("race")
    before = max((record.block for record in state.records if record.phase == "screen"), default=0)
    block = max((record.block for record in raced), default=before)
    if raced:
        found = _remaining(state, block)
        if found:
            return block, found[0]
    if block - before >= limits_of(state)[0] or is_decided(state, block - before):
        return None
    found = _remaining(state, block + 1)
    return (block + 1, found[0]) if found else None


def _remaining(state: State, block: int) -> list[LoaderConfig]:
    """Return the members of a block that have not run in it, in its order; decided by the blocks before it."""
    before = state.with_records([record for record in state.records if record.block < block])
    members, _ = contenders(before)
    baseline = state.probe.baseline.steady
    if not members or set(members) == {baseline}:
        return []
    there = {record.config for record in state.records if record.block == block}
    out = state.spoilt()
    order = state.shuffled(list({*members, baseline}), "race", block)
    return [config for config in order if config not in there and config not in out]


def contenders(state: State) -> tuple[list[LoaderConfig], bool]:
    """Return the groups that are still in, the best first, and whether all of them are sure to be tied with it."""
    choice = state.choice()
    if choice.fastest is None:
        return [], True
    game = contest(choice.rows, state.records, state.probe)
    in_play = [row for row in choice.rows if row.within_limits and row.config_id in game.table]
    eligible = state.eligible()
    ahead = {r.config_id: game.against(r.config_id, choice.fastest) for r in in_play if r.config in eligible}
    floor, tie = -state.plan.tie / 2, state.plan.tie
    still_in = [
        row
        for row in in_play
        if row.config_id in ahead
        and (gap := ahead[row.config_id]).log_ratio + DROP_ERRORS * gap.standard_error >= floor
    ]
    still_in.sort(key=lambda row: (row.config_id != choice.fastest, -ahead[row.config_id].log_ratio, cost(row)))
    places = _places(still_in, ahead, state)
    groups = list(dict.fromkeys(group_of(row.config) for row in places))[: limits_of(state)[1]]
    unsure = [
        row
        for row in still_in
        if group_of(row.config) in groups[1:]
        and ahead[row.config_id].log_ratio - DROP_ERRORS * ahead[row.config_id].standard_error < -tie
    ]
    return groups, not unsure


def _places(still_in: Sequence[TrialResult], ahead: Mapping[str, Difference], state: State) -> Sequence[TrialResult]:
    """Return who is raced, the foremost first: the best, then by rate.

    Where places are few, the two cheapest that look tied come before those that are as good: they would be chosen.
    """
    if state.plan.search == "grid":
        return still_in
    tied = [row for row in still_in if ahead[row.config_id].log_ratio >= -state.plan.tie]
    return [*still_in[:1], *sorted(tied, key=cost)[:2], *still_in]


def limits_of(state: State) -> tuple[int, int]:
    """Return the most blocks and contenders of a race, which are fewer after a search that tried few."""
    return (MAX_BLOCKS, MAX_CONTENDERS) if state.plan.search == "grid" else (FEW_BLOCKS, FEW_CONTENDERS)


def is_decided(state: State, blocks: int) -> bool:
    """Return whether further blocks could not change the choice: one is left, or all left are surely tied."""
    groups, all_tied = contenders(state)
    return len(groups) <= 1 or (blocks >= MIN_BLOCKS and all_tied)
