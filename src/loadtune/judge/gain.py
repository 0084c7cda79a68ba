"""What a gain says: how much faster, no change that can be told, or nothing at all."""

from __future__ import annotations

from loadtune.record.results import Interval

MOST_SPAN = 2.0
"""An interval that reaches further than this factor from its estimate says nothing of the size of a gain."""


def is_known(gain: Interval) -> bool:
    """Return whether a gain has a size: its interval ends within a factor of two of the estimate."""
    return gain.low > 0 and gain.high <= MOST_SPAN * gain.estimate and gain.estimate <= MOST_SPAN * gain.low


def is_told(gain: Interval) -> bool:
    """Return whether there is a change: the interval does not hold 1."""
    return not gain.low <= 1 <= gain.high


def range_words(gain: Interval) -> str:
    """Return ``0.03 to 320``: the ends, with two digits each."""
    return f"{_two_digits(gain.low)} to {_two_digits(gain.high)}"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,g}"
