"""What findings say of the pick: against the fastest, against the baseline, and what it leaves out."""

from __future__ import annotations

import math

from loadtune.judge.barred import barred
from loadtune.judge.case import Case
from loadtune.judge.choose import is_open, judged_rate
from loadtune.judge.evidence import FAILED, speaking
from loadtune.judge.feeding import hardly_waits
from loadtune.judge.reasons import baseline_name, counted, difference_words, label, none_faster, others
from loadtune.judge.unique import is_repeating
from loadtune.record.results import Finding, Interval, Severity, TrialResult
from loadtune.units import format_share

TELLING_DROP = 0.01
"""Leaving out more of the samples than this is a warning."""


def tie(case: Case) -> Finding | None:
    """Return LT005 where a dearer configuration is the fastest by estimate."""
    chosen, fastest, ahead = case.row(case.choice.chosen), case.row(case.choice.fastest), case.choice.behind_chosen
    if chosen is None or fastest is None or chosen is fastest or ahead is None:
        return None
    share = math.expm1(ahead.log_ratio)
    return Finding(
        code="LT005",
        severity="info",
        message=f"{label(fastest.config)} measured {difference_words(ahead)} against the choice, no more than the tie "
        f"of {format_share(case.plan.tie)} and the noise explain; the cheaper one is chosen",
        advice=f"to have the fastest by estimate instead, take {label(fastest.config)}",
        numbers={"fastest_over_chosen": share, "tie": case.plan.tie},
    )


def no_gain(case: Case) -> Finding | None:
    """Return LT007 where the choice is no faster than the baseline, or slower."""
    gain, choice = case.choice.gain, case.choice
    if gain is None or gain.estimate >= 1 + case.plan.tie:
        return None
    name, same = baseline_name(choice), choice.chosen == choice.baseline
    if gain.estimate < 1 - case.plan.tie and gain.high < 1 and choice.baseline in choice.unasked:
        message = (
            f"the choice is slower than {name}, at {gain.estimate:.2f} × of them: they are not among what was asked "
            "for, and cannot be chosen"
        )
        return _baseline_finding("warning", gain, message, "keep them, or add them to the axes")
    out = barred(case)
    if out is not None:
        message = f"nothing within the limits is told to be faster than {name}: {out.words}"
        return _baseline_finding("info", gain, message, out.advice)
    if _may_be_beaten(case) or not others(choice):
        return None
    reason = "they are the choice" if same else f"the choice is at {gain.estimate:.2f} × of them"
    if none_faster(choice):
        message = f"{name} are as fast as any that was tried: {reason}"
        limits = "the loader's settings are not what limits this data set here: look at the cost of a sample"
        return _baseline_finding("info", gain, message, limits)
    message = f"nothing that was tried can be told to be faster than {name} at this noise: {reason}"
    return _baseline_finding("info", gain, message, "measure again on a quieter machine before taking it that none is")


def _baseline_finding(severity: Severity, gain: Interval, message: str, advice: str) -> Finding:
    return Finding(code="LT007", severity=severity, message=message, advice=advice, numbers={"gain": gain.estimate})


def _may_be_beaten(case: Case) -> bool:
    """Return whether something else may be faster: it could not be judged, or was seen faster in its first trial."""
    chosen = case.row(case.choice.chosen)
    best = judged_rate(chosen) if chosen is not None else None
    return any(
        row.status in FAILED
        or is_repeating(row.unique_share)
        or (best is not None and row.within_limits is True and (judged_rate(row) or 0.0) > (1 + case.plan.tie) * best)
        for row in case.choice.rows
    )


