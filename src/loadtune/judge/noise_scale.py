"""The gradient noise scale from gradients at two batch sizes, and the goodput that follows from it.

The simple noise scale of McCandlish et al. 2018 (arXiv:1812.06162, appendix A.1): the mean gradient of a batch of B has
an expected square of |G|² + S/B, and two batch sizes give both terms. Their averages over all pairs are divided: the
average of ratios would be biased. Goodput is that of Pollux (Qiao et al., OSDI 2021).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from loadtune.judge.statistics import student_t
from loadtune.record.batch_size import StepProbe
from loadtune.record.noise_scale import Goodput, Gradients, NoiseScale
from loadtune.units import VAST_INTERVAL, format_count

APART = 8
"""The large batch is so many times the small one, where there is room."""
LEAST_SMALL = 2
"""BatchNorm raises for a batch of 1: none is taken where a batch of 2 is small enough too."""
LEAST_PAIRS = 4
PLANNED_PAIRS = 8
"""For so many there are to be time and samples; more are taken as long as there are."""
MOST_PAIRS = 32
HELD = 2
"""The samples are held beside the batch that they make, and nothing computes in fewer bits: half of the largest."""
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
        most.append(samples / (PLANNED_PAIRS * (1 + 1 / APART)))
    if samples_per_second is not None:
        most.append(seconds * samples_per_second / (PLANNED_PAIRS * (1 + 1 / APART)))
    large = int(min(most)) // multiple_of * multiple_of
    least = LEAST_SMALL if large >= APART else 1
    small = max(multiple_of, max(large // APART, least) // multiple_of * multiple_of)
    return (small, large) if small < large else None


def noise_scale(seen: Gradients) -> NoiseScale:
    """Return the noise scale with its 95 % interval, by the jackknife over the pairs; or why it is not known."""
    gradients, traces = _gradient_squares(seen), _traces(seen)
    reason = _no_estimate(seen, gradients, traces)
    known = _known(gradients, traces) if reason is None else None
    if known is None:
        reason = reason or f"{_batches(seen)} leave it open by more than a factor of {VAST_INTERVAL:g}"
    estimate, low, high = known or (None, None, None)
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
    if len(set(seen.large_squares)) == 1 and len(set(seen.small_squares)) == 1:
        return f"{_batches(seen)} gave the same gradient each: they have to be of different samples"
    if statistics.fmean(gradients) <= 0:
        return f"the gradient does not stand out of its noise by {_batches(seen)}: |G|² came out as 0 or less"
    if statistics.fmean(traces) <= 0:
        return (
            f"no noise stands out by {_batches(seen)}: S came out as 0 or less (a loss has to be a mean over samples)"
        )
    return None


def _batches(seen: Gradients) -> str:
    sizes = f"{format_count(seen.small_batch_size)} and {format_count(seen.large_batch_size)}"
    return f"{format_count(seen.pairs)} {'pair' if seen.pairs == 1 else 'pairs'} of batches of {sizes}"


def _known(gradients: Sequence[float], traces: Sequence[float]) -> tuple[float, float, float] | None:
    """Return the ratio with its interval, made of its logarithm; None where that says nothing of its size."""
    count = len(gradients)
    all_gradients, all_traces = math.fsum(gradients), math.fsum(traces)
    left_out = [
        (all_traces - s) / (all_gradients - g) for g, s in zip(gradients, traces, strict=True) if g != all_gradients
    ]
    if len(left_out) < count or min(left_out) <= 0:
        return None
    logs = [math.log(ratio) for ratio in left_out]
    error = math.sqrt((count - 1) * statistics.pvariance(logs))
    half = student_t(_CONFIDENCE, count - 1) * error
    if 2 * half > math.log(VAST_INTERVAL):
        return None
    estimate = all_traces / all_gradients
    return estimate, estimate * math.exp(-half), estimate * math.exp(half)


def efficiency(batch_size: float, *, noise_samples: float, baseline: float) -> float:
    """Return what a sample of a batch is worth against one of a batch of the baseline's size."""
    return (noise_samples + baseline) / (noise_samples + batch_size)


def goodputs(probes: Sequence[StepProbe], *, noise_samples: float, baseline: int) -> tuple[Goodput, ...]:
    """Return the goodput of each batch size that fits, the smallest first."""
    rates = {p.batch_size: rate for p in probes if p.fit == "fits" and (rate := p.samples_per_second) is not None}
    found = []
    for size, rate in sorted(rates.items()):
        worth = efficiency(size, noise_samples=noise_samples, baseline=baseline)
        found.append(
            Goodput(batch_size=size, samples_per_second=rate, efficiency=worth, goodput_samples_per_second=rate * worth)
        )
    return tuple(found)


def best(found: Sequence[Goodput]) -> int | None:
    """Return the batch size of the best goodput, the smaller one of equal ones; None where there is none."""
    if not found:
        return None
    return max(found, key=lambda one: (one.goodput_samples_per_second, -one.batch_size)).batch_size
