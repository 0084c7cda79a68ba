"""Whether libraries start more threads than there are cores, and the trials that tell what that costs.

A question of its own: the pick as it is against one thread in each process, in mirrored pairs that draw the same
samples. The pick may be what is left when many threads have made every larger number of workers slow; then it is held
against the number of workers that the cores would carry, with one thread each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement, SweepPlan
from loadtune.judge import costs
from loadtune.judge.choose import Choice
from loadtune.judge.evidence import asides, by_group, group_of, measured, middles, repeats, steady_of, steady_table
from loadtune.judge.state import State
from loadtune.judge.statistics import Difference, difference, spread
from loadtune.record.results import ThreadMeasurement, TrialRecord

MIN_COUNTS = 3
"""Moments at which threads were counted, before they are judged."""
MANY_EACH = 1.5
"""Runnable threads of one process that loads, in the mean: from so many on it is more than its own and a helper."""
OWN_THREADS = 3.25
"""Threads of a worker without any library's, in the mean: one loads, one fills its queue, one shares descriptors."""
MANY_PER_CPU = 1.25
"""Runnable threads in all by usable CPU: fewer are carried by the cores."""
MIN_PAIRS = 2
"""Pairs of trials before a gain is said: one has no interval."""
MAX_PAIRS = 4
"""More where two do not tell."""
SHARE_OF_BUDGET = 0.2
"""Most of the time budget that is kept for the pairs."""
FIRST_BLOCK = 1000
"""Above every block of the other phases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the pairs compare."""

    pick: LoaderConfig
    """Runs as it is."""
    crowded: LoaderConfig
    """Has more runnable threads than there are CPUs, and runs with one thread each; mostly the pick itself."""
    seen: ThreadMeasurement
    """Of ``crowded`` as it is."""


def question(records: Sequence[TrialRecord], choice: Choice, usable_cpus: float) -> Question | None:
    """Return what is to be asked about threads; None where no configuration has too many, or none is chosen.

    What the first trials that ask were about stays the question, whatever is chosen later.
    """
    crowded = _crowded(records, usable_cpus)
    chosen = next((group_of(row.config) for row in choice.rows if row.config_id == choice.chosen), None)
    if not crowded or chosen is None:
        return None
    asked = asides(records)
    pick = next((record.config for record in asked if not record.one_thread), chosen)
    held = next((record.config for record in asked if record.one_thread), None)
    subject = held if held in crowded else _subject(pick, crowded, choice, usable_cpus)
    return Question(pick=pick, crowded=subject, seen=crowded[subject]) if subject is not None else None


def _crowded(records: Iterable[TrialRecord], usable_cpus: float) -> dict[LoaderConfig, ThreadMeasurement]:
    seen = {config: threads_of(trials) for config, trials in by_group(records).items()}
    return {config: one for config, one in seen.items() if is_crowded(one, usable_cpus)}


def _subject(
    pick: LoaderConfig, crowded: dict[LoaderConfig, ThreadMeasurement], choice: Choice, usable_cpus: float
) -> LoaderConfig | None:
    """Return the pick where it is crowded, else what comes nearest to a worker for each CPU, of the pick's batch."""
    if pick in crowded:
        return pick
    within = {group_of(row.config) for row in choice.rows if row.status == "ok" and row.within_limits}
    fitting = [config for config in crowded if config in within]
    return min(
        fitting,
        key=lambda one: (
            abs(one.num_workers - max(1.0, usable_cpus)),
            one.batch_size != pick.batch_size,
            one.config_id,
        ),
        default=None,
    )


def threads_of(records: Iterable[TrialRecord]) -> ThreadMeasurement:
    """Return what all trials of one configuration together say of its threads."""
    seen = [record.threads for record in measured(records) if record.threads.samples]
    total = sum(one.samples for one in seen)
    if not total:
        return ThreadMeasurement()
    return ThreadMeasurement(
        samples=total,
        runnable=sum(one.samples * (one.runnable or 0.0) for one in seen) / total,
        runnable_each=sum(one.samples * (one.runnable_each or 0.0) for one in seen) / total,
        alive_each=sum(one.samples * (one.alive_each or 0.0) for one in seen) / total,
    )


def is_crowded(seen: ThreadMeasurement, usable_cpus: float) -> bool:
    """Return whether there are more runnable threads than CPUs, and more in each process than the one that loads."""
    if seen.samples < MIN_COUNTS or seen.runnable is None or seen.runnable_each is None:
        return False
    has_others = seen.alive_each is None or seen.alive_each > OWN_THREADS
    return has_others and seen.runnable_each >= MANY_EACH and seen.runnable >= MANY_PER_CPU * usable_cpus


def next_trial(state: State) -> tuple[int, LoaderConfig, bool] | None:
    """Return the block and configuration of the next trial, and whether it is held to one thread; None where done."""
    asked = _asked(state)
    if asked is None:
        return None
    pair, place = divmod(len(state.asides), 2)
    if not place and (pair >= MAX_PAIRS or (pair >= MIN_PAIRS and _tells(state))):
        return None
    one_thread = (place == 1) is (pair % 2 == 0)  # mirrored: as it is, held; held, as it is
    return FIRST_BLOCK + pair, asked.crowded if one_thread else asked.pick, one_thread


def _asked(state: State) -> Question | None:
    """Return the question while it is open: where one of its trials gave no rate it stays without an answer."""
    if len(measured(state.asides)) < len(state.asides):
        return None
    if state.usable_cpus is None or not _crowded(state.records, state.usable_cpus):
        return None  # the choice is dear where there is nothing to ask
    return question((*state.records, *state.asides), state.choice(), state.usable_cpus)


def measurement(plan: SweepPlan) -> Measurement:
    """Return how such a trial is measured: as one of the race."""
    return replace(plan.measurement, extensions=1)


def needed_seconds(state: State) -> float:
    """Return what the next trial needs, and the other of its pair where it is the first."""
    asked = _asked(state)
    both = (asked.pick, asked.crowded)[len(state.asides) % 2 :] if asked is not None else ()
    return sum(_cost(state, config) for config in both)


def kept_seconds(state: State) -> float:
    """Return the part of the time budget that is to be left for the pairs still to come, in seconds."""
    asked = _asked(state)
    to_come = 2 * MIN_PAIRS - len(state.asides)
    if asked is None or to_come <= 0:
        return 0.0
    each = (_cost(state, asked.pick) + _cost(state, asked.crowded)) / 2
    return min(to_come * each, SHARE_OF_BUDGET * state.plan.time_budget_seconds)


def _cost(state: State, config: LoaderConfig) -> float:
    # A verifying trial has its memory looked at twice and takes longer for it.
    alike = [record for record in state.records if record.phase != "verify"]
    return costs.expected_seconds(config, measurement(state.plan), alike or state.records, state.probe)


def _tells(state: State) -> bool:
    """Return whether the pairs tell a difference, or that there is none worth a word."""
    found = gain((*state.records, *state.asides))
    if found is None:
        return False
    ratio = found.ratio()
    return ratio.low > 1 or ratio.high < 1 or math.log(ratio.high / ratio.low) / 2 <= state.plan.tie


def gain(records: Sequence[TrialRecord]) -> Difference | None:
    """Return the log ratio of the rates with one thread each to those without, paired; None without a whole pair."""
    at, tried = middles(records), asides(records)
    held = repeats([record for record in tried if record.one_thread], steady_of, at)
    as_is = repeats([record for record in tried if not record.one_thread], steady_of, at)
    if not {one.block for one in held} & {one.block for one in as_is}:
        return None
    return difference(held, as_is, spread(steady_table(records)))
