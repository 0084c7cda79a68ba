"""The gradient noise scale and the goodput by arithmetic: gradients of known |G|² and S, rates of known worth."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from loadtune.describe.plan import Consumer
from loadtune.errors import UsageError
from loadtune.judge import noise_scale as judged
from loadtune.judge.batch_notes import Accumulation, notes
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, StepMeasurement, StepProbe
from loadtune.record.noise_scale import Gradients, NoiseScale
from loadtune.show.batch_size import summary
from loadtune.units import parse_noise_scale

SMALL, LARGE = 8, 64
SQUARE, TRACE, DIMENSIONS = 0.5, 40.0, 50
"""Of the true gradient, and of the noise of one sample's: the noise scale is 80."""


def expected(of_square: float, of_trace: float, pairs: int) -> Gradients:
    """Return pairs in which each batch has just the square that is expected of it, a little more or less in each."""
    signs = [1 + (pair - (pairs - 1) / 2) / 400 for pair in range(pairs)]
    return Gradients(
        small_batch_size=SMALL,
        large_batch_size=LARGE,
        small_squares=tuple(sign * (of_square + of_trace / SMALL) for sign in signs),
        large_squares=tuple(sign * (of_square + of_trace / LARGE) for sign in signs),
    )


def drawn(random: np.random.Generator, pairs: int, square: float = SQUARE) -> Gradients:
    """Return pairs of batches whose mean gradients are drawn from a normal distribution, all directions equal."""
    gradient = np.full(DIMENSIONS, math.sqrt(square / DIMENSIONS))

    def squares(batch_size: int) -> tuple[float, ...]:
        deviation = math.sqrt(TRACE / DIMENSIONS / batch_size)
        means = gradient + deviation * random.standard_normal((pairs, DIMENSIONS))
        return tuple(float(one) for one in (means**2).sum(axis=1))

    return Gradients(
        small_batch_size=SMALL, large_batch_size=LARGE, small_squares=squares(SMALL), large_squares=squares(LARGE)
    )


def test_expected_squares_give_the_scale_exactly() -> None:
    """Where each batch has its expected square |G|² + S/B, |G|², S and their ratio come back to the last digits."""
    found = judged.noise_scale(expected(SQUARE, TRACE, 8))
    assert found.gradient_square == pytest.approx(SQUARE, rel=1e-12)
    assert found.covariance_trace == pytest.approx(TRACE, rel=1e-12)
    assert found.samples == pytest.approx(80.0, rel=1e-12)
    assert (found.pairs, found.small_batch_size, found.large_batch_size) == (8, SMALL, LARGE)


def test_both_estimates_are_unbiased() -> None:
    """Over 40,000 drawn pairs the averages of |G|² and of S are the true ones, within four standard errors."""
    seen = drawn(np.random.default_rng(1), 40_000)
    for each, true in ((judged._gradient_squares(seen), SQUARE), (judged._traces(seen), TRACE)):
        error = float(np.std(each)) / math.sqrt(len(each))
        assert abs(float(np.mean(each)) - true) < 4 * error
        assert error < 0.02 * true


def test_the_average_of_ratios_would_be_biased() -> None:
    """Ratios of single pairs average to something else than 80, which is why averages are divided."""
    seen = drawn(np.random.default_rng(1), 40_000)
    ratios = np.array(judged._traces(seen)) / np.array(judged._gradient_squares(seen))
    assert abs(float(np.mean(ratios)) - 80) > 8
    found = judged.noise_scale(seen)
    assert found.samples == pytest.approx(80, rel=0.03)


