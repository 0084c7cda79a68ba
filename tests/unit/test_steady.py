"""The lag-mW estimator against streams whose rate is known exactly."""

from __future__ import annotations

import random

import pytest

from loadtune.measure.steady import Round, as_made, half_width_share, is_steady, truncation, windows
from loadtune.measure.steady import windows as steady_windows


def rounds_of(seconds: list[float], batches: int = 4, samples: int = 64) -> list[Round]:
    return [Round(seconds=one, samples=samples, batches=batches) for one in seconds]


def test_windows_of_whole_rounds_give_the_exact_rate_of_a_bursty_stream() -> None:
    """Four workers that each need 0.4 s a batch hand out bursts of four: every window says 160 samples/s exactly."""
    rates = [window.samples_per_second for window in windows(rounds_of([0.4] * 10), 0.5)]
    assert rates == [pytest.approx(160.0)] * 5


def test_a_rest_shorter_than_a_window_is_left_out() -> None:
    """Five rounds of 0.2 s hold one window of 0.5 s or more, and a rest of 0.4 s that is none."""
    found = windows(rounds_of([0.2] * 5), 0.5)
    assert [(window.batches, window.samples) for window in found] == [(12, 192)]


def in_windows(*windows: tuple[float, int | None], workers: int = 16) -> list[float]:
    """Rates of windows of four rounds of 16 samples a batch, by their seconds and by what the backlog lost."""
    rounds = [
        Round(seconds=seconds / 4, samples=16 * workers, batches=workers, fall=fall if place == 3 else None)
        for seconds, fall in windows
        for place in range(4)
    ]
    return [one.samples_per_second for one in steady_windows(as_made(rounds), 0.0)[3::4]]


@pytest.mark.parametrize(
    ("windows", "rates"),
    [
        # a backlog that is taken all the time, and one that is used up in the first window
        (((1.6, 12), (1.6, 12)), [520.0, 520.0]),
        (((1.0, 20), (2.0, 0)), [704.0, 512.0]),
        # no more than a round, as by chance; held up, and caught up with
        (((1.6, 8), (1.6, 8)), [640.0, 640.0]),
        (((4.0, -20), (1.0, 20)), [256.0, 1024.0]),
        # fewer than four rounds were made
        (((1.0, 20),), [1024.0]),
        # the consumer is the limit: its queue fills
        (((2.0, -12), (2.0, -8)), [512.0, 512.0]),
        # nobody can tell
        (((2.0, None), (1.0, None)), [512.0, 1024.0]),
    ],
)
def test_a_window_counts_what_was_made_in_it(windows: tuple[tuple[float, int | None], ...], rates: list[float]) -> None:
    """What a backlog loses was made before, and does not count where it is more than a round of 16 batches in all."""
    assert in_windows(*windows) == pytest.approx(rates)


def test_the_backlog_of_few_workers_is_left_in() -> None:
    """With two workers four batches are more than a round, and too few to be told from chance."""
    assert in_windows((1.6, 4), (1.6, 0), workers=2) == pytest.approx([80.0, 80.0])


def test_a_slow_start_is_cut_off() -> None:
    """Ten rounds at a third of the pace before forty at full pace are found to be the transient."""
    assert 8 <= truncation(rounds_of([0.3] * 10 + [0.1] * 40)) <= 12


def test_a_few_rounds_are_never_cut() -> None:
    """With fewer than ten blocks a transient cannot be told from noise, so nothing is left out."""
    assert truncation(rounds_of([0.9, 0.1, 0.1, 0.1])) == 0


def test_noise_is_not_taken_for_a_transient() -> None:
    """Of 300 streams of pure noise (sd 10 %) at most 5 % lose anything at the start."""
    dice = random.Random(0)  # noqa: S311 - not for secrets
    cut = sum(truncation(rounds_of([dice.gauss(0.1, 0.01) for _ in range(40)])) > 0 for _ in range(300))
    assert cut <= 15


def test_halves_that_differ_by_more_than_five_percent_are_not_steady() -> None:
    """A rate that falls from 100 to 90 between the halves is no steady state; one from 100 to 97 is."""
    assert not is_steady([100, 100, 90, 90])
    assert is_steady([100, 100, 97, 97])


@pytest.mark.parametrize(
    ("rates", "steady"),
    [
        ([366, 185, 224, 131], True),
        ([265, 299, 224, 214, 208, 416], True),
        ([500, 500, 250, 250], False),
        ([600, 550, 500, 450, 400], False),
        ([1000, 990, 905, 895], False),
        ([366, 185], False),
    ],
)
def test_what_the_spread_of_windows_explains_is_no_change(rates: list[float], steady: bool) -> None:  # noqa: FBT001
    """Slow samples that fall into one half or the other are noise; a step, a ramp, and two windows alone are not."""
    assert is_steady(rates) is steady


def test_stragglers_at_random_are_not_cut_off_as_a_transient() -> None:
    """Of 300 streams in which 1 round of 10 takes 40 times as long, the mean pace that is kept is within 3 % of true.

    The rounds that look quiet are no regime of their own: cutting to them would flatter the rate.
    """
    dice = random.Random(1)  # noqa: S311 - not for secrets
    kept, cut = [], 0
    for _ in range(300):
        stream = [0.4 if dice.random() < 0.1 else 0.01 for _ in range(200)]
        start = truncation(rounds_of(stream))
        cut += start > 0
        kept.append(sum(stream[start:]) / (200 - start))
    assert sum(kept) / 300 == pytest.approx(0.1 * 0.4 + 0.9 * 0.01, rel=0.03)
    assert cut <= 15


def test_one_window_is_no_evidence_of_a_steady_state() -> None:
    """A single window has no second half to agree with."""
    assert not is_steady([100.0])


def test_half_width_is_students_t_over_the_root_of_n() -> None:
    """Windows 98, 100, 102 have sd 2, so the half-width is 4.30·2/√3 = 4.97, or 4.97 % of 100."""
    assert half_width_share([98.0, 100.0, 102.0]) == pytest.approx(0.0497, abs=2e-4)
    assert half_width_share([100.0]) == float("inf")
