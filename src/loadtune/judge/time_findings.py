"""What findings say of time: what it did not suffice for, and where a run was cut or taken up again."""

from __future__ import annotations

import math

from loadtune.judge.case import Case
from loadtune.judge.reasons import counted
from loadtune.judge.summary import NOT_REACHED
from loadtune.record.results import Finding
from loadtune.units import format_seconds


def unfinished(case: Case) -> Finding | None:
    """Return LT004 where the time budget ended before all was measured."""
    missing = sum(row.status == "interrupted" and row.failure_reason == NOT_REACHED for row in case.choice.rows)
    if not missing or not case.finished or not case.cut_short:
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


def resumed(case: Case) -> Finding | None:
    """Return LT016 where the run was taken up again."""
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


def cut_off(case: Case) -> Finding | None:
    """Return LT017 where the run was not finished."""
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
    if row is None or case.is_verified(row):
        return ""
    return ", the choice not measured again"
