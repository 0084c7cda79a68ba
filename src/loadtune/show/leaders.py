"""Which rows are shown, in which order, and what each is called."""

from __future__ import annotations

import math

from loadtune.describe.config import LoaderConfig
from loadtune.judge.choose import is_open, judged_rate
from loadtune.judge.throttle import is_telling
from loadtune.judge.unique import is_repeating
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.words import config_words, other_words
from loadtune.units import format_estimate, format_share

LEADERS = 8
"""Rows of the table of leaders."""
TIED, UNDECIDED, AHEAD = "tied", "undecided", "told faster"
_MARKS = {
    TIED: "tied: counts as no slower than the fastest; {which}.",
    UNDECIDED: "undecided: not told apart from the pick, as this noise leaves open whether it is slower by over {tie}.",
    AHEAD: "told faster: but not measured again, where the best of many is flattered by noise, or not asked for.",
}
SAME = 1 + 1e-9
"""Rates that are further apart than by this factor differ by more than rounding."""


def leaders(result: RunResult, count: int = LEADERS) -> tuple[TrialResult, ...]:
    """Return the rows worth comparing: the pick, then by the rate that rows are compared by.

    The fastest and the baseline are always among them.

    Rows that differ in ``drop_last`` alone share their steady rate: one of them stands for both.
    """
    named = _named(result)
    picked = result.best.config_id if result.best is not None else None
    rows = sorted(standing_trials(result), key=lambda row: (row.config_id != picked, -(judged_rate(row) or 0.0)))
    within = [row for row in rows if row.within_limits is not False or row.config_id in named]
    kept = {row.config_id for row in (within or rows)[:count]} | named
    return tuple(row for row in rows if row.config_id in kept)


def row_words(row: TrialResult) -> str:
    """Return ``8 workers, batch 256, pinned``: what a row of leaders is called.

    Without ``drop_last``: a row stands for both of its values, and which of them it came from says nothing.
    """
    return config_words(row.config.steady)


def row_settings(row: TrialResult) -> str:
    """Return the settings of a row of leaders beside batch size and workers; empty where all are torch's default."""
    return other_words(row.config.steady)


def notes(result: RunResult) -> tuple[str, ...]:
    """Return what to know of the table of leaders, each a line."""
    return tuple(filter(None, (epoch_sentence(result), *mark_lines(result), earlier_sentence(result))))


def epoch_sentence(result: RunResult) -> str | None:
    """Return what percentages are of where it is not the rates of the table; None where no rate over an epoch is known.

    Their quotients differ from those of the table where starting workers costs some configurations more than others.
    """
    if result.best is None or all(row.epoch_samples_per_second is None for row in measured_trials(result)):
        return None
    return (
        "Rates are steady ones, and on one scale: what slowed all trials of a block is taken out. Configurations are "
        "compared, in percent too, by their rates over an epoch, start-up and tail included."
    )


def mark_lines(result: RunResult) -> tuple[str, ...]:
    """Return what the marks of the table say of a row beside the pick, a line for each that occurs in it."""
    if result.best is None:
        return ()
    rows, row = leaders(result), result.trial(result.best.config_id)
    marked = {mark for row in rows for mark in marks(result, row)}
    again = row is not None and row.measured_again
    which = "only what was measured again is picked, of that the cheapest" if again else "the cheapest is picked"
    tie = format_share(result.plan.tie, 0)
    said = [line.format(which=which, tie=tie) for mark, line in _MARKS.items() if mark in marked]
    if said and all(row.rate_over_pick is not None for row in rows):
        said.append("A row with no such mark is told to be slower.")
    return tuple(said)


def earlier_sentence(result: RunResult) -> str | None:
    """Return what to know of rates that look higher than the pick's and were not measured again, if there are any."""
    best = result.best
    if best is None or not any(row.measured_again for row in result.trials):
        return None
    row = result.trial(best.config_id)
    rate = judged_rate(row) if row is not None else None
    others = (row for row in measured_trials(result) if not row.measured_again)
    if rate is None or not any((judged_rate(row) or 0.0) > rate * SAME for row in others):
        return None
    return (
        f"{_measured_again(result)} measured again at the end. A higher rate that was not, or only once, may be "
        "flattered, as the best of many noisy ones: what is said of the pick tells how far it is told apart."
    )


