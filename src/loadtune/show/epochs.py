"""An epoch in words: its time and its rate with the digits that the noise leaves, and whether it was run whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtune.judge.verify import half_width_share
from loadtune.record.results import TrialResult
from loadtune.units import format_count, format_rate, format_seconds

RUN, PUT_TOGETHER = "run whole", "put together"
"""Where the time of an epoch is from: a run from its first batch to its last, or start-up and the steady rate."""


def epoch_time(row: TrialResult) -> str:
    """Return ``6.4 s``, with no more digits than the interval of the steady rate allows; a dash where it is unknown."""
    return format_seconds(row.epoch_seconds, _half_width(row, row.epoch_seconds))


def epoch_rate(row: TrialResult) -> str:
    """Return ``3,400 samples/s``: the rate over an epoch, with no more digits than that interval allows."""
    return format_rate(row.epoch_samples_per_second, _half_width(row, row.epoch_samples_per_second))


def epoch_from(row: TrialResult) -> str:
    """Return where the time of an epoch of this row is from."""
    return RUN if row.epoch_was_run else PUT_TOGETHER


def epoch_words(row: TrialResult) -> str:
    """Return ``6.4 s (put together)`` or ``850 ms (run whole)``."""
    return f"{epoch_time(row)} ({epoch_from(row)})"


def run_sentence(were_run: Sequence[bool]) -> str:
    """Return how many of these epochs were run whole, and where the rest is from."""
    run, parts = sum(were_run), f"is {PUT_TOGETHER} from start-up and steady rate"
    if run == len(were_run):
        return f"Each epoch was {RUN}."
    if not run:
        return f"No epoch was {RUN}: each {parts}."
    verb = "was" if run == 1 else "were"
    return f"{format_count(run)} of {format_count(len(were_run))} epochs {verb} {RUN}; the rest {parts}."


def _half_width(row: TrialResult, value: float | None) -> float:
    """Return what the relative interval of the steady rate makes of ``value``; 0 where there is none."""
    share = half_width_share(row)
    return share * value if share and value and math.isfinite(share) else 0.0
