"""Why nothing can be chosen, told once for the exit code, the finding, the outputs and the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from loadtune.describe.config import WITHOUT_WORKERS, LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.judge.evidence import SPOILT
from loadtune.judge.summary import NOT_WORTH
from loadtune.record.results import Probe, TrialResult
from loadtune.units import format_seconds

OUT_OF_MEMORY = ("host_oom", "shm_full", "device_oom")
"""Failures that say a configuration is too large, not that the data set is broken."""

_SAMPLE_RAISES = re.compile(
    r"sample \S+ (?:raised (?P<alone>.*)|raises (?P<error>.*), in a worker and alone in one process)", re.DOTALL
)
"""What is said of a sample that raised without workers, and of one that raised in a worker and then alone."""
MOST_WAYS = 3
"""In which configurations fail of one kind: more of them are not told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """What kept every configuration from being chosen."""

    cause: Literal["limits", "memory", "unknown", "failed", "time"]
    """Over a limit, failed for want of memory, of unmeasured memory under a limit, failed otherwise, out of time."""
    message: str
    """A clause that begins small and has no full stop."""
    reason: str | None = None
    """The first failure's own words, where failures are the cause; with several causes each with its count."""
    over: tuple[TrialResult, ...] = ()
    """The rows over a limit, where that is the cause."""

    @property
    def sentence(self) -> str:
        """The message with the reason behind it."""
        return f"{self.message}: {self.reason}" if self.reason else self.message


def lack(rows: Sequence[TrialResult], plan: SweepPlan, probe: Probe) -> Lack:
    """Return why none of ``rows`` was chosen; a baseline outside of the grid was not asked for and tells nothing."""
    asked = [row for row in rows if row.config != probe.baseline or _spans(plan.space, row.config)]
    over = tuple(row for row in asked if row.status == "ok" and row.within_limits is False)
    if over:
        return Lack(cause="limits", message="no configuration that was measured meets the limits", over=over)
    failed = [row for row in asked if row.status in SPOILT]
    starved = [row for row in failed if row.failure_kind in OUT_OF_MEMORY]
    late = [row for row in asked if row.status == "interrupted" and row.failure_reason != NOT_WORTH]
    budget = format_seconds(plan.time_budget_seconds)
    # One that ran out of memory among many that raised is not why nothing can be had.
    if starved and 2 * len(starved) >= len(failed):
        message = "no configuration asked for could be measured for want of memory"
        return Lack(cause="memory", message=message, reason=_reasons(failed, late, budget))
    if any(row.status == "ok" for row in asked):
        return Lack(cause="unknown", message="no configuration that was measured is known to meet the limits")
    if failed:
        message = "no configuration asked for could be measured"
        if any(row.samples_per_second is not None for row in failed):
            message = "every configuration that was tried failed in one of its trials or more"
        # What was refused was never tried: the time is what kept the others from a number.
        cause: Literal["time", "failed"] = "time" if late and not _tried(failed) else "failed"
        return Lack(cause=cause, message=message, reason=_reasons(failed, late, budget))
    what = "no configuration asked for" if any(row.status == "ok" for row in rows) else "nothing"
    return Lack(cause="time", message=f"{what} was measured in the time budget of {budget}")


def _tried(rows: Sequence[TrialResult]) -> bool:
    return any(row.status != "refused" for row in rows)


def by_cause(failed: Sequence[TrialResult]) -> list[list[TrialResult]]:
    """Return rows without a number by what kept them from it.

    That is their status and the kind of failure; and of what was tried the words of the reason, less its numbers, where
    these are few. A sample that raises is one cause, in a worker or without any.
    """
    causes = []
    for rows in _grouped(failed, lambda row: (row.status, _of_a_sample(row) or row.failure_kind)):
        ways = _grouped(rows, _way)
        causes += ways if rows[0].status != "refused" and len(ways) <= MOST_WAYS else [rows]
    return causes


def _grouped(rows: Sequence[TrialResult], key: Callable[[TrialResult], Hashable]) -> list[list[TrialResult]]:
    groups: dict[Hashable, list[TrialResult]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _way(row: TrialResult) -> str:
    """Return the first clause of the reason without its numbers, each part of it once.

    Which sample or worker it was is no other cause, nor how many workers ended so.
    """
    clause = _of_a_sample(row) or (row.failure_reason or "").partition("; ")[0]
    parts = re.sub(r"\d[\d,.]*(?: ?([KMGT]i?)?B\b)?", "#", clause.replace(", ", "\n")).split("\n")
    return ", ".join(dict.fromkeys(parts))


def _of_a_sample(row: TrialResult) -> str | None:
    """Return what a sample raises that raises alone too, in the same words wherever it was met; else None."""
    found = _SAMPLE_RAISES.fullmatch(row.failure_reason or "")
    return f"sample raises {found['alone'] or found['error']}" if found else None


def _reasons(failed: Sequence[TrialResult], late: Sequence[TrialResult], budget: str) -> str:
    """Return the one cause, or each with the number of configurations it kept from a number."""
    causes = by_cause(failed)
    if len(causes) == 1 and not late:
        return _first_reason(failed)
    clauses = [f"{len(late):,} not measured in the time budget of {budget}"] if late else []
    clauses += [f"{len(rows):,} {rows[0].status}: {_first_reason(rows)}" for rows in causes]
    return "; ".join(clauses)


def _first_reason(rows: Sequence[TrialResult]) -> str:
    return next((row.failure_reason for row in rows if row.failure_reason), "no trial gave a number")


def _spans(space: SearchSpace, config: LoaderConfig) -> bool:
    """Return whether the grid of ``space`` holds ``config``; an axis still to be decided holds anything."""
    for field in fields(space):
        axis, value = getattr(space, field.name), getattr(config, field.name)
        if axis == "auto" or (field.name == "batch_size" and value is None):
            continue
        if field.name in WITHOUT_WORKERS and not config.num_workers:
            continue
        if value not in axis:
            return False
    return True
