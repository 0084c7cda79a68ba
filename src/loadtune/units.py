"""The only place where numbers become text, and text numbers: sizes, times, shares, rates; and any text UTF-8."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Literal

from loadtune.errors import UsageError

BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

WIDE_INTERVAL = 1 / 3
"""From this share of the estimate on an interval is given by its ends."""

VAST_INTERVAL = 10.0
"""An interval whose upper end is more than this many times its lower one says nothing of the size."""
UNKNOWN = "(not known at this noise)"

_TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_NUMBER_AND_UNIT = re.compile(r"\s*((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z%]*)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """An amount of memory: a number of bytes, or a share of a limit that is known only on the machine."""

    bytes: int | None = None
    share: float | None = None

    def resolve(self, limit_bytes: int) -> int:
        """Return the amount in bytes, where a share is of ``limit_bytes``."""
        if self.bytes is not None:
            return self.bytes
        return int((self.share or 0.0) * limit_bytes)


def parse_size(text: str | int) -> Size:
    """Return the size that ``512MiB``, ``8GB``, ``50%`` or a plain number of bytes stands for.

    Raises:
        UsageError: Not a size, not above zero, or more than 100 %.
    """
    number, unit = _split(str(text), what="size", example="512MiB, 8GB or 50%")
    if unit == "%":
        if not 0 < number <= 100:  # noqa: PLR2004 - a percentage
            raise UsageError(f"size '{text}' is not a share of a limit: it must be above 0% and at most 100%")
        return Size(share=number / 100)
    factor = BYTES.get(unit.upper() or "B")
    if factor is None:
        raise UsageError(f"size '{text}' has an unknown unit '{unit}': use B, KiB, MiB, GiB, TiB, KB, MB, GB, TB or %")
    if number * factor < 1:
        raise UsageError(f"size '{text}' is not above zero")
    return Size(bytes=round(number * factor))


def parse_duration(text: str | float) -> float:
    """Return the seconds that ``20ms``, ``60s``, ``2m`` or a plain number of seconds stands for.

    Raises:
        UsageError: Not a time, or negative.
    """
    number, unit = _split(str(text), what="time", example="20ms, 60s or 2m")
    factor = SECONDS.get(unit.lower() or "s")
    if factor is None:
        raise UsageError(f"time '{text}' has an unknown unit '{unit}': use us, ms, s, m or h")
    return number * factor


def parse_step_time(text: str | float) -> float:
    """Return the seconds that a step of ``20ms`` takes, or a number of seconds.

    Raises:
        UsageError: Not a time, negative, or text without a unit, which might mean seconds or milliseconds.
    """
    seconds = parse_duration(text)
    if isinstance(text, str) and seconds > 0 and text.strip()[-1].isdigit():
        raise UsageError(f"'{text.strip()}' has no unit: write {text.strip()}ms or {text.strip()}s")
    return seconds


def parse_share(text: str | float) -> float:
    """Return the fraction that ``2%`` or ``0.02`` stands for.

    Raises:
        UsageError: Not a share, or not between 0 and 1.
    """
    number, unit = _split(str(text), what="share", example="2% or 0.02")
    if unit not in ("", "%"):
        raise UsageError(f"share '{text}' has an unknown unit '{unit}': write it like 2% or 0.02")
    share = number / 100 if unit == "%" else number
    if not 0 < share < 1:
        raise UsageError(f"share '{text}' must be above 0% and below 100%")
    return share


def parse_noise_scale(text: str | float) -> float | Literal["measure"]:
    """Return the gradient noise scale in samples that ``500`` stands for, or ``measure``.

    Raises:
        UsageError: Neither of both, or not above 0.
    """
    if text == "measure":
        return "measure"
    number, unit = _split(str(text), what="noise scale", example="500 (samples), or measure")
    if unit or number <= 0:
        raise UsageError(f"noise scale '{text}' must be a number of samples above 0, or measure")
    return number


def _split(text: str, *, what: str, example: str) -> tuple[float, str]:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or not math.isfinite(float(match[1])):
        raise UsageError(f"'{text}' is not a {what}: write it like {example}")
    return float(match[1]), match[2]


def format_bytes(count: float | None) -> str:
    """Return ``1.3 GiB``: three digits at most before the point, one after it above KiB."""
    if count is None:
        return "–"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1000:  # noqa: PLR2004 - no fourth digit
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 100 else f"{size:.1f} {unit}"  # noqa: PLR2004
        size /= 1024
    return f"{size:.1f} TiB"


def format_seconds(seconds: float | None, half_width: float = 0.0) -> str:
    """Return ``850 µs``, ``12.3 ms``, ``4.21 s``, ``3 min 12 s`` or ``5 h 02 min``.

    Beside the half-width of its interval in seconds a time has no more digits than that allows, ``4.2 s`` where it is
    1 s.
    """
    if seconds is None:
        return "–"
    place = _last_place(seconds, half_width)
    if place > 0:
        seconds = round(seconds / 10**place) * 10**place
    if seconds >= 7200:  # noqa: PLR2004
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes:02d} min"
    if seconds >= 120:  # noqa: PLR2004
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    for factor, unit in _TIME_UNITS:
        if seconds >= factor or unit == "µs":
            return f"{_three_digits(seconds / factor, half_width / factor)} {unit}"
    raise AssertionError


def format_seconds_estimate(estimate: float, low: float | None, high: float | None) -> str:
    """Return ``6.64 ± 0.12 ms``: a time with its interval, in the unit in which the estimate is short."""
    factor, unit = next(((size, name) for size, name in _TIME_UNITS if estimate >= size), _TIME_UNITS[-1])
    low, high = (None if end is None else end / factor for end in (low, high))
    return format_estimate(estimate / factor, low, high, unit=unit)


def format_rate(rate: float | None, half_width: float = 0.0) -> str:
    """Return ``3,032 samples/s``; three digits for rates below a hundred, and no more than a half-width allows."""
    return "–" if rate is None else f"{format_number(rate, half_width)} samples/s"


def format_number(value: float, half_width: float = 0.0) -> str:
    """Return ``3,032``, ``31.4`` or ``0.123``: thousands grouped, three digits where it is small.

    Beside the half-width of its interval a number has no more digits than that allows.
    """
    if abs(value) < 100:  # noqa: PLR2004
        return _three_digits(value, half_width)
    place = _last_place(value, half_width)
    return _rounded(value, place) if place > 0 else f"{value:,.0f}"


def format_count(count: int | None) -> str:
    """Return ``50,000``: a whole number with its thousands grouped."""
    return "–" if count is None else f"{count:,}"


def format_cpus(count: float) -> str:
    """Return ``2`` or ``0.5``: a quota may grant parts of a CPU."""
    return f"{count:,.2f}".rstrip("0").rstrip(".")


def format_decimal(value: float, digits: int = 1) -> str:
    """Return ``781.2``: thousands grouped, ``digits`` after the point however large the value."""
    return f"{value:,.{digits}f}"


def format_estimate(
    estimate: float, low: float | None, high: float | None, unit: str = "samples/s", *, digits: int = 2
) -> str:
    """Return ``3,032 ± 33 samples/s``, never with more digits than the interval allows.

    The half-width has ``digits`` significant digits at most and the estimate ends at the same place. An interval too
    wide for one half-width to tell both of its ends is given by them: ``2,900 (1,400 to 6,300) samples/s``. Where the
    ends are more than a factor of ``VAST_INTERVAL`` apart it is ``200 samples/s (not known at this noise)``.
    """
    suffix = f" {unit}" if unit else ""
    if low is None or high is None:
        return f"{format_number(estimate)}{suffix}"
    half_width = max(high - estimate, estimate - low, 0.0)
    if half_width == 0 or not math.isfinite(half_width):
        return f"{format_number(estimate)}{suffix}"
    place = math.floor(math.log10(half_width)) - digits + 1
    if half_width <= WIDE_INTERVAL * estimate:
        return f"{_rounded(estimate, place)} ± {_rounded(half_width, place)}{suffix}"
    if high > VAST_INTERVAL * low:
        return f"{_rounded(estimate, math.floor(math.log10(estimate)) - 1)}{suffix} {UNKNOWN}"
    if low > 0:
        place = min(place, math.floor(math.log10(low)))  # the lower end must not vanish in the rounding
    ends = f"({_rounded(low, place)} to {_rounded(high, place)})"
    return f"{_rounded(estimate, place)} × {ends}" if unit == "×" else f"{_rounded(estimate, place)} {ends}{suffix}"


def format_half_width(share: float) -> str:
    """Return ``±2.1 %`` for the half-width of an interval, as a share; above 100 % the factor it may be off by."""
    if share > 1:
        return f"not known to better than a factor of {format_number(1 + share)}"
    return f"±{format_share(share)}"


def format_ratio(ratio: float | None) -> str:
    """Return ``2.1 ×``, with two digits after the point below 2 so that small gains stay visible."""
    if ratio is None:
        return "–"
    return f"{ratio:.2f} ×" if ratio < 2 else f"{ratio:.1f} ×"  # noqa: PLR2004


def format_share(share: float | None, digits: int = 1) -> str:
    """Return ``2.1 %``."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def as_utf8(text: str) -> str:
    """Return text that can be written: where a file's name has bytes that are no UTF-8, Python keeps what is no text.

    Each such byte is a question mark then.
    """
    return text.encode("utf-8", "replace").decode()