def at_the_edge(case: Case) -> Finding | None:
    """Return LT035 where the choice has the most workers of all rows, and is told from every row with fewer.

    Not where the step hardly waits: there is nothing left for more of them to win.
    """
    row = case.row(case.choice.chosen)
    if row is None or row.num_workers < max(other.num_workers for other in case.choice.rows):
        return None
    if hardly_waits(speaking(case.records), row):
        return None
    fewer = [
        other
        for other in case.choice.rows
        if other.num_workers < row.num_workers and other.config_id in case.choice.ahead_of_chosen
    ]
    ratios = [case.choice.ahead_of_chosen[other.config_id].ratio() for other in fewer]
    if not ratios or any(is_open(ratio, case.plan.tie) for ratio in ratios):
        return None
    nearest = max(range(len(fewer)), key=lambda at: ratios[at].estimate)
    less = 1 - ratios[nearest].estimate
    return Finding(
        code="LT035",
        severity="info",
        message=f"the choice has the most workers that were tried, and what is nearest to it with fewer, "
        f"{label(fewer[nearest].config)}, is {format_share(less, 0)} slower: still more workers may be faster",
        advice=f"try more, as in --num-workers {row.num_workers}..{4 * row.num_workers}:x2",
        numbers={"num_workers": float(row.num_workers), "slower_share": less},
    )


def dropped(case: Case) -> Finding | None:
    """Return LT011 where the choice leaves samples out."""
    row = case.row(case.choice.chosen)
    if row is None or not row.drop_last or not row.dropped_samples:
        return None
    total = case.probe.dataset_samples or 1
    verb = "is" if row.dropped_samples == 1 else "are"
    return Finding(
        code="LT011",
        severity="warning" if row.dropped_samples > TELLING_DROP * total else "info",
        message=f"the choice uses drop_last: {row.dropped_samples:,} of {counted(total, 'sample')} "
        f"({format_share(row.dropped_samples / total, 2)}) {verb} left out of each epoch",
        advice="keep every sample with --drop-last off",
        numbers={"dropped_samples": float(row.dropped_samples)},
    )


def unverified(case: Case) -> Finding | None:
    """Return LT012 where the choice, the baseline or what looked faster has too few fresh trials to stand alone."""
    row = case.row(case.choice.chosen)
    if row is None or not case.finished:
        return None
    message = _unsure_choice(case, row) or _unsure_baseline(case) or _unsure_rival(case, row)
    if message is None:
        return None
    return Finding(
        code="LT012",
        severity="warning",
        message=message,
        advice=f"give more time, as in --time-budget {case.longer()}, or fewer values on the axes",
        numbers={"repeats": float(row.repeats)},
    )


def _unsure_choice(case: Case, row: TrialResult) -> str | None:
    if case.is_verified(row):
        return None
    if row.fresh_trials:
        return (
            "the time budget ended after one fresh trial of the choice, which does not stand alone: its rate is that "
            f"of all its {counted(row.repeats, 'trial')}, those that it was picked out by included, and may be "
            "flattered"
        )
    return (
        "the time budget ended before the choice could be measured again: its rate is the best of many noisy ones "
        "and may be flattered"
    )


def _unsure_baseline(case: Case) -> str | None:
    baseline = case.row(case.choice.baseline)
    if baseline is None or case.choice.gain is None or case.is_verified(baseline):
        return None
    name = baseline_name(case.choice)
    if baseline.fresh_trials:
        return (
            f"the time budget ended after one fresh trial of {name}: the gain over them rests on all their "
            f"{counted(baseline.repeats, 'trial')}, made before the choice was picked out but for that one"
        )
    looks = (
        "the first look alone" if baseline.repeats == 1 else f"their {counted(baseline.repeats, 'trial')} before that"
    )
    return (
        f"the time budget ended before {name} could be measured again: the gain over them rests on {looks} and may be "
        "flattered"
    )


def _unsure_rival(case: Case, row: TrialResult) -> str | None:
    """Return that something looked faster and was measured again once: a second trial might have made it the choice."""
    ahead = {
        key: one
        for key, one in case.choice.ahead_of_chosen.items()
        if one.log_ratio > math.log1p(case.plan.tie)
        and (rival := case.row(key)) is not None
        and rival.config.steady != row.config.steady
        and rival.fresh_trials == 1
    }
    best = case.row(max(ahead, key=lambda key: ahead[key].log_ratio)) if ahead else None
    if best is None:
        return None
    return (
        f"the time budget ended after one fresh trial of {label(best.config)}, which looked faster than the choice "
        f"({difference_words(ahead[best.config_id])}): one does not stand alone, a second might have made it the choice"
    )
