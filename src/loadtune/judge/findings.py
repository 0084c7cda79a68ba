"""What a person should know beside the number, each with a code that stays, its figure and the next step.

The one home of this wording: terminal, report and JSON all show these values. What a code means at length, with its
title, is its page in ``explain/codes``. A code never changes its meaning.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.describe.plan import SweepPlan
from loadtune.judge import affinity, feeding, leftovers, memory_grows, page_cache, thread_findings, wrong_data
from loadtune.judge.choose import Choice, judged_rate
from loadtune.judge.evidence import by_group, deciding, group_of, is_verified, steady_table
from loadtune.judge.lack import lack
from loadtune.judge.reasons import baseline_name, counted, label, shortfall
from loadtune.judge.statistics import trend
from loadtune.judge.summary import NOT_REACHED
from loadtune.judge.throttle import is_telling, throttled_share
from loadtune.judge.unique import is_repeating
from loadtune.judge.verify import half_width_share
from loadtune.record.results import Environment, Finding, MemoryLimits, Probe, Resume, TrialRecord, TrialResult
from loadtune.units import format_bytes, format_cpus, format_estimate, format_seconds, format_share

TELLING_DROP = 0.01
"""Leaving out more of the samples than this is a warning."""
TELLING_DRIFT = 0.05
"""A change of the machine's speed by less is not worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that findings are drawn from."""

    plan: SweepPlan
    environment: Environment
    probe: Probe
    limits: MemoryLimits
    records: Sequence[TrialRecord]
    choice: Choice
    finished: bool = True
    resumes: Sequence[Resume] = ()

    def row(self, config_id: str | None) -> TrialResult | None:
        """Return the row with this id, or None."""
        return next((row for row in self.choice.rows if row.config_id == config_id), None)


def findings(case: Case) -> tuple[Finding, ...]:
    """Return what is to be said of a run, in the order of the codes."""
    found = (
        _precision(case),
        _drift(case),
        _unsteady(case),
        _unfinished(case),
        _tie(case),
        _pinning(case),
        _no_gain(case),
        _failures(case),
        _over_limits(case),
        _isolation(case),
        _dropped(case),
        _unverified(case),
        _nothing(case),
        page_cache.finding(case.plan, case.probe, case.records),
        _resumed(case),
        _cut_off(case),
        _throttled(case),
        memory_grows.finding(
            case.choice, case.records, probe=case.probe, limits=case.limits, environment=case.environment
        ),
        *wrong_data.findings(case.probe.contents, case.choice.rows, case.row(case.choice.chosen)),
        thread_findings.finding(case.records, case.choice, case.environment),
        affinity.finding(case.records),
        leftovers.finding(case.records),
        feeding.finding(
            case.records, case.row(case.choice.chosen), on_device=case.probe.accelerator_device is not None
        ),
    )
    return tuple(finding for finding in found if finding is not None)


def _precision(case: Case) -> Finding | None:
    row, asked = case.row(case.choice.chosen), case.plan.measurement.precision
    share = half_width_share(row) if row else None
    if row is None or share is None or share <= asked:
        return None
    rate = format_estimate(row.samples_per_second or 0.0, row.samples_per_second_low, row.samples_per_second_high)
    return Finding(
        code="LT001",
        severity="warning",
        message=f"noise-limited: the rate of the choice is {rate}, ±{format_share(share)} where ±{format_share(asked)} "
        "was asked for",
        advice=f"give more time, as in --time-budget {_longer(case.plan)}, or keep other work off this machine",
        numbers={"half_width_share": share, "precision": asked},
    )


def _longer(plan: SweepPlan) -> str:
    return f"{math.ceil(2 * plan.time_budget_seconds)}s"


def _drift(case: Case) -> Finding | None:
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