def words_of(error: BaseException, most: int = 4000) -> str:
    """Return what an exception says, cut, as text that can be written; also where it cannot say it."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - the user's own __str__ may raise anything
        text = f"(its message cannot be read: {type(fault).__name__})"
    return as_utf8(text[:most])


def brief(value: object, most: int = 80) -> str:
    """Return a value as text that can be written, cut to a line; also where it cannot say what it is."""
    try:
        text = str(value)
    except Exception as fault:  # noqa: BLE001 - the user's own __str__ may raise anything
        text = f"(a {type(value).__name__} that cannot be shown: {type(fault).__name__})"
    return as_utf8(text[:most])


def _rounded(value: float, place: int) -> str:
    """Return ``value`` to the digit at ``10**place``."""
    return f"{round(value / 10**place) * 10**place:,}" if place >= 0 else f"{value:,.{-place}f}"


def _three_digits(value: float, half_width: float = 0.0) -> str:
    if value == 0:
        return "0"
    place = min(0, math.floor(math.log10(abs(value))) - 2)
    return f"{value:.{-min(0, max(place, _last_place(value, half_width)))}f}"


def _last_place(value: float, half_width: float) -> int:
    """Return the power of ten at which ``value`` ends beside a half-width of two digits; one digit of it is kept."""
    allowed = min(half_width / 10, abs(value)) if half_width > 0 else 0.0
    return math.floor(math.log10(max(allowed, sys.float_info.min)))
