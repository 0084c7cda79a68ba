"""Numbers and text: sizes, times, shares, estimates."""

from __future__ import annotations

import math

import pytest

from loadtune.errors import UsageError
from loadtune.units import (
    Size,
    as_utf8,
    format_bytes,
    format_count,
    format_decimal,
    format_estimate,
    format_half_width,
    format_number,
    format_rate,
    format_ratio,
    format_seconds,
    format_seconds_estimate,
    format_share,
    parse_duration,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", Size(bytes=512 * 2**20)),
        ("8GB", Size(bytes=8 * 10**9)),
        ("8gib", Size(bytes=8 * 2**30)),
        ("1.5 KiB", Size(bytes=1536)),
        ("4096", Size(bytes=4096)),
        (4096, Size(bytes=4096)),
        ("50%", Size(share=0.5)),
        ("100%", Size(share=1.0)),
    ],
)
def test_sizes_are_read(text: str | int, size: Size) -> None:
    """Binary and decimal units, plain bytes and shares are all understood, in either case."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["12XB", "150%", "0%", "0", "-1GiB", "", "GiB", "1e999MB", "8 GiB 2", "0.1B", "nan", "1,5GB"]
)
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    """A size that cannot be meant is refused with its own text in the sentence."""
    with pytest.raises(UsageError, match="size") as refused:
        parse_size(text)
    assert f"'{text}'" in str(refused.value)


def test_a_share_is_of_the_limit_in_force() -> None:
    """50 % of 8 GiB is 4 GiB, and a number of bytes stays what it is."""
    assert parse_size("50%").resolve(8 * 2**30) == 4 * 2**30
    assert parse_size("1GiB").resolve(8 * 2**30) == 2**30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("60s", 60.0),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("3", 3.0),
        ("5us", 5e-6),
        (0.5, 0.5),
        ("0", 0.0),
    ],
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    """Every unit of time is understood; a plain number is seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["-1s", "soon", "3 days", "", "1:30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Negative times and foreign spellings are refused."""
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), ("0.02", 0.02), (0.5, 0.5), ("99.5%", 0.995)])
def test_shares_are_read(text: str | float, share: float) -> None:
    """A percentage and a fraction are the same thing."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0%", "100%", "2", "-1%", "2GiB", "many"])
def test_what_is_no_share_is_refused(text: str) -> None:
    """A share lies between 0 and 1, both excluded."""
    with pytest.raises(UsageError, match="share"):
        parse_share(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.0 KiB"),
        (196_608, "192 KiB"),
        (98_304_000, "93.8 MiB"),
        (8 * 2**30, "8.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
    ],
)
def test_bytes_have_three_digits_at_most(count: int | None, text: str) -> None:
    """Sizes are shown in the unit that gives one to three digits; absent is a dash."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0, "0 µs"),
        (8.5e-4, "850 µs"),
        (0.0123, "12.3 ms"),
        (4.21, "4.21 s"),
        (60.0, "60.0 s"),
        (119.97, "120 s"),
        (192.0, "3 min 12 s"),
        (3600.0, "60 min 00 s"),
    ],
)
def test_times_have_three_digits(seconds: float | None, text: str) -> None:
    """Times are shown in the unit that gives three digits, minutes from two of them on."""
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "half_width", "text"),
    [
        (6.39, 0.0, "6.39 s"),
        (6.39, 0.05, "6.39 s"),
        (6.39, 1.53, "6.4 s"),
        (6.39, 64.0, "6 s"),
        (6.39, math.inf, "6 s"),
        (0.0123, 0.003, "12.3 ms"),
        (0.0123, 0.012, "12 ms"),
        (206.0, 39.0, "3 min 26 s"),
        (206.0, 150.0, "3 min 30 s"),
        (18_123.0, 4400.0, "5 h 02 min"),
        (0.0, 1.0, "0 µs"),
    ],
)
def test_a_time_has_the_digits_its_interval_allows(seconds: float, half_width: float, text: str) -> None:
    """A time ends where the second digit of its half-width stands, keeps one digit, and never has more than three."""
    assert format_seconds(seconds, half_width) == text


