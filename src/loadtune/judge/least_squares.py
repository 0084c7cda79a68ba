"""Robust least squares of many small problems at once, such as one fit to all trials and one without each of them.

``scipy.optimize.least_squares`` takes them one after another, and evaluating a model at a dozen of configurations is
all overhead then. Here a step of all problems is one evaluation. The method is that of Levenberg and Marquardt, with
what a robust loss does to residuals and slopes as in Triggs et al., "Bundle adjustment: a modern synthesis" (2000),
section 4.3; the loss is soft L1, ρ(z) = 2·(√(1 + z) − 1) of z = r².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtune.judge.capacity import FloatArray

Residuals = Callable[[FloatArray], FloatArray]
"""From places, one a row, to residuals, as many rows."""

STEP = 1e-3
"""Of derivatives."""
MOST_STEPS = 60
LEAST_GAIN = 1e-5
"""A step that lowers the cost by a smaller share is the last."""
_DAMPING, _EASED, _RAISED, _MOST_DAMPING = 1e-3, 0.2, 5.0, 1e8


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """Where each problem ended, one a row."""

    place: FloatArray
    covariance: FloatArray
    """Of the places, where residuals are in standard deviations: a matrix for each."""
    cost: FloatArray
    """Half the sum of ρ over the residuals."""


def solve(residuals: Residuals, starts: FloatArray, *, bound: float, weights: FloatArray | None = None) -> Solved:
    """Return the place of least cost for each problem.

    Args:
        residuals: Are to become small.
        starts: Where each problem begins, one a row.
        bound: No number of a place is further than this from 0.
        weights: Of the residuals of each problem, one a row: 0 leaves one out. None is 1 for all.
    """
    weights = np.ones(1) if weights is None else weights
    place, damping = starts.astype(np.float64), np.full(len(starts), _DAMPING)
    left = residuals(place) * weights
    cost, going = _cost(left), np.ones(len(starts), dtype=np.bool_)
    for _ in range(MOST_STEPS):
        hessian, gradient = _normal(slopes(residuals, place) * weights[..., None, :], left)
        tried = np.clip(place + _steps(hessian, gradient, damping, place, bound), -bound, bound)
        left_then = residuals(tried) * weights
        cost_then = _cost(left_then)
        better = going & (cost_then < cost)
        ends = better & (cost - cost_then <= LEAST_GAIN * cost)
        place, left = np.where(better[:, None], tried, place), np.where(better[:, None], left_then, left)
        cost = np.where(better, cost_then, cost)
        damping = np.where(better, damping * _EASED, damping * _RAISED)
        going &= ~ends & (damping < _MOST_DAMPING)
        if not going.any():
            break
    hessian, _ = _normal(slopes(residuals, place) * weights[..., None, :], left)
    return Solved(place=place, covariance=np.asarray(np.linalg.inv(hessian), dtype=np.float64), cost=cost)


def slopes(function: Residuals, place: FloatArray) -> FloatArray:
    """Return the derivatives at each place, a row for each of its numbers, from one evaluation at all of them."""
    count, numbers = place.shape
    moved = (place[:, None, :] + STEP * np.eye(numbers)).reshape(-1, numbers)
    values = function(np.concatenate((place, moved)))
    return (values[count:].reshape(count, numbers, -1) - values[:count, None, :]) / STEP


def _cost(left: FloatArray) -> FloatArray:
    cost: FloatArray = np.sum(np.sqrt(1.0 + left**2) - 1.0, axis=-1)
    return cost


def _normal(rows: FloatArray, left: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the matrix that approximates the second derivatives of the cost, and its gradient.

    Args:
        rows: Derivatives of the residuals, a row for each number of a place.
        left: The residuals.
    """
    bent = rows * ((1.0 + left**2) ** -0.75)[:, None, :]  # √(ρ' + 2·ρ''·z)
    pulled = left / np.sqrt(1.0 + left**2)  # ρ'·r
    return bent @ bent.transpose(0, 2, 1), (rows @ pulled[:, :, None])[:, :, 0]


def _steps(
    hessian: FloatArray, gradient: FloatArray, damping: FloatArray, place: FloatArray, bound: float
) -> FloatArray:
    """Return the step of each problem; what is at its bound and would go beyond stays there."""
    free = ~((np.abs(place) >= bound) & (place * gradient < 0))
    kept = hessian * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("ijj->ij", kept)
    damped = kept + np.eye(place.shape[1]) * np.where(free, damping[:, None] * diagonal, 1.0)[:, :, None]
    return np.asarray(np.linalg.solve(damped, -(gradient * free)[:, :, None])[:, :, 0], dtype=np.float64)