def test_the_interval_covers_the_truth() -> None:
    """Of 2,000 intervals of 95 % by 24 pairs each, 93 in 100 or more hold 80, and few are so wide that all do."""
    random = np.random.default_rng(2)
    found = [judged.noise_scale(drawn(random, 24)) for _ in range(2_000)]
    known = [one for one in found if one.samples is not None]
    assert len(known) > 1_800
    held = sum((one.low_samples or 0) <= 80 <= (one.high_samples or 0) for one in known)
    assert 0.93 <= held / len(known) < 0.98
    assert float(np.median([(one.high_samples or 0) / (one.low_samples or 1) for one in known])) < 4


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (expected(-0.1, TRACE, 8), "the gradient does not stand out of its noise by 8 pairs of batches of 8 and 64"),
        (expected(SQUARE, -1.0, 8), "no noise stands out by 8 pairs"),
        (expected(SQUARE, TRACE, 3), "there were time and samples for 3 pairs of batches of 8 and 64, and it takes 4"),
        (expected(SQUARE, TRACE, 0), "there were time and samples for 0 pairs"),
        (expected(math.nan, TRACE, 8), "a gradient was not finite"),
        (expected(0.0, 0.0, 8), "no gradient reached the parameters: each was 0"),
        (
            replace(
                expected(SQUARE, TRACE, 4), small_squares=(2.25,) * 3 + (2.0,), large_squares=(1.0, 1.5, 1.25, 1.75)
            ),
            "3 of 8 gradients have the same length, 1.50: the step clips them; measure a step that does not",
        ),
        (
            replace(expected(SQUARE, TRACE, 4), small_squares=(1 - 9e-5, 1.0, 0.9, 1 - 2e-5), large_squares=(0.5,) * 4),
            "3 of 8 gradients have the same length, 1.0",
        ),
        (
            replace(expected(SQUARE, TRACE, 4), small_squares=(5.0, 6.0, 5.0, 6.0), large_squares=(0.7, 0.8, 0.7, 2.6)),
            "leave it open by more than a factor of 10",
        ),
    ],
)
def test_what_is_not_known_is_no_number(seen: Gradients, words: str) -> None:
    """No gradient, no noise, few pairs, clipping, a vast interval: a sentence, and neither scale nor upper end."""
    found = judged.noise_scale(seen)
    assert words in found.because
    assert (found.samples, found.high_samples) == (None, None)
    assert (found.low_samples is not None) is ("it is above about" in found.because)


@pytest.mark.parametrize(("scale", "pairs"), [(20, 8), (80, 24), (1_000, 24), (4_000, 8)])
def test_the_interval_holds_the_truth_however_vast(scale: float, pairs: int) -> None:
    """Of 2,000 intervals, some without an upper end, 94 to 96.5 in 100 hold the truth."""
    random = np.random.default_rng(4)
    ends = []
    for _ in range(2_000):
        seen = drawn(random, pairs, square=TRACE / scale)
        ends.append(judged._interval(judged._gradient_squares(seen), judged._traces(seen)))
    held = [low is not None and low <= scale and (high is None or scale <= high) for low, high in ends]
    assert 0.94 <= np.mean(held) <= 0.965


def test_what_a_vast_scale_is_at_least_holds() -> None:
    """With B_n = 4,000 by batches of 64 it is seldom known; what it is said to be above is below 4,000 in 95 of 100."""
    random = np.random.default_rng(3)
    found = [judged.noise_scale(drawn(random, 24, square=TRACE / 4_000)) for _ in range(1_000)]
    least = [one.low_samples for one in found if one.samples is None and one.low_samples is not None]
    assert len(least) > 700
    assert np.mean(np.array(least) < 4_000) > 0.95
    assert float(np.median(least)) > 200
    bounded = next(one for one in found if one.samples is None and one.low_samples is not None)
    assert re.search(r"24 pairs .*; it is above about [0-9,]+ samples$", bounded.because)


SIZES: list[tuple[int, int, int | None, float | None, tuple[int, int] | None]] = [
    (2_000, 1, None, None, (125, 1_000)),  # half of the largest
    (2_000, 1, 900, None, (12, 100)),  # eight pairs out of 900 samples
    (2_000, 1, None, 45.0, (12, 100)),  # eight pairs in 20 s
    (2_000, 32, None, 45.0, (32, 96)),
    (16, 1, None, None, (2, 8)),  # BatchNorm raises for 1
    (2, 1, None, None, (1, 2)),
    (1, 1, None, None, None),
    (40, 32, None, None, None),
]


@pytest.mark.parametrize(("largest", "multiple_of", "samples", "rate", "sizes"), SIZES)
def test_both_batch_sizes_are_known_to_fit(
    largest: int, multiple_of: int, samples: int | None, rate: float | None, sizes: tuple[int, int] | None
) -> None:
    """Half of the largest and an eighth of that, as far as samples, time and multiples allow; else none."""
    found = judged.batch_sizes(largest, multiple_of=multiple_of, samples=samples, samples_per_second=rate, seconds=20.0)
    assert found == sizes


