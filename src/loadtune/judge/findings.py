"""What a person should know beside the number, each with a code that stays, its figure and the next step.

The one home of this wording: terminal, report and JSON all show these values. What a code means at length, with its
title, is its page in ``explain/codes``. A code never changes its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from loadtune.judge import (
    affinity,
    epoch_findings,
    feeding,
    leftovers,
    memory_grows,
    noise_findings,
    page_cache,
    pick_findings,
    step_findings,
    thread_findings,
    time_findings,
    trouble_findings,
    unseen,
    wrong_data,
)
from loadtune.judge.case import Case
from loadtune.judge.evidence import speaking
from loadtune.record.results import Finding, Severity

_RANKS: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
_BUDGET = re.compile(r"--time-budget (\d+)s")


def findings(case: Case) -> tuple[Finding, ...]:
    """Return what is to be said of a run: errors, warnings, then the rest, each in the order of the codes."""
    found = (
        noise_findings.precision(case),
        noise_findings.drift(case),
        noise_findings.unsteady(case),
        time_findings.unfinished(case),
        pick_findings.tie(case),
        _pinning(case),
        pick_findings.no_gain(case),
        *trouble_findings.failures(case),
        trouble_findings.over_limits(case),
        _isolation(case),
        pick_findings.dropped(case),
        pick_findings.unverified(case),
        trouble_findings.nothing(case),
        page_cache.finding(case.plan, case.probe, case.records),
        time_findings.resumed(case),
        time_findings.cut_off(case),
        trouble_findings.throttled(case),
        memory_grows.finding(
            case.choice, case.records, probe=case.probe, limits=case.limits, environment=case.environment
        ),
        *wrong_data.findings(case.probe.contents, case.choice.rows, case.row(case.choice.chosen)),
        thread_findings.finding(case.records, case.choice, case.environment),
        affinity.finding(case.records),
        leftovers.finding(case.records),
        epoch_findings.start_up(case),
        epoch_findings.tail(case),
        epoch_findings.hand_over(case),
        trouble_findings.small_shared_memory(case),
        feeding.finding(
            speaking(case.records), case.row(case.choice.chosen), on_device=case.probe.accelerator_device is not None
        ),
        noise_findings.unknown_gain(case),
        step_findings.per_batch(case),
        unseen.finding(case),
        noise_findings.other_work(case),
        pick_findings.at_the_edge(case),
    )
    told = [finding for finding in found if finding is not None]
    return with_one_budget(sorted(told, key=lambda finding: _RANKS[finding.severity]))


def with_one_budget(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with one time budget in their advice: the longest of them, which does for all."""
    told = tuple(found)
    longest = max((int(seconds) for one in told for seconds in _BUDGET.findall(one.advice)), default=0)
    return tuple(replace(one, advice=_BUDGET.sub(f"--time-budget {longest}s", one.advice)) for one in told)


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
