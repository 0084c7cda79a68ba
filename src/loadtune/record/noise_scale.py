"""What is asked and found of the gradient noise scale: squared gradients at two batch sizes, the scale, the goodput."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientRequest:
    """Pairs of batches whose gradients are asked for, at the parameters as they are."""

    small_batch_size: int
    large_batch_size: int
    most_pairs: int
    planned_pairs: int
    """So many are to be over in time: otherwise the large batch is made smaller."""
    seconds: float
    """After these no pair begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """The squared length of the gradient on each batch, a small and a large one a pair, all of different samples."""

    small_batch_size: int
    large_batch_size: int
    small_squares: tuple[float, ...]
    large_squares: tuple[float, ...]
    in_own_order: bool = False
    """Whether the samples came in an order that the data set or its loader decides about."""

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.small_squares)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScale:
    """The gradient noise scale B_n, given or measured: the batch at which noise and gradient are of equal size."""

    source: Literal["given", "measured"]
    samples: float | None
    """B_n, in samples; None where it is not known."""
    low_samples: float | None = None
    """Lower end of the 95 % interval, which may be known where B_n is not; None where it is not, or B_n was given."""
    high_samples: float | None = None
    because: str = ""
    """Why it is not known, in words."""
    small_batch_size: int | None = None
    large_batch_size: int | None = None
    pairs: int = 0
    """Of batches, by which it was measured."""
    in_own_order: bool = False
    """Whether the samples came in an order that the data set or its loader decides about: it has to be a random one."""
    gradient_square: float | None = None
    """Estimate of |G|², the squared length of the true gradient; unbiased, and so perhaps below 0."""
    covariance_trace: float | None = None
    """Estimate of S, the trace of the covariance of one sample's gradient; likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """The rate of a batch size, each sample counted by what it is worth for the training."""

    batch_size: int
    samples_per_second: float
    efficiency: float
    """What a sample is worth, against one in a batch of the baseline's size."""
    goodput_samples_per_second: float
    """The product of both: samples of the baseline's worth a second."""
    at_low_samples_per_second: float | None = None
    """The same by the lower end of the noise scale's interval; None where it was given."""
    at_high_samples_per_second: float | None = None
