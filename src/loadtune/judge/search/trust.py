"""Whether the model predicts trials that it has not seen well enough to search by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtune.judge.capacity import FloatArray
from loadtune.judge.search.forecast import Forecast

MOST_ERROR = 0.08
"""Median error on unseen trials, as a share of the rate, up to which the model is followed on any machine."""
WORST_ERROR = 0.40
"""The same for nine of ten: a cliff that the model does not know shows in few trials."""
NOISY = 2.0
"""Times the trials' own noise that the median error may be: no model predicts a trial better than another trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far the model was off on trials that a fit did not see."""

    median_error: float
    worst_error: float
    """Of nine of ten."""
    allowed_error: float
    """What ``median_error`` may be."""

    @property
    def holds(self) -> bool:
        """Whether the search may go by the model."""
        return self.median_error <= self.allowed_error and self.worst_error <= WORST_ERROR


def trust(ahead: Forecast) -> Trust:
    """Return how far the model can be trusted, by each configuration's prediction from the others.

    A configuration without workers that is the only one of its kind tells alone what loading in the main process costs;
    that the others cannot predict it is no fault of the model.
    """
    errors = _judged(ahead)
    noise = float(np.median(ahead.noise))
    return Trust(
        median_error=float(np.expm1(np.median(errors))),
        worst_error=float(np.expm1(np.quantile(errors, 0.9))),
        allowed_error=max(MOST_ERROR, NOISY * noise),
    )


def _judged(ahead: Forecast) -> FloatArray:
    alone = np.array([config.num_workers == 0 for config in ahead.fitted_to])
    sizes = np.abs(ahead.fitted.errors)
    return sizes[~alone] if np.sum(alone) == 1 and len(sizes) > 1 else sizes
