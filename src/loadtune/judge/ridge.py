"""Linear least squares with a prior for each parameter, most of which are not below zero; small, and without numpy."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass

ROUNDS = 10
"""Fits at most: after each a value that lies far off weighs less in the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is thought of one parameter before anything is measured: a normal distribution."""

    centre: float
    spread: float
    """Its standard deviation."""
    signed: bool = False
    """Whether it may be below zero."""


def fit(
    rows: Sequence[Sequence[float]], values: Sequence[float], spreads: Sequence[float], beliefs: Sequence[Belief]
) -> list[float]:
    """Return the parameters that explain ``values`` as sums over ``rows``, each a factor for each parameter.

    Robust: what is off by more than most weighs less, as with a Cauchy loss. Without rows it is the beliefs' centres.

    Args:
        rows: One for each value.
        values: What was measured.
        spreads: Standard deviation of each value.
        beliefs: One for each parameter.
    """
    # In units of the beliefs' spreads, so that no size is lost beside another.
    scaled = [[factor * one.spread for factor, one in zip(row, beliefs, strict=True)] for row in rows]
    centres = [one.centre / one.spread for one in beliefs]
    found, weights = centres, [1.0] * len(values)
    for _ in range(ROUNDS if values else 0):
        precision = [weight / spread**2 for weight, spread in zip(weights, spreads, strict=True)]
        found = _bounded(*_normal_equations(scaled, values, precision, centres), [one.signed for one in beliefs])
        off = [
            abs(value - dot(row, found)) / spread for row, value, spread in zip(scaled, values, spreads, strict=True)
        ]
        usual = max(1.0, 1.4826 * plain.median(off))
        if max(off) < 2 * usual:
            break
        weights = [1 / (1 + (one / usual) ** 2) for one in off]
    return [place * one.spread for place, one in zip(found, beliefs, strict=True)]


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the sum of products."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def _normal_equations(
    rows: Sequence[Sequence[float]], values: Sequence[float], weights: Sequence[float], centres: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """Return matrix and right side, where every parameter has a belief of spread 1."""
    count = range(len(centres))
    matrix = [[float(i == j) for j in count] for i in count]
    right = list(centres)
    for row, value, weight in zip(rows, values, weights, strict=True):
        for i in count:
            right[i] += weight * row[i] * value
            for j in count:
                matrix[i][j] += weight * row[i] * row[j]
    return matrix, right


def _bounded(matrix: list[list[float]], right: list[float], signed: Sequence[bool]) -> list[float]:
    """Return the solution with what may not be negative held at zero, the most negative one first."""
    free = list(range(len(right)))
    while True:
        within = _solve([[matrix[i][j] for j in free] for i in free], [right[i] for i in free])
        solved = dict(zip(free, within, strict=True))
        below = [at for at in free if solved[at] < 0 and not signed[at]]
        if not below:
            return [solved.get(at, 0.0) for at in range(len(right))]
        free.remove(min(below, key=solved.__getitem__))


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Return x of matrix·x = right, for a matrix that is symmetric and positive definite (Cholesky)."""
    count = len(right)
    low = [[0.0] * count for _ in range(count)]
    for i in range(count):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(low[i][k] * low[j][k] for k in range(j))
            low[i][j] = math.sqrt(max(rest, 1e-12)) if i == j else rest / low[j][j]
    half = [0.0] * count
    for i in range(count):
        half[i] = (right[i] - sum(low[i][k] * half[k] for k in range(i))) / low[i][i]
    solved = [0.0] * count
    for i in reversed(range(count)):
        solved[i] = (half[i] - sum(low[k][i] * solved[k] for k in range(i + 1, count))) / low[i][i]
    return solved
