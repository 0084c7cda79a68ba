"""What findings say of noise: how sure the rates and the gain are, and what would make them surer."""

from __future__ import annotations

import statistics as plain
from collections.abc import Sequence

from loadtune.judge.case import Case
from loadtune.judge.evidence import by_group, deciding, group_of, steady_table, taken_cores
from loadtune.judge.gain import is_known, unknown_words
from loadtune.judge.reasons import baseline_name, counted, label
from loadtune.judge.statistics import trend
from loadtune.judge.surer import advice, is_loaded, quiet_words
from loadtune.judge.verify import half_width_share
from loadtune.record.results import Finding, TrialRecord
from loadtune.units import format_cpus, format_estimate, format_half_width, format_seconds, format_share

TELLING_DRIFT = 0.05
"""A change of the machine's speed by less is not worth a word."""
TELLING_WORK = 0.1
"""Share of the usable CPUs: where other work took less during a trial, that is not what changed its rate."""
TELLING_TRIALS = 0.25
"""Share of the trials that other work has to have disturbed before it is told, or half of those that decide."""
TELLING_GAIN = 0.07
"""Precision of the rates at which a gain of a tenth can be told."""


def precision(case: Case) -> Finding | None:
    """Return LT001 where the rate of the choice is less sure than was asked for."""
    row, asked = case.row(case.choice.chosen), case.plan.measurement.precision
    share = half_width_share(row) if row else None
    if row is None or share is None or share <= asked:
        return None
    rate = format_estimate(row.samples_per_second or 0.0, row.samples_per_second_low, row.samples_per_second_high)
    return Finding(
        code="LT001",
        severity="warning",
        message=f"noise-limited: the rate of the choice is {rate}, {format_half_width(share)} where "
        f"{format_half_width(asked)} was asked for",
        advice=advice(case, row, asked),
        numbers={"half_width_share": share, "precision": asked},
    )


def unknown_gain(case: Case) -> Finding | None:
    """Return LT031 where the interval of the gain is too wide to say anything by it."""
    gain, row, baseline = case.choice.gain, case.row(case.choice.chosen), case.row(case.choice.baseline)
    if gain is None or row is None or baseline is None or is_known(gain):
        return None
    trials = f"{counted(row.repeats, 'trial')} of the choice and {baseline.repeats:,} of them"
    return Finding(
        code="LT031",
        severity="warning",
        message=f"the gain over {baseline_name(case.choice)} is {unknown_words(gain)}, which is all that {trials} say",
        advice=advice(case, row, TELLING_GAIN),
        numbers={"gain": gain.estimate, "gain_low": gain.low, "gain_high": gain.high},
    )


def drift(case: Case) -> Finding | None:
    """Return LT002 where the machine became slower or faster."""
    found = trend(steady_table(case.records))
    if found is None or not found.clear or abs(found.total_share) < TELLING_DRIFT:
        return None
    way = "slower" if found.total_share < 0 else "faster"
    return Finding(
        code="LT002",
        severity="warning",
        message=f"the machine became {format_share(abs(found.total_share))} {way} over {format_seconds(found.seconds)} "
        "of measuring; comparisons allow for it, the rates are those of the last trials",
        advice="look for other work, heat or a CPU quota, and run again when the machine is quiet",
        numbers={"total_share": found.total_share, "seconds": found.seconds},
    )


def other_work(case: Case) -> Finding | None:
    """Return LT034 where other programs took processor time from many of the trials, or of those that decide."""
    cpus = case.environment.usable_cpus
    # What they may have taken on CPUs that are none of ours did not disturb.
    elsewhere = max(0.0, case.environment.logical_cpus - cpus)
    taken = [(trial, cores - elsewhere) for trial in case.records if (cores := taken_cores(trial)) is not None]
    disturbed = [(trial, cores) for trial, cores in taken if cores >= TELLING_WORK * cpus]
    telling = _deciding_orders(case)
    told = [trial for trial, _ in disturbed if trial.order in telling]
    many = len(disturbed) >= TELLING_TRIALS * len(taken) or (bool(told) and 2 * len(told) >= len(telling))
    if not disturbed or not many:
        return None
    worst, most = max(disturbed, key=lambda one: one[1])
    middle = plain.median(cores for _, cores in disturbed)
    return Finding(
        code="LT034",
        severity="warning",
        message=f"other programs took {format_cpus(middle)} of the {format_cpus(cpus)} usable CPUs during "
        f"{len(disturbed)} of {counted(len(taken), 'trial')} (median), {format_cpus(most)} with {label(worst.config)}; "
        f"of the {len(telling)} that choice, fastest and baseline rest on, during {len(told)}: the rates are those of "
        "a machine that is shared",
        advice="close them and measure again (loadtune doctor shows the load), or train beside them as it was",
        numbers={"trials": float(len(disturbed)), "deciding_trials": float(len(told))}
        | {"taken_cpus": middle, "most_taken_cpus": most, "usable_cpus": cpus},
    )


def _deciding_orders(case: Case) -> set[int]:
    """Return which trials the rates of choice, fastest and baseline rest on, by their order."""
    groups = by_group(case.records)
    named = {group_of(row.config) for row in case.choice.rows if row.config_id in _named(case)}
    return {trial.order for group in named for trial in deciding(groups.get(group, []))}


def _named(case: Case) -> set[str | None]:
    return {case.choice.chosen, case.choice.fastest, case.choice.baseline}


def unsteady(case: Case) -> Finding | None:
    """Return LT003 where trials of the rows that are pointed out never became steady."""
    named = _named(case)
    groups = by_group(case.records)
    changing = [
        row
        for row in case.choice.rows
        if row.config_id in named
        and (trials := deciding(groups.get(group_of(row.config), [])))
        and _changing(trials) * 2 > len(trials)
    ]
    if not changing:
        return None
    return Finding(
        code="LT003",
        severity="warning",
        message=f"no steady state: the halves of a trial differ by more than 5 % for "
        f"{'; '.join(label(row.config) for row in changing)}",
        advice=_settling(case, [trial for row in changing for trial in deciding(groups[group_of(row.config)])]),
        numbers={"configurations": float(len(changing))},
    )


def _settling(case: Case, trials: Sequence[TrialRecord]) -> str:
    """Return what would make these trials steady: quiet where other work was seen, else time.

    How much the other work took is not told here: LT034 does, of all trials, where it was at work in enough of them.
    """
    cpus = case.environment.usable_cpus
    taken = [cores for trial in trials if (cores := taken_cores(trial)) is not None]
    if taken and plain.median(taken) >= TELLING_WORK * cpus:
        return "other programs were at work during these trials: close them, and measure again"
    if not taken and is_loaded(case):
        return quiet_words(case)
    return (
        "the cost of samples may change along the data set, or a cache is still filling: give more time, "
        f"as in --time-budget {case.longer()}"
    )


def _changing(trials: Sequence[TrialRecord]) -> int:
    """Return how many more trials were not steady one way than the other: what goes both ways is noise."""
    windows = [trial.steady.window_samples_per_second for trial in trials if trial.steady and not trial.steady.steady]
    halves = [(sum(rates[: len(rates) // 2]), sum(rates[len(rates) - len(rates) // 2 :])) for rates in windows]
    ups, downs = sum(first < second for first, second in halves), sum(first > second for first, second in halves)
    return abs(ups - downs) + len(halves) - ups - downs
