"""A run that was given more time: what was decided for want of time is open again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from loadtune.record.results import Resume, TrialRecord


def as_compared(records: Iterable[TrialRecord], resumes: Sequence[Resume]) -> tuple[TrialRecord, ...]:
    """Return the records as they count after the last time that the run was given a longer time budget.

    A trial verifies a pick that was made before it. With more time configurations are tried that had no turn, and
    another may be picked; the trials that compared and verified the first pick are then among those that the second is
    picked from, and no part of its race: they count as first looks. A trial that the end of the time cut off counts as
    none: it gets its turn again.
    """
    reopened_at = max((resume.order for resume in resumes if resume.more_time), default=0)
    return tuple(
        _reopened(record) if record.order < reopened_at else record
        for record in records
        if record.order >= reopened_at or record.status != "interrupted"
    )


def _reopened(record: TrialRecord) -> TrialRecord:
    return replace(record, phase="screen") if record.phase in ("race", "verify") else record
