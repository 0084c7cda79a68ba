"""Which trial comes next under a hard time budget; decided by what was measured, and nothing else.

Four phases. *Screen*: configurations once, briefly, in the order of the search: the grid's all, in random order; the
adaptive search's those worth a trial (``search``). Where the number of workers was left open it is doubled from the
best as long as that helps. *Race*: the best and those not yet excluded, in randomised complete
blocks (docs/choosing.md). *Verify*: fresh blocks of the chosen one, the fastest and the baseline, which the
printed numbers come from. *Threads*: where more threads run than there are cores, the chosen one with and without one
thread in each process; no rate comes from these. Equal arguments give equal answers, so that a resumed sweep goes on as
it would have.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement, Phase, Search, SweepPlan
from loadtune.judge import costs, extend, race, threads, verify
from loadtune.judge.evidence import asides, by_group, measured, speaking, steady_of
from loadtune.judge.lean import lean_first
from loadtune.judge.state import Group, State, group_configs
from loadtune.record.results import Environment, MemoryLimits, Probe, TrialRecord

FIRST_TRIALS = 3
"""These run whatever they are expected to cost: without them nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next trial."""

    config: LoaderConfig
    """With ``drop_last`` off."""
    drop_last: tuple[bool, ...]
    """The values whose epoch is measured beside the steady rate."""
    block: int
    """Trials of one block draw the same samples."""
    phase: Phase
    measurement: Measurement
    one_thread: bool = False
    """Whether libraries are held to one thread in each of its processes."""
    ladder: tuple[int, ...] = ()
    """Smaller batch sizes that its workers are given too."""


def next_step(
    plan: SweepPlan,
    configs: Sequence[LoaderConfig],
    records: Sequence[TrialRecord],
    elapsed_seconds: float,
    *,
    probe: Probe,
    limits: MemoryLimits,
    workers_open_ended: bool = False,
    usable_cpus: float | None = None,
    environment: Environment | None = None,
) -> Step | None:
    """Return the next trial, or None when the outcome is sure enough or no further trial fits into the time.

    Args:
        plan: Its time budget, tie, seed, precision and limits; its space need not be resolved.
        configs: The grid. The baseline of ``probe`` is measured beside it.
        records: Every trial so far, refused and failed ones too.
        elapsed_seconds: Of the budget, since the first trial was begun.
        probe: The data set and the baseline.
        limits: In force, in bytes.
        workers_open_ended: Whether the number of workers was left to the sweep, so that it may go beyond the grid.
        usable_cpus: What runnable threads are held against; None asks nothing about threads.
        environment: The machine; without it the adaptive search goes without a model.
    """
    state = State(
        plan=plan,
        configs=tuple(configs),
        records=speaking(records),
        probe=probe,
        limits=limits,
        asides=asides(records),
        usable_cpus=usable_cpus,
        environment=environment,
        workers_open_ended=workers_open_ended,
    )
    left = plan.time_budget_seconds - elapsed_seconds
    # What was not tried can only be screened; among thousands of it a choice is dear.
    small = state if plan.search == "grid" else state.narrowed()
    kept = threads.kept_seconds(small)
    if not state.in_phase("verify"):
        found = _before_verifying(state, small, left - kept - verify.reserve_seconds(small))
        if found is not None:
            return found
    return _verify(small, left, kept)


def _before_verifying(state: State, small: State, seconds: float) -> Step | None:
    """Return a trial that screens or races; a search that fits a model is asked again between blocks of the race.

    Where the step hardly waits nothing is raced: the verification compares what has to be.
    """
    raced = {record.block for record in state.in_phase("race")}
    if not raced and _is_fed(state):
        return _screen(state, seconds)
    if raced and state.plan.search != "grid":
        drawn = race.next_trial(small)
        if drawn is not None and drawn[0] in raced:
            return _race(small, seconds)
    open_ended = state.workers_open_ended and not raced
    return _screen(state, seconds) or (_extension(state, seconds) if open_ended else None) or _race(small, seconds)


def _is_fed(state: State) -> bool:
    if state.plan.search != "adaptive":
        return False
    from loadtune.judge.search import adaptive  # noqa: PLC0415 - as in `searcher`

    return adaptive.is_fed(state)


def leader(records: Sequence[TrialRecord]) -> tuple[LoaderConfig, float] | None:
    """Return the configuration with the highest mean steady rate so far, and that rate in samples per second."""
    rates = {
        group: math.exp(sum(math.log(steady_of(r) or 1.0) for r in ok) / len(ok))
        for group, trials in by_group(records).items()
        if (ok := measured(trials)) and len(ok) == len(trials)
    }
    return max(rates.items(), key=lambda item: item[1]) if rates else None


def _screen(state: State, seconds: float) -> Step | None:
    for group in _waiting(state):
        step = first_step(group, state.plan)
        climbing = _climbing(state, step)
        if _fits(state, climbing, seconds):
            return climbing
        if _ran(state) < FIRST_TRIALS or _fits(state, step, seconds):
            return step
    return None


def _climbing(state: State, step: Step) -> Step:
    """Return the step with the batch sizes that its workers are given too, where others would start slowly."""
    if state.plan.search != "adaptive":
        return step
    from loadtune.judge.search import adaptive  # noqa: PLC0415 - as in `searcher`

    return replace(step, ladder=adaptive.ladder(state, step.config))


def _waiting(state: State) -> Iterable[Group]:
    """Return the groups that may have their first trial now, the foremost first."""
    if state.plan.search == "grid":
        tried = by_group(state.records)
        return lean_first(state, [group for group in screen_order(state) if group.config not in tried])
    found = searcher(state.plan.search)(state)
    return () if found is None else (found,)


def opening(state: State) -> tuple[LoaderConfig, ...]:
    """Return what is tried next, in order, whatever the trials give; empty where the search does not tell."""
    if state.plan.search == "grid":
        order = tuple(group.config for group in screen_order(state))
    elif state.plan.search == "adaptive":
        from loadtune.judge.search import adaptive  # noqa: PLC0415 - as in `searcher`

        order = adaptive.opening(state)
    else:
        return ()
    tried = by_group(state.records)
    return tuple(config for config in order if config not in tried)


def require(search: Search) -> None:
    """Return where this search can be had.

    Raises:
        UsageError: It needs an extra that is not installed.
    """
    if search.startswith("optuna:"):
        from loadtune.judge.search import by_optuna  # noqa: PLC0415

        by_optuna.require()


def searcher(search: Search) -> Callable[[State], Group | None]:
    """Return what names the group to try next; its module, and what that imports, are for sweeps that search so."""
    if search == "adaptive":
        from loadtune.judge.search import adaptive  # noqa: PLC0415

        return adaptive.next_group
    from loadtune.judge.search import by_optuna  # noqa: PLC0415

    return by_optuna.next_group


def _ran(state: State) -> int:
    """Return how many trials were run; what was refused tells nothing of what a trial costs."""
    return sum(record.status != "refused" for record in state.records)


def screen_order(state: State) -> list[Group]:
    """Return every group in random order, the baseline second: the first pays for what is cold."""
    groups = list(group_configs(state.configs, state.probe.baseline))
    random.Random(f"{state.plan.seed}/screen").shuffle(groups)  # noqa: S311 - an order, not a secret
    baseline = next(group for group in groups if group.config == state.probe.baseline.steady)
    groups.remove(baseline)
    groups.insert(min(1, len(groups)), baseline)
    return groups


def first_step(group: Group, plan: SweepPlan) -> Step:
    """Return the first trial of a group."""
    return _step(group, 0, "screen", costs.screen_measurement(plan))


def _extension(state: State, seconds: float) -> Step | None:
    config = extend.next_config(state if state.plan.search == "grid" else _with_its_top(state))
    if config is None:
        return None
    drops = tuple(sorted({one.drop_last for one in state.configs})) or (False,)
    group = Group(config=config, drop_last=drops if config.batch_size is not None else (False,))
    step = first_step(group, state.plan)
    return step if _fits(state, step, seconds) else None


def _with_its_top(state: State) -> State:
    """Return the state with what was tried, and one configuration with the most workers of the grid."""
    top = max(state.configs, key=lambda config: config.num_workers)
    return replace(state.narrowed(), configs=tuple(dict.fromkeys((*state.narrowed().configs, top))))


def _race(state: State, seconds: float) -> Step | None:
    drawn = race.next_trial(state)
    if drawn is None:
        return None
    block, config = drawn
    step = _step(state.group(config), block, "race", replace(state.plan.measurement, extensions=1))
    return step if _fits(state, step, seconds) else None


def _verify(state: State, seconds: float, kept_seconds: float) -> Step | None:
    """Return a trial that verifies; once all have their repeats, what is asked about threads comes before more."""
    drawn = verify.next_turns(state, seconds)
    found = None if drawn is not None and drawn.missing else _threads(state, seconds)
    if found is not None or drawn is None:
        return found
    measurement = verify.measurement(state, seconds - kept_seconds, max(1, drawn.missing))
    steps = [_step(state.group(config), block, "verify", measurement) for block, config in drawn.turns]
    if _ran(state) < FIRST_TRIALS:
        return steps[0]
    return next((step for step in steps if _fits(state, step, seconds)), None)


def _threads(state: State, seconds: float) -> Step | None:
    drawn = threads.next_trial(state)
    if drawn is None or threads.needed_seconds(state) > seconds:
        return None
    block, config, one_thread = drawn
    # It speaks for no value of drop_last: no epoch is run.
    step = _step(Group(config=config, drop_last=()), block, "threads", threads.measurement(state.plan))
    return replace(step, one_thread=one_thread)


def _step(group: Group, block: int, phase: Phase, measurement: Measurement) -> Step:
    return Step(config=group.config, drop_last=group.drop_last, block=block, phase=phase, measurement=measurement)


def _fits(state: State, step: Step, seconds: float) -> bool:
    climbing = len(step.ladder) * costs.rung_seconds(step.measurement)
    return costs.expected_seconds(step.config, step.measurement, state.records, state.probe) + climbing <= seconds
