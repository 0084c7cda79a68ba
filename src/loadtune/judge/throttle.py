"""Trials that a CPU quota held back: their rates are those of the quota."""

from __future__ import annotations

from collections.abc import Iterable

from loadtune.record.results import TrialRecord

TELLING_THROTTLING = 0.01
"""Seconds held back by second of trial below which it is not worth a word: a period cut short now and then."""


def throttled_share(record: TrialRecord) -> float | None:
    """Return the seconds that threads were held back by second of the trial; None where nothing tells.

    Above 1 where threads on several CPUs waited at once.
    """
    if record.throttled_seconds is None or record.seconds <= 0:
        return None
    return record.throttled_seconds / record.seconds


def worst_share(records: Iterable[TrialRecord]) -> float | None:
    """Return the largest share of these trials; None where nothing tells of any."""
    return max((share for record in records if (share := throttled_share(record)) is not None), default=None)


def is_telling(share: float | None) -> bool:
    """Return whether so much throttling is worth a word."""
    return share is not None and share >= TELLING_THROTTLING
