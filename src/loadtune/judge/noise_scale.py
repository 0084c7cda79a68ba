"""The gradient noise scale from gradients at two batch sizes, and the goodput that follows from it.

The simple noise scale of McCandlish et al. 2018 (arXiv:1812.06162, appendix A.1): the mean gradient of a batch of B has
an expected square of |G|² + S/B, and two batch sizes give both terms. Their averages over all pairs are divided: the
average of ratios would be biased. Goodput is that of Pollux (Qiao et al., OSDI 2021).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from loadtune.judge.statistics import student_t
from loadtune.record.batch_size import StepProbe
from loadtune.record.noise_scale import Goodput, Gradients, NoiseScale
from loadtune.units import VAST_INTERVAL, format_count, format_number

APART = 8
"""The large batch is so many times the small one, where there is room."""
LEAST_SMALL = 2
"""BatchNorm raises for a batch of 1: none is taken where a batch of 2 is small enough too."""
LEAST_PAIRS = 4
PLANNED_PAIRS = 8
"""For so many there are to be time and samples; more are taken as long as there are."""
PLANNED_SAMPLES = PLANNED_PAIRS * (1 + 1 / APART)
"""What they take, as large batches."""
MOST_PAIRS = 32
HELD = 2
"""The samples are held beside the batch that they make, and nothing computes in fewer bits: half of the largest."""
CLIPPED = 3
"""Gradients of the same length, at the largest, by which a step that clips them is known."""
SAME_LENGTH = 1e-4
"""Relative, of squares: torch clips to a length that differs by as little as 1e-6."""
_CONFIDENCE = 0.975


def batch_sizes(
    largest: int, *, multiple_of: int, samples: int | None, samples_per_second: float | None, seconds: float
) -> tuple[int, int] | None:
    """Return a small and a large batch size that are known to fit; None where there are no two.

    Args:
        largest: That ran within the limits.
        multiple_of: Both are multiples of this.
        samples: N of the data set, none of which is taken twice.
        samples_per_second: Rate at which they are loaded and taken.
        seconds: For all pairs.
    """
    most = [float(max(largest // HELD, min(largest, 2 * multiple_of)))]
    if samples is not None:
        most.append(samples / PLANNED_SAMPLES)
    if samples_per_second is not None:
        most.append(seconds * samples_per_second / PLANNED_SAMPLES)
    large = int(min(most)) // multiple_of * multiple_of
    least = LEAST_SMALL if large >= APART else 1
    small = max(multiple_of, max(large // APART, least) // multiple_of * multiple_of)
    return (small, large) if small < large else None


def noise_scale(seen: Gradients) -> NoiseScale:
    """Return the noise scale with its 95 % interval; or why it is not known, and what it is above where that is."""
    gradients, traces = _gradient_squares(seen), _traces(seen)
    reason = _no_estimate(seen, gradients, traces)
    low, high = _interval(gradients, traces) if reason is None else (None, None)
    estimate = None
    if low is not None and high is not None and high <= VAST_INTERVAL * low:
        estimate = statistics.fmean(traces) / statistics.fmean(gradients)
    elif reason is None:
        reason, high = _left_open(seen, gradients, low), None
    finite = bool(gradients) and all(map(math.isfinite, [*gradients, *traces]))
    return NoiseScale(
        source="measured",
        samples=estimate,
        low_samples=low,
        high_samples=high,
        because=reason or "",
        small_batch_size=seen.small_batch_size,
        large_batch_size=seen.large_batch_size,
        pairs=seen.pairs,
        in_own_order=seen.in_own_order,
        gradient_square=statistics.fmean(gradients) if finite else None,
        covariance_trace=statistics.fmean(traces) if finite else None,
    )


def _gradient_squares(seen: Gradients) -> list[float]:
    """Return the unbiased estimate of |G|² that each pair gives."""
    small, large = seen.small_batch_size, seen.large_batch_size
    squares = zip(seen.small_squares, seen.large_squares, strict=True)
    return [(large * of_large - small * of_small) / (large - small) for of_small, of_large in squares]


def _traces(seen: Gradients) -> list[float]:
    """Return the unbiased estimate of S that each pair gives."""
    difference = 1 / seen.small_batch_size - 1 / seen.large_batch_size
    squares = zip(seen.small_squares, seen.large_squares, strict=True)
    return [(of_small - of_large) / difference for of_small, of_large in squares]


def _no_estimate(seen: Gradients, gradients: Sequence[float], traces: Sequence[float]) -> str | None:
    if seen.pairs < LEAST_PAIRS:
        return f"there were time and samples for {_batches(seen)}, and it takes {LEAST_PAIRS} pairs at least"
    if not all(map(math.isfinite, [*gradients, *traces])):
        return "a gradient was not finite"
    if (reason := _no_gradients(seen)) is not None:
        return reason
    if statistics.fmean(traces) <= 0:
        return (
            f"no noise stands out by {_batches(seen)}: S came out as 0 or less (a loss has to be a mean over samples)"
        )
    return None


def _left_open(seen: Gradients, gradients: Sequence[float], low: float | None) -> str:
    if statistics.fmean(gradients) <= 0:
        words = f"the gradient does not stand out of its noise by {_batches(seen)}: |G|² came out as 0 or less"
    else:
        words = f"{_batches(seen)} leave it open by more than a factor of {VAST_INTERVAL:g}"
    return words if low is None else f"{words}; it is above about {format_number(low)} samples"


def _no_gradients(seen: Gradients) -> str | None:
    """Return that all are 0, or are clipped, as several of the largest length are; None elsewhere."""
    squares = [*seen.small_squares, *seen.large_squares]
    largest = max(squares)
    if not largest:
        return "no gradient reached the parameters: each was 0"
    count = sum(one >= (1 - SAME_LENGTH) * largest for one in squares)
    if count < CLIPPED:
        return None
    return (
        f"{format_count(count)} of {format_count(len(squares))} gradients have the same length,"
        f" {format_number(math.sqrt(largest))}: the step clips them; measure a step that does not"
    )


def _batches(seen: Gradients) -> str:
    sizes = f"{format_count(seen.small_batch_size)} and {format_count(seen.large_batch_size)}"
    return f"{format_count(seen.pairs)} {'pair' if seen.pairs == 1 else 'pairs'} of batches of {sizes}"


def _interval(gradients: Sequence[float], traces: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of the ratio, after Fieller (J. R. Stat. Soc. B 16, 1954); None: open.

    A ratio θ is in it where the mean of S − θ·|G|² is no further from 0 than its error allows: where |G|² itself may be
    0 it has no upper end. By a jackknife of the logarithm, twice as many that came out as known were wrong.
    """
    count, gradient, trace = len(gradients), statistics.fmean(gradients), statistics.fmean(traces)
    error = student_t(_CONFIDENCE, count - 1) ** 2 / (count * (count - 1))
    pairs = [(g - gradient, s - trace) for g, s in zip(gradients, traces, strict=True)]
    a = gradient**2 - error * math.fsum(g * g for g, _ in pairs)
    b = gradient * trace - error * math.fsum(g * s for g, s in pairs)
    c = trace**2 - error * math.fsum(s * s for _, s in pairs)
    far = b + math.sqrt(max(0.0, b * b - a * c))  # the ends are the roots of a·θ² − 2b·θ + c
    if c <= 0 or far <= 0:
        return None, None
    return c / far, far / a if a > 0 and gradient > 0 else None