def _unsteady(case: Case) -> Finding | None:
    named = {case.choice.chosen, case.choice.fastest, case.choice.baseline}
    groups = by_group(case.records)
    unsteady = [
        label(row.config)
        for row in case.choice.rows
        if row.config_id in named
        and (trials := deciding(groups.get(group_of(row.config), [])))
        and _changing(trials) * 2 > len(trials)
    ]
    if not unsteady:
        return None
    return Finding(
        code="LT003",
        severity="warning",
        message=f"no steady state: the halves of a trial differ by more than 5 % for {'; '.join(unsteady)}",
        advice="the cost of samples may change along the data set, or a cache is still filling: give more time, "
        f"as in --time-budget {_longer(case.plan)}",
        numbers={"configurations": float(len(unsteady))},
    )


def _changing(trials: Sequence[TrialRecord]) -> int:
    """Return how many more trials were not steady one way than the other: what goes both ways is noise."""
    windows = [trial.steady.window_samples_per_second for trial in trials if trial.steady and not trial.steady.steady]
    halves = [(sum(rates[: len(rates) // 2]), sum(rates[len(rates) - len(rates) // 2 :])) for rates in windows]
    ups, downs = sum(first < second for first, second in halves), sum(first > second for first, second in halves)
    return abs(ups - downs) + len(halves) - ups - downs


def _unfinished(case: Case) -> Finding | None:
    missing = sum(row.status == "interrupted" and row.failure_reason == NOT_REACHED for row in case.choice.rows)
    if not missing or not case.finished:
        return None
    total = len(case.choice.rows)
    rest = "; the choice is the best of the others" if case.choice.chosen is not None else ""
    return Finding(
        code="LT004",
        severity="warning",
        message=f"the time budget of {format_seconds(case.plan.time_budget_seconds)} ended with {missing} of "
        f"{counted(total, 'configuration')} not measured{rest}",
        advice=f"give more time, as in --time-budget {_needed(case, missing)}, or fewer values on the axes",
        numbers={"not_measured": float(missing), "configurations": float(total)},
    )


def _needed(case: Case, missing: int) -> str:
    measured = max(1, len(case.choice.rows) - missing)
    return f"{math.ceil(case.plan.time_budget_seconds * (1 + missing / measured))}s"


def _tie(case: Case) -> Finding | None:
    chosen, fastest, ahead = case.row(case.choice.chosen), case.row(case.choice.fastest), case.choice.behind_chosen
    if chosen is None or fastest is None or chosen is fastest or ahead is None:
        return None
    share = math.expm1(ahead.log_ratio)
    return Finding(
        code="LT005",
        severity="info",
        message=f"{label(fastest.config)} measured {100 * share:+.1f} % against the choice, no more than the tie of "
        f"{format_share(case.plan.tie)} and the noise explain; the cheaper one is chosen",
        advice=f"to have the fastest by estimate instead, take {label(fastest.config)}",
        numbers={"fastest_over_chosen": share, "tie": case.plan.tie},
    )


def _pinning(case: Case) -> Finding | None:
    asked = case.plan.space.pin_memory
    tried_on = any(row.pin_memory for row in case.choice.rows)
    wanted_on = asked == "auto" or True in asked
    if case.probe.accelerator is not None or tried_on or not wanted_on:
        return None
    return Finding(
        code="LT006",
        severity="info",
        message="pin_memory was left out: without an accelerator nothing is copied from pinned memory",
        advice="sweep on the machine that trains, with --device cuda, to have pinning judged",
    )


def _no_gain(case: Case) -> Finding | None:
    gain = case.choice.gain
    if gain is None or gain.estimate >= 1 + case.plan.tie:
        return None
    name = baseline_name(case.choice)
    same = case.choice.chosen == case.choice.baseline
    if not same and gain.estimate < 1 - case.plan.tie:
        return Finding(
            code="LT007",
            severity="warning",
            message=f"the choice is slower than {name}, at {gain.estimate:.2f} × of them: they are not among what was "
            "asked for, and cannot be chosen",
            advice="keep them, or add them to the axes",
            numbers={"gain": gain.estimate},
        )
    if _is_open(case):
        return None
    reason = "they are the choice" if same else f"the choice is at {gain.estimate:.2f} × of them"
    return Finding(
        code="LT007",
        severity="info",
        message=f"{name} are as fast as any that was tried: {reason}",
        advice="the loader's settings are not what limits this data set here: look at the cost of a sample",
        numbers={"gain": gain.estimate},
    )


def _is_open(case: Case) -> bool:
    """Return whether something else may be faster: it could not be judged, or was seen faster in its first trial."""
    chosen = case.row(case.choice.chosen)
    best = judged_rate(chosen) if chosen is not None else None
    return any(
        row.status in ("failed", "hung")
        or is_repeating(row.unique_share)
        or (best is not None and row.within_limits is True and (judged_rate(row) or 0.0) > (1 + case.plan.tie) * best)
        for row in case.choice.rows
    )


def _failures(case: Case) -> Finding | None:
    failed = [row for row in case.choice.rows if row.status in ("failed", "hung", "refused")]
    if not failed:
        return None
    kinds = Counter(map(_how_it_failed, failed))
    kinds_text = "; ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    first = failed[0]
    return Finding(
        code="LT008",
        severity="info" if all(row.status == "refused" for row in failed) else "warning",
        message=f"{len(failed)} of {counted(len(case.choice.rows), 'configuration')} gave no usable number "
        f"({kinds_text}); the first, {label(first.config)}: {first.failure_reason or 'no reason is known'}",
        advice=_next_step(failed, kinds.most_common(1)[0][0]),
        numbers={"configurations": float(len(failed))},
    )


def _how_it_failed(row: TrialResult) -> str:
    return f"{row.status}, {row.failure_kind}" if row.failure_kind not in (None, row.status) else row.status


def _next_step(failed: Sequence[TrialResult], most: str) -> str:
    """Return the advice of the first of those that failed as most did."""
    own = (row.failure_advice for row in failed if _how_it_failed(row) == most and row.failure_advice)
    general = "none of them is ever chosen; failure_reason in trials.csv says what happened to each"
    return "; ".join([*([first] if (first := next(own, None)) else []), general])


def _over_limits(case: Case) -> Finding | None:
    out = [row for row in case.choice.rows if row.status == "ok" and row.within_limits is not True]
    if not out or case.choice.chosen is None:
        return None
    unknown = sum(row.within_limits is None for row in out)
    limits = [
        f"{format_bytes(limit)} of {name}"
        for limit, name in (
            (case.limits.host_memory_bytes, "host memory"),
            (case.limits.gpu_memory_bytes, "device memory"),
        )
        if limit is not None
    ]
    if case.plan.limits.max_batch_size is not None:
        limits.append(f"batch {case.plan.limits.max_batch_size}")
    note = f"; the memory of {unknown} could not be measured" if unknown else ""
    return Finding(
        code="LT009",
        severity="info",
        message=f"{_count(len(out))} over the limit of {', '.join(limits)}, at their measured peak or at "
        f"the peak expected by the end of an epoch, and not to be chosen{note}",
        advice="within_limits in trials.csv names them; raise the limit to have them considered",
        numbers={"configurations": float(len(out))},
    )


def _count(configurations: int) -> str:
    return "1 configuration is" if configurations == 1 else f"{configurations} configurations are"


def _isolation(case: Case) -> Finding | None:
    if case.probe.isolation == "fork":
        return None
    return Finding(
        code="LT010",
        severity="info",
        message="each trial ran in a fresh process instead of a forked one: "
        f"{case.probe.isolation_reason or 'forking is not safe here'}",
        advice="this costs start-up time in each trial, not accuracy; a longer --time-budget makes up for it",
    )


def _dropped(case: Case) -> Finding | None:
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


def _unverified(case: Case) -> Finding | None:
    choice = case.choice
    row, baseline = case.row(choice.chosen), case.row(choice.baseline)
    if row is None or not case.finished:
        return None
    if not _is_verified(case, row):
        message = (
            "the time budget ended before the choice could be measured again: its rate is the best of many noisy ones "
            "and may be flattered"
        )
    elif baseline is not None and choice.gain is not None and not _is_verified(case, baseline):
        message = (
            f"the time budget ended before {baseline_name(choice)} could be measured again: the gain over them rests "
            "on the first look alone and may be flattered"
        )
    else:
        return None
    return Finding(
        code="LT012",
        severity="warning",
        message=message,
        advice=f"give more time, as in --time-budget {_longer(case.plan)}, or fewer values on the axes",
        numbers={"repeats": float(row.repeats)},
    )


def _is_verified(case: Case, row: TrialResult) -> bool:
    return is_verified(by_group(case.records).get(group_of(row.config), []))


def _nothing(case: Case) -> Finding | None:
    if case.choice.chosen is not None:
        return None
    missing = lack(case.choice.rows, case.plan, case.probe)
    short = shortfall(missing, case.limits, case.plan.limits.max_batch_size)
    numbers = {"least_bytes": short.least_bytes, "best_bytes": short.best_bytes}
    return Finding(
        code="LT013",
        severity="error",
        message=short.message,
        advice=short.advice,
        numbers={name: float(value) for name, value in numbers.items() if value is not None},
    )


def _resumed(case: Case) -> Finding | None:
    if not case.resumes:
        return None
    longest = max(resume.pause_seconds for resume in case.resumes)
    once = len(case.resumes) == 1
    when = f"after {counted(case.resumes[0].order, 'trial')}" if once else f"{len(case.resumes)} times"
    pause = "a pause" if once else "the longest pause"
    return Finding(
        code="LT016",
        severity="info",
        message=f"the run was resumed {when}, {pause} of {format_seconds(longest)}: where trials of one block stand on "
        "both sides of it, they are compared as if they had run together",
        advice="if the machine was not as quiet before as after, measure everything again in a new run",
        numbers={"resumes": float(len(case.resumes)), "longest_pause_seconds": longest},
    )


def _cut_off(case: Case) -> Finding | None:
    if case.finished:
        return None
    missing = sum(row.status == "interrupted" and row.failure_reason == NOT_REACHED for row in case.choice.rows)
    total = len(case.choice.rows)
    return Finding(
        code="LT017",
        severity="warning",
        message=f"the sweep was ended after {counted(len(case.records), 'trial')}, before it was done: "
        f"{missing} of {counted(total, 'configuration')} not measured{_unsure(case)}",
        advice="go on where it ended with loadtune sweep --resume and the run's directory",
        numbers={"trials": float(len(case.records)), "not_measured": float(missing), "configurations": float(total)},
    )


def _unsure(case: Case) -> str:
    row = case.row(case.choice.chosen)
    if row is None or is_verified(by_group(case.records).get(group_of(row.config), [])):
        return ""
    return ", the choice not measured again"


def _throttled(case: Case) -> Finding | None:
    throttled = [record for record in case.records if is_telling(throttled_share(record))]
    if not throttled:
        return None
    seconds = sum(record.throttled_seconds or 0.0 for record in throttled)
    worst = max(throttled, key=lambda record: throttled_share(record) or 0.0)
    cores = "1 CPU is" if case.environment.usable_cpus == 1 else f"{format_cpus(case.environment.usable_cpus)} CPUs are"
    return Finding(
        code="LT015",
        severity="warning",
        message=f"the CPU quota throttled {len(throttled)} of {counted(len(case.records), 'trial')}: threads were held "
        f"back for {format_seconds(seconds)} in all, most with {label(worst.config)}; {cores} usable "
        f"({case.environment.usable_cpus_source})",
        advice="the rates hold under this quota alone: raise it (docker --cpus, resources.limits.cpu in Kubernetes), "
        "or keep to fewer workers with one thread each (OMP_NUM_THREADS=1)",
        numbers={
            "trials": float(len(throttled)),
            "throttled_seconds": seconds,
            "worst_share": throttled_share(worst) or 0.0,
            "usable_cpus": case.environment.usable_cpus,
        },
    )
