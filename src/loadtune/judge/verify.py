"""The verification: the numbers that are printed come from fresh trials, made after the pick.

The best of many noisy measurements is the one whose noise was kindest. So the chosen one, the fastest and the baseline
are measured again in blocks of their own, and what that says replaces what was said before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement
from loadtune.judge import costs
from loadtune.judge.choose import Choice
from loadtune.judge.evidence import MIN_FRESH, by_group, group_of, measured
from loadtune.judge.state import State
from loadtune.judge.summary import all_configs
from loadtune.record.results import TrialResult

SHARE_OF_BUDGET = 0.25
MOST_OF_BUDGET = 0.4
"""Kept for verifying, where its trials take long."""
REPEATS = 3
"""Fresh trials of each, at least, where time permits."""
MAX_BLOCKS = 12
"""More give little: the interval narrows with the root of their number."""
LONGEST = 2.0
"""A verifying trial takes up to this many times the time of one in the race, where the budget has it."""


def reserve_seconds(state: State) -> float:
    """Return the part of the time budget that is kept for verifying, in seconds; none where nothing is to be verified.

    A fixed share of it, or more where the fresh trials without which the choice would not stand take longer: of what
    starts slowly, such as many workers, one further trial may cost all that is left.
    """
    members, done = _members(state)
    if not members or done:
        return 0.0
    budget = state.plan.time_budget_seconds
    without_baseline = [config for config in members if config != state.probe.baseline.steady]
    for wanted in (members, without_baseline or members):
        takes = MIN_FRESH * sum(_takes(state, config) for config in wanted)
        if takes <= MOST_OF_BUDGET * budget:
            return max(SHARE_OF_BUDGET * budget, takes)
    return MOST_OF_BUDGET * budget


def _takes(state: State, config: LoaderConfig) -> float:
    return costs.expected_seconds(config, _shortest(state.plan.measurement), state.records, state.probe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What may be measured again next."""

    turns: tuple[tuple[int, LoaderConfig], ...]
    """Blocks and configurations, the foremost first; of the next block those that cannot stand with what they have."""
    missing: int
    """Trials to come until each has its repeats; 0 where more are for precision alone."""


def next_turns(state: State, seconds: float) -> Turns | None:
    """Return what may be measured again next; None where all is verified.

    The order within a block is random, unless ``seconds`` are too few for two blocks: then the choice comes first, and
    what it is compared with behind it.
    """
    members, done = _members(state)
    if not members or done:
        return None
    fresh = state.in_phase("verify")
    first = max((record.block for record in state.records if record.phase != "verify"), default=-1) + 1
    block = max((record.block for record in fresh), default=first)
    here = {record.config for record in fresh if record.block == block}
    wanting = [config for config in members if _repeats(state, config) < MIN_FRESH]
    is_short = sum((MIN_FRESH - _repeats(state, config)) * _takes(state, config) for config in wanting) > seconds

    def order(members: list[LoaderConfig], block: int) -> list[tuple[int, LoaderConfig]]:
        ordered = (
            sorted(members, key=_by_need(state, members)) if is_short else state.shuffled(members, "verify", block)
        )
        return [(block, config) for config in ordered]

    waiting = [turn for turn in order(members, block) if turn[1] not in here]
    if not waiting:
        if block + 1 - first >= MAX_BLOCKS:
            return None
        block += 1
        waiting = order(members, block)
    missing = sum(max(0, REPEATS - _repeats(state, config)) for config in members)
    return Turns(turns=(*waiting, *order(wanting, block + 1)), missing=missing)


def _by_need(state: State, members: Sequence[LoaderConfig]) -> Callable[[LoaderConfig], tuple[bool, bool]]:
    """Return what sorts the choice first and the baseline second."""
    baseline = state.probe.baseline.steady
    return lambda config: (config != members[0], config != baseline)


def measurement(state: State, seconds: float, trials_to_come: int) -> Measurement:
    """Return how a verifying trial is measured: as long as the time left allows for all that are to come."""
    base = state.plan.measurement
    share = seconds / trials_to_come / costs.SAFETY - costs.overhead_seconds(state.records)
    least, longest = _shortest(base), LONGEST * base.max_seconds
    return replace(least, max_seconds=min(max(share, least.max_seconds), longest))


def _shortest(base: Measurement) -> Measurement:
    """Return the least that a verifying trial measures."""
    least = min(base.max_seconds, base.min_windows * base.window_seconds)
    return replace(base, max_seconds=least, extensions=1, pause_seconds=1.0, look_early=True)


def _members(state: State) -> tuple[list[LoaderConfig], bool]:
    """Return what belongs into a verifying block, and whether no more is needed.

    They follow from what was known before the verification. A candidate that turns out slower than the fastest is out,
    and the next one takes its place.
    """
    before = state.with_records([record for record in state.records if record.phase != "verify"])
    spoilt = state.spoilt()
    everything = all_configs(state.configs, state.records, state.probe)
    now = state.choice()
    lost = {config.config_id for config in everything if group_of(config) in spoilt}
    # What a longer look at memory has found out holds for configurations that have not had one.
    lost |= {row.config_id for row in now.rows if row.within_limits is False}
    same = not lost and len(before.records) == len(state.records)
    then = first = now if same else before.choice(lost)
    if first.chosen is None:
        return [], True
    while True:
        if then.chosen is None:
            return [], True
        members = _groups(state, first, (then.chosen, first.fastest))
        if any(_repeats(state, config) < REPEATS for config in members):
            return members, False
        if then.chosen in now.tied or then.chosen == first.fastest:
            break
        lost.add(then.chosen)
        then = before.choice(lost)
    return _groups(state, now, (now.chosen, now.fastest)), _is_precise(state, now)


def _groups(state: State, choice: Choice, ids: Sequence[str | None]) -> list[LoaderConfig]:
    """Return the groups of these rows and of the baseline, each once, less those with a failed trial."""
    wanted = [group_of(row.config) for key in ids for row in choice.rows if row.config_id == key]
    baseline = state.probe.baseline.steady
    if measured(by_group(state.records).get(baseline, [])) and baseline not in state.spoilt():
        wanted.append(baseline)
    return [config for config in dict.fromkeys(wanted) if config not in state.spoilt()]


def _repeats(state: State, config: LoaderConfig) -> int:
    return sum(record.config == config for record in measured(state.in_phase("verify")))


def _is_precise(state: State, choice: Choice) -> bool:
    """Return whether the chosen one's rate is known as well as was asked for."""
    row = next((row for row in choice.rows if row.config_id == choice.chosen), None)
    share = None if row is None else half_width_share(row)
    return share is None or share <= state.plan.measurement.precision


def half_width_share(row: TrialResult) -> float | None:
    """Return the half-width of a row's 95 % interval as a share of its rate."""
    rate, low, high = row.samples_per_second, row.samples_per_second_low, row.samples_per_second_high
    return None if not rate or low is None or high is None else max(rate - low, high - rate) / rate