def _measured_again(result: RunResult) -> str:
    """Return ``The pick and the baseline were``: the rows pointed out that were measured again."""
    again = {row.config_id for row in result.trials if row.measured_again}
    roles = {"baseline": result.baseline, "fastest": result.fastest, "pick": result.best}
    # What has two roles is named by the one that comes last: the pick is the pick, if it is the fastest too.
    named = {pick.config_id: f"the {role}" for role, pick in roles.items() if pick is not None}
    names = [name for key, name in reversed(named.items()) if key in again]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "some rows"
    return f"{listed[:1].upper()}{listed[1:]} {'was' if len(names) == 1 else 'were'}"


def measured_trials(result: RunResult) -> tuple[TrialResult, ...]:
    """Return the rows that have a rate."""
    return tuple(trial for trial in result.trials if trial.status == "ok" and trial.samples_per_second is not None)


def standing_trials(result: RunResult) -> tuple[TrialResult, ...]:
    """Return one measured row for each pair that differs in ``drop_last`` alone: they share rate and memory.

    The row that is pointed out stands for its pair, else that with the faster epoch, else that which drops nothing.
    """
    named = _named(result)

    def rank(row: TrialResult) -> tuple[bool, int, bool]:
        # Epochs that differ by less than a tie count as equal.
        rate = row.epoch_samples_per_second
        steps = round(math.log(rate) / result.plan.tie) if rate and math.isfinite(rate) else 0
        return (row.config_id not in named, -steps, row.drop_last)

    standing: dict[LoaderConfig, TrialResult] = {}
    for trial in sorted(measured_trials(result), key=rank):
        standing.setdefault(trial.config.steady, trial)
    return tuple(trial for trial in result.trials if standing.get(trial.config.steady) is trial)


def _named(result: RunResult) -> set[str]:
    return {pick.config_id for pick in (result.best, result.fastest, result.baseline) if pick is not None}


def higher_rated(result: RunResult) -> tuple[TrialResult, ...]:
    """Return the rows within the limits with a higher rate than the fastest of those measured again."""
    fastest = result.trial(result.fastest.config_id) if result.fastest is not None else None
    best = judged_rate(fastest) if fastest is not None else None
    if best is None:
        return ()
    rows = (row for row in measured_trials(result) if row.within_limits is not False)
    # What differs in drop_last alone shares its trials, and is the same loader.
    others = (row for row in rows if fastest is None or row.config.steady != fastest.config.steady)
    return tuple(row for row in others if (judged_rate(row) or 0.0) > best * SAME)


def marks(result: RunResult, trial: TrialResult) -> tuple[str, ...]:
    """Return what a row is: ``pick``, ``fastest``, ``baseline``, ``tied``, or what is the matter with it.

    None is called the fastest where another has a higher rate, as what was not measured again may.
    """
    picks = (("pick", result.best), ("fastest", result.fastest), ("baseline", result.baseline))
    names = [name for name, pick in picks if pick is not None and pick.config_id == trial.config_id]
    # Asked of the one row alone: it looks at all the others.
    if "fastest" in names and higher_rated(result):
        names.remove("fastest")
    if "pick" not in names:
        names += _beside_pick(result, trial)
    if trial.within_limits is False:
        names.append("over the limit")
    if is_telling(trial.throttled_share):
        names.append("throttled")
    if is_repeating(trial.unique_share):
        names.append("duplicates")
    return tuple(names)


def _beside_pick(result: RunResult, trial: TrialResult) -> list[str]:
    """Return how a row that is not the pick stands beside it; nothing where it is told to be slower."""
    if trial.tied_with_best:
        return [TIED]
    over = trial.rate_over_pick
    if over is None or trial.within_limits is not True or not is_open(over, result.plan.tie):
        return []
    return [AHEAD if over.low > 1 else UNDECIDED]


def trial_rate(trial: TrialResult, unit: str = "") -> str:
    """Return ``3,032 ± 33``, or a dash where nothing was measured."""
    if trial.samples_per_second is None:
        return "–"
    return format_estimate(
        trial.samples_per_second, trial.samples_per_second_low, trial.samples_per_second_high, unit=unit
    )