def probe(batch_size: int, rate: float, fit: str = "fits") -> StepProbe:
    measured = StepMeasurement(
        steps=3,
        step_seconds=batch_size / rate,
        evaluated=True,
        batch_bytes=1,
        resident_peak_bytes=1,
        address_peak_bytes=None,
    )
    return StepProbe(order=0, batch_size=batch_size, purpose="start", why="", fit=fit, measured=measured)  # type: ignore[arg-type]


def given(samples: float) -> NoiseScale:
    return NoiseScale(source="given", samples=samples)


PROBES = (probe(512, 1_600), probe(64, 1_000), probe(128, 1_500), probe(1_024, 9_000, "over"))


def test_goodput_is_the_rate_by_what_a_sample_is_worth() -> None:
    """With B_n = 192 and B_0 = 64 a sample is worth 1, 0.8 and 4/11: 128 is the best, and what is over is left out."""
    found = judged.goodputs(PROBES, scale=given(192), baseline=64)
    assert [one.batch_size for one in found] == [64, 128, 512]
    assert [one.efficiency for one in found] == pytest.approx([1, 0.8, 4 / 11])
    assert [one.goodput_samples_per_second for one in found] == pytest.approx([1_000, 1_200, 1_600 * 4 / 11])
    assert [one.at_low_samples_per_second for one in found] == [None] * 3
    assert judged.best(found, tie=0.0) == (128, None)
    assert judged.best(judged.goodputs(PROBES, scale=given(1e9), baseline=64), tie=0.0) == (512, None)
    assert judged.best(judged.goodputs(PROBES, scale=given(1), baseline=64), tie=0.0) == (64, None)
    assert judged.best([], tie=0.0) == (None, None)


def test_goodputs_within_the_tie_are_equal() -> None:
    """With B_n = 192 the goodputs are 1,000, 1,200 and 582: a tie of 20 % makes 64 as good as 128, one of 16 % not."""
    found = judged.goodputs(PROBES, scale=given(192), baseline=64)
    assert [judged.best(found, tie=tie)[0] for tie in (0.2, 0.16)] == [64, 128]


def test_the_best_goodput_is_open_where_the_ends_of_the_scale_disagree() -> None:
    """By 192 in the interval from 10 to a million, 128 is the best, and it may be any of 64 to 512."""
    wide = NoiseScale(source="measured", samples=192, low_samples=10, high_samples=1e6)
    found = judged.goodputs(PROBES, scale=wide, baseline=64)
    assert [one.at_low_samples_per_second for one in found] == pytest.approx(
        [1_000, 1_500 * 74 / 138, 1_600 * 74 / 522]
    )
    assert [one.at_high_samples_per_second for one in found] == pytest.approx([1_000, 1_500, 1_600], rel=1e-3)
    assert judged.best(found, tie=0.02) == (128, (64, 512))
    sure = replace(wide, low_samples=150, high_samples=250)
    assert judged.best(judged.goodputs(PROBES, scale=sure, baseline=64), tie=0.02) == (128, None)


def result(found: NoiseScale | None) -> BatchSizeResult:
    base = BatchSizeResult(
        plan=BatchSizePlan(target="t", consumer=Consumer()),
        bounds=(),
        samples=None,
        largest=512,
        exact=True,
        because="so",
        best=512,
        fastest=512,
        probes=PROBES,
        noise_scale=found,
    )
    if found is None or found.samples is None:
        return base
    goodputs = judged.goodputs(PROBES, scale=found, baseline=64)
    best, ends = judged.best(goodputs, tie=0.02)
    return replace(base, goodputs=goodputs, best_goodput=best, best_goodput_range=ends, baseline_batch_size=64)


def test_the_goodput_is_shown_beside_what_was_found() -> None:
    """A scale as given, the best goodput with what a sample is worth, and every size; largest and best are the same."""
    lines = list(summary(result(NoiseScale(source="given", samples=192.0))))
    assert lines[:2] == list(summary(result(None)))
    assert lines[2:] == [
        "Noise scale: 192 samples, as given.",
        (
            "Best goodput: batch 128: 1,500 samples/s, each worth 80 % of one in a batch of 64: as good as 1,200"
            " samples/s there."
        ),
        "Goodput in samples/s, by the batch of an optimiser step: 64: 1,000, 128: 1,200, 512: 582.",
    ]


