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
from loadtune.judge.batch_notes import notes
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, StepMeasurement, StepProbe
from loadtune.record.noise_scale import Gradients, NoiseScale
from loadtune.show.batch_size import summary
from loadtune.units import parse_noise_scale

SMALL, LARGE = 8, 64
SQUARE, TRACE, DIMENSIONS = 0.5, 40.0, 50
"""Of the true gradient, and of the noise of one sample's: the noise scale is 80."""


def expected(of_square: float, of_trace: float, pairs: int) -> Gradients:
    """Return pairs in which each batch has just the square that is expected of it, plus and minus a hundredth."""
    signs = [1.01 if pair % 2 else 0.99 for pair in range(pairs)]
    return Gradients(
        small_batch_size=SMALL,
        large_batch_size=LARGE,
        small_squares=tuple(sign * (of_square + of_trace / SMALL) for sign in signs),
        large_squares=tuple(sign * (of_square + of_trace / LARGE) for sign in signs),
    )


def drawn(random: np.random.Generator, pairs: int) -> Gradients:
    """Return pairs of batches whose mean gradients are drawn from a normal distribution, all directions equal."""
    gradient = np.full(DIMENSIONS, math.sqrt(SQUARE / DIMENSIONS))

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
    """Of 400 intervals by 24 pairs each, nine in ten or more hold 80, and few are so wide that they hold anything."""
    random = np.random.default_rng(2)
    found = [judged.noise_scale(drawn(random, 24)) for _ in range(400)]
    known = [one for one in found if one.samples is not None]
    assert len(known) > 360
    held = sum((one.low_samples or 0) <= 80 <= (one.high_samples or 0) for one in known)
    assert 0.9 <= held / len(known) < 1
    assert float(np.median([(one.high_samples or 0) / (one.low_samples or 1) for one in known])) < 4


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (expected(-0.1, TRACE, 8), "the gradient does not stand out of its noise by 8 pairs of batches of 8 and 64"),
        (expected(SQUARE, -1.0, 8), "no noise stands out by 8 pairs"),
        (expected(SQUARE, TRACE, 3), "there were time and samples for 3 pairs of batches of 8 and 64, and it takes 4"),
        (expected(SQUARE, TRACE, 0), "there were time and samples for 0 pairs"),
        (expected(math.nan, TRACE, 8), "a gradient was not finite"),
        (replace(expected(SQUARE, TRACE, 4), small_squares=(5.0,) * 4, large_squares=(1.0,) * 4), "the same gradient"),
        (
            replace(expected(SQUARE, TRACE, 4), small_squares=(5.0, 6.0, 5.0, 6.0), large_squares=(0.7, 0.8, 0.7, 2.6)),
            "leave it open by more than a factor of 10",
        ),
    ],
)
def test_what_is_not_known_is_no_number(seen: Gradients, words: str) -> None:
    """No gradient, no noise, few pairs, equal batches, a vast interval: a sentence, and neither scale nor ends."""
    found = judged.noise_scale(seen)
    assert words in found.because
    assert (found.samples, found.low_samples, found.high_samples) == (None, None, None)


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


PROBES = (probe(512, 1_600), probe(64, 1_000), probe(128, 1_500), probe(1_024, 9_000, "over"))


def test_goodput_is_the_rate_by_what_a_sample_is_worth() -> None:
    """With B_n = 192 and B_0 = 64 a sample is worth 1, 0.8 and 4/11: 128 is the best, and what is over is left out."""
    found = judged.goodputs(PROBES, noise_samples=192, baseline=64)
    assert [one.batch_size for one in found] == [64, 128, 512]
    assert [one.efficiency for one in found] == pytest.approx([1, 0.8, 4 / 11])
    assert [one.goodput_samples_per_second for one in found] == pytest.approx([1_000, 1_200, 1_600 * 4 / 11])
    assert judged.best(found) == 128
    assert judged.best(judged.goodputs(PROBES, noise_samples=1e9, baseline=64)) == 512
    assert judged.best(judged.goodputs(PROBES, noise_samples=1, baseline=64)) == 64
    assert judged.best([]) is None


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
    goodputs = judged.goodputs(PROBES, noise_samples=found.samples, baseline=64)
    return replace(base, goodputs=goodputs, best_goodput=judged.best(goodputs), baseline_batch_size=64)


def test_the_goodput_is_shown_beside_what_was_found() -> None:
    """A scale as given, the best goodput with what a sample is worth, and every size; largest and best are the same."""
    lines = list(summary(result(NoiseScale(source="given", samples=192.0))))
    assert lines[:2] == list(summary(result(None)))
    assert lines[2:] == [
        "Noise scale: 192 samples, as given.",
        (
            "Best goodput: 128, 1,200 samples/s, each counted as one in a batch of 64: of 1,500 samples/s a sample is"
            " worth 80.0 % of one there."
        ),
        "Goodput in samples/s, by batch size: 64: 1,000, 128: 1,200, 512: 582.",
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


def accumulation(size: int, baseline: int, multiple_of: int = 1) -> str | None:
    said = notes(size, baseline=baseline, samples=None, probes=[], multiple_of=multiple_of)
    return next((note.partition(":")[0] for note in said if "micro-batch" in note), None)


@pytest.mark.parametrize(
    ("size", "baseline", "multiple_of", "words"),
    [
        (40, 64, 1, "2 micro-batches of 32"),
        (30, 100, 1, "4 micro-batches of 25"),
        (40, 97, 1, "2 micro-batches of 33 and one of 31, each loss weighted by its samples"),
        (40, 100, 8, "2 micro-batches of 40 and one of 20, each loss weighted by its samples"),
        (5, 7, 1, "1 micro-batch of 4 and one of 3, each loss weighted by its samples"),
        (1, 3, 1, "3 micro-batches of 1"),
        (64, 64, 1, None),
        (128, 64, 1, None),
    ],
)
def test_a_global_batch_is_made_of_micro_batches(size: int, baseline: int, multiple_of: int, words: str | None) -> None:
    """Equal ones where a divisor is more than half of what fits, else as even as may be; none where it fits whole."""
    told = f"a global batch of {baseline} is {words}" if words is not None else None
    assert accumulation(size, baseline, multiple_of) == told


@pytest.mark.parametrize("multiple_of", [1, 3, 8])
def test_micro_batches_add_up_and_fit(multiple_of: int) -> None:
    """For every size below every baseline up to 60 the micro-batches add up to the baseline and none is too large."""
    for baseline in range(2, 60):
        for size in range(multiple_of, baseline, multiple_of):
            said = accumulation(size, baseline, multiple_of) or ""
            count, part = map(int, re.findall(r"(\d+) micro-batch(?:es)? of (\d+)", said)[0])
            rest = sum(map(int, re.findall(r"one of (\d+)", said)))
            assert count * part + rest == baseline
            assert 0 <= rest < part <= size
            assert part % multiple_of == 0
