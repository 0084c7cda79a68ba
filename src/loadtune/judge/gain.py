"""What a gain says: how much faster, at least how much, no change that can be told, or nothing at all."""

from __future__ import annotations

from loadtune.record.results import Interval
from loadtune.units import format_estimate, format_ratio

MOST_SPAN = 2.0
"""An interval that reaches further than this factor from its estimate says nothing of the size of a gain."""
EXACT = 1e-6
"""An interval narrower than this share is no interval: nothing varied."""
WIDE_GAIN = 0.1
"""A half-width above this share of a gain is given by its ends: what decides is how far they are from 1."""
_MOST_DIGITS = 5


def is_known(gain: Interval) -> bool:
    """Return whether a gain has a size: its interval ends within a factor of two of the estimate."""
    return gain.low > 0 and gain.high <= MOST_SPAN * gain.estimate and gain.estimate <= MOST_SPAN * gain.low


def is_told(gain: Interval) -> bool:
    """Return whether there is a change: the interval does not hold 1."""
    return not gain.low <= 1 <= gain.high


def gain_words(gain: Interval) -> str:
    """Return ``2.1 ± 0.1 ×``, or with an interval that is too wide for that by its ends, ``2.1 × (1.04 to 3.3)``.

    Of a gain that has no size: ``at least 7.9 ×`` where its lower end is above 1, else ``not known``.
    """
    if not is_known(gain):
        return f"at least {_end_words(gain.low)} ×" if gain.low > 1 else "not known"
    if gain.high - gain.low < EXACT * gain.estimate:
        return format_ratio(gain.estimate)
    if max(gain.high - gain.estimate, gain.estimate - gain.low) > WIDE_GAIN * gain.estimate:
        return f"{_end_words(gain.estimate)} × ({range_words(gain)})"
    return format_estimate(gain.estimate, gain.low, gain.high, unit="×", digits=1)


def unknown_words(gain: Interval) -> str:
    """Return what is known of a gain that has no size, for behind "the gain is"."""
    if gain.low > 1:
        return f"{gain_words(gain)}, how much is not known at this noise"
    return f"not known at this noise: {range_words(gain)} ×"


def range_words(gain: Interval) -> str:
    """Return ``0.03 to 320``: the ends, with two digits each, or so many that one near 1 shows on which side it is."""
    return f"{_end_words(gain.low)} to {_end_words(gain.high)}"


def _end_words(value: float) -> str:
    shown = (float(f"{value:.{digits}g}") for digits in range(2, _MOST_DIGITS + 1))
    return f"{next((one for one in shown if one != 1), 1.0):,g}"