def test_a_measured_scale_is_shown_with_its_interval_and_its_time() -> None:
    """The interval, the batches, and that it is that of the model as it is now; where it is not known, why."""
    found = NoiseScale(
        source="measured",
        samples=200.0,
        low_samples=100.0,
        high_samples=400.0,
        pairs=12,
        small_batch_size=8,
        large_batch_size=64,
    )
    assert list(summary(result(found)))[2] == (
        "Noise scale: 200 (100 to 400) samples, by 12 pairs of batches of 8 and 64, for the model as it is now: it"
        " grows during training."
    )
    assert list(summary(result(replace(found, low_samples=1.0, high_samples=1e6))))[3].startswith(
        "Best goodput: batch 128 (between 64 and 512 by the interval of the noise scale): 1,500 samples/s, each worth"
    )
    assert list(summary(result(replace(found, in_own_order=True))))[2].endswith(
        "; the data set or its loader gave the samples in its own order, which has to be a random one."
    )
    lines = list(summary(result(NoiseScale(source="measured", samples=None, because="a gradient was not finite"))))
    assert lines[2:] == ["Noise scale: not known, a gradient was not finite."]


@pytest.mark.parametrize("text", ["0", "-3", "many", "inf", "nan", "5%", "2k", ""])
def test_a_scale_that_is_none_is_refused(text: str) -> None:
    """What is no number of samples above 0 is named in a sentence."""
    with pytest.raises(UsageError, match=re.escape(f"'{text}'")):
        parse_noise_scale(text)


def test_a_scale_is_a_number_or_measured() -> None:
    """Numbers as text or not, and the one word."""
    assert [parse_noise_scale(one) for one in ("500", 2.5, "1e4", "measure")] == [500.0, 2.5, 10_000.0, "measure"]


def accumulated(global_batch: int, largest: int, multiple_of: int = 1) -> str:
    asked = Accumulation(global_batch=global_batch, largest=largest, multiple_of=multiple_of)
    return notes(None, baseline=None, samples=None, probes=[], accumulation=asked)[-1]


SHARES = "multiply each loss by its share of the {} samples"


@pytest.mark.parametrize(
    ("largest", "global_batch", "multiple_of", "words", "weight"),
    [
        (40, 64, 1, "2 micro-batches of 32", "divide each loss by 2"),
        (30, 100, 1, "4 micro-batches of 25", "divide each loss by 4"),
        (40, 97, 1, "2 micro-batches of 33 and one of 31", SHARES.format(97)),
        (40, 100, 8, "2 micro-batches of 40 and one of 20", SHARES.format(100)),
        (5, 7, 1, "1 micro-batch of 4 and one of 3", SHARES.format(7)),
        (1, 3, 1, "3 micro-batches of 1", "divide each loss by 3"),
    ],
)
def test_a_global_batch_is_made_of_micro_batches(
    largest: int, global_batch: int, multiple_of: int, words: str, weight: str
) -> None:
    """Equal ones where a divisor is more than half of what fits, else as even as may be; and each loss its weight."""
    told = accumulated(global_batch, largest, multiple_of)
    assert told.startswith(f"a global batch of {global_batch} is {words}: accumulate their gradients for one optimiser")
    assert f"step, and {weight} (" in told


@pytest.mark.parametrize("largest", [64, 128])
def test_a_global_batch_that_fits_is_not_split(largest: int) -> None:
    """What was asked for and fits at once is said to."""
    assert accumulated(64, largest) == "a global batch of 64 fits as it is: nothing has to be accumulated"


@pytest.mark.parametrize("multiple_of", [1, 3, 8])
def test_micro_batches_add_up_and_fit(multiple_of: int) -> None:
    """For every size below every global batch up to 60 the micro-batches add up to it and none is too large."""
    for global_batch in range(2, 60):
        for size in range(multiple_of, global_batch, multiple_of):
            said = accumulated(global_batch, size, multiple_of)
            count, part = map(int, re.findall(r"(\d+) micro-batch(?:es)? of (\d+)", said)[0])
            rest = sum(map(int, re.findall(r"one of (\d+)", said)))
            assert count * part + rest == global_batch
            assert 0 <= rest < part <= size
            assert part % multiple_of == 0