@pytest.mark.parametrize(
    ("rate", "half_width", "text"),
    [
        (3478.0, 0.0, "3,478 samples/s"),
        (3478.0, 8.0, "3,478 samples/s"),
        (3478.0, 660.0, "3,480 samples/s"),
        (3478.0, 2600.0, "3,500 samples/s"),
        (3478.0, 1e9, "3,000 samples/s"),
        (97.12, 18.4, "97 samples/s"),
    ],
)
def test_a_rate_has_the_digits_its_interval_allows(rate: float, half_width: float, text: str) -> None:
    """A rate ends where the second digit of its half-width stands, and keeps one digit."""
    assert format_rate(rate, half_width) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.00652, 0.00676, "6.64 ± 0.12 ms"),
        (0.0050, 0.0085, "6.6 ± 1.9 ms"),
        (0.0041, 0.0126, "6.6 (4.1 to 12.6) ms"),
        (None, None, "6.64 ms"),
        (0.001, math.inf, "6.64 ms"),
    ],
)
def test_a_time_with_its_interval(low: float | None, high: float | None, text: str) -> None:
    """A time and its interval stand in the unit of the time, with the digits of any estimate."""
    assert format_seconds_estimate(0.00664, low, high) == text


@pytest.mark.parametrize(
    ("estimate", "low", "high", "text"),
    [
        (3032.4, 2999.0, 3065.0, "3,032 ± 33 samples/s"),
        (3032.4, None, None, "3,032 samples/s"),
        (31.4159, 30.0, 33.0, "31.4 ± 1.6 samples/s"),
        (123_456.0, 120_000.0, 127_000.0, "123,500 ± 3,500 samples/s"),
        (10.0, 10.0, 10.0, "10.0 samples/s"),
        (10.0, 0.0, float("inf"), "10.0 samples/s"),
        (2938.0, 1361.0, 6341.0, "2,900 (1,400 to 6,300) samples/s"),
        (400.0, 130.0, 1294.0, "400 (130 to 1,290) samples/s"),
        (4291.0, 10.0, 1_806_290.0, "4,300 samples/s (not known at this noise)"),
        (0.214, -0.5, 3.0, "0.21 samples/s (not known at this noise)"),
    ],
)
def test_an_estimate_has_no_more_digits_than_its_interval_allows(
    estimate: float, low: float | None, high: float | None, text: str
) -> None:
    """The half-width has two digits and the estimate ends where it ends."""
    assert format_estimate(estimate, low, high) == text


def test_small_formats() -> None:
    """Rates, ratios, shares and counts are worded in one place, each with its dash for absent."""
    assert format_rate(3032.2) == "3,032 samples/s"
    assert format_rate(None) == format_ratio(None) == format_share(None) == format_count(None) == "–"
    assert format_ratio(1.957) == "1.96 ×"
    assert format_ratio(2.1234) == "2.1 ×"
    assert format_share(0.0213) == "2.1 %"
    assert format_count(50_000) == "50,000"
    assert format_decimal(1781.25) == "1,781.2"
    assert format_number(0.1234) == "0.123"
    assert format_number(0) == "0"


def test_what_is_no_text_becomes_some_that_can_be_written() -> None:
    """A byte of a file's name that is no UTF-8 is a question mark; everything else stays."""
    assert as_utf8("naïve \udce9 日本") == "naïve ? 日本"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.021, "±2.1 %"), (1.0, "±100.0 %"), (7.139, "not known to better than a factor of 8.14")],
)
def test_a_half_width_above_the_estimate_is_a_factor(share: float, text: str) -> None:
    """No rate is known to ±713.9 %: the factor that it may be off by is named."""
    assert format_half_width(share) == text