def efficiency(batch_size: float, *, noise_samples: float, baseline: float) -> float:
    """Return what a sample of a batch is worth against one of a batch of the baseline's size."""
    return (noise_samples + baseline) / (noise_samples + batch_size)


def goodputs(probes: Sequence[StepProbe], *, scale: NoiseScale, baseline: int) -> tuple[Goodput, ...]:
    """Return the goodput of each batch size that fits, the smallest first; none where the scale is not known."""
    if scale.samples is None:
        return ()
    rates = {p.batch_size: rate for p in probes if p.fit == "fits" and (rate := p.samples_per_second) is not None}
    return tuple(
        _goodput(size, rate, scale.samples, scale=scale, baseline=baseline) for size, rate in sorted(rates.items())
    )


def _goodput(size: int, rate: float, samples: float, *, scale: NoiseScale, baseline: int) -> Goodput:
    def at(noise_samples: float | None) -> float | None:
        if noise_samples is None:
            return None
        return rate * efficiency(size, noise_samples=noise_samples, baseline=baseline)

    worth = efficiency(size, noise_samples=samples, baseline=baseline)
    return Goodput(
        batch_size=size,
        samples_per_second=rate,
        efficiency=worth,
        goodput_samples_per_second=rate * worth,
        at_low_samples_per_second=at(scale.low_samples),
        at_high_samples_per_second=at(scale.high_samples),
    )


def best(found: Sequence[Goodput], *, tie: float) -> tuple[int | None, tuple[int, int] | None]:
    """Return the smallest batch size tied with the best goodput, and the range of it over the scale's interval.

    Args:
        found: The goodputs.
        tie: Goodputs no further apart than this, as a share, are equal.

    Returns:
        None for the batch size where there is none; None for the range where it is one size, or the scale was given.
    """
    size = _smallest_tied({one.batch_size: one.goodput_samples_per_second for one in found}, tie)
    low = _smallest_tied({one.batch_size: one.at_low_samples_per_second for one in found}, tie)
    high = _smallest_tied({one.batch_size: one.at_high_samples_per_second for one in found}, tie)
    if size is None or low is None or high is None or low == size == high:
        return size, None
    return size, (min(low, size, high), max(low, size, high))


def _smallest_tied(by_size: Mapping[int, float | None], tie: float) -> int | None:
    known = {size: goodput for size, goodput in by_size.items() if goodput is not None}
    if not known:
        return None
    return min(size for size, goodput in known.items() if goodput >= (1 - tie) * max(known.values()))
