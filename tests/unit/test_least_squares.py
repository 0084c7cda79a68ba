"""Many robust fits at once end where scipy ends one after another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from loadtune.judge.capacity import FloatArray
from loadtune.judge.least_squares import slopes, solve

BOUND = 4.0
AT = np.linspace(0.0, 3.0, 12)


def measured(seed: int) -> FloatArray:
    """Return a decay with noise and one value that is far off."""
    values = 3.0 * np.exp(-0.7 * AT) + 0.5 + np.random.default_rng(seed).normal(0, 0.05, len(AT))
    values[seed % len(AT)] += 2.0
    return values


def left_over(values: FloatArray, places: FloatArray) -> FloatArray:
    """Return the residuals of a decay from each place, one a row, and the place itself, as a prior would have it."""
    scale, rate, level = (places[:, [number]] for number in range(3))
    return np.concatenate(((scale * np.exp(-rate * AT) + level - values) / 0.05, 0.1 * places), axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_the_place_the_cost_and_the_covariance_are_those_of_scipy(seed: int) -> None:
    """All twelve fits that each leave one value out, and the whole one, agree with scipy's soft L1."""
    values = measured(seed)
    weights = np.ones((len(AT) + 1, len(AT) + 3))
    weights[np.arange(len(AT)), np.arange(len(AT))] = 0.0
    found = solve(lambda at: left_over(values, at), np.ones((len(weights), 3)), bound=BOUND, weights=weights)
    for row, weight in enumerate(weights):
        alone = least_squares(
            lambda at, weight=weight: (left_over(values, at[None, :]) * weight)[0],
            np.ones(3),
            bounds=(-BOUND, BOUND),
            loss="soft_l1",
            ftol=1e-12,
        )
        assert found.cost[row] == pytest.approx(alone.cost, rel=1e-4)
        assert found.place[row] == pytest.approx(alone.x, rel=5e-3)
        assert found.covariance[row] == pytest.approx(np.linalg.inv(alone.jac.T @ alone.jac), rel=0.1, abs=1e-5)


def test_one_value_that_is_far_off_does_not_decide() -> None:
    """The true decay is found within 0.1 though one of twelve values lies 40 standard deviations away."""
    found = solve(lambda at: left_over(measured(3), at), np.ones((1, 3)), bound=BOUND)
    assert found.place[0] == pytest.approx([3.0, 0.7, 0.5], abs=0.1)


def test_no_place_is_beyond_the_bound() -> None:
    """What would fit best at 3 ends at a bound of 2, and the others settle for that."""
    found = solve(lambda at: left_over(measured(0), at), np.ones((1, 3)), bound=2.0)
    alone = least_squares(
        lambda at: left_over(measured(0), at[None, :])[0], np.ones(3), bounds=(-2, 2), loss="soft_l1", ftol=1e-12
    )
    assert found.place[0, 0] == 2.0
    assert found.cost[0] == pytest.approx(alone.cost, rel=1e-3)


def test_derivatives_are_those_of_the_function() -> None:
    """Of x² and x·y at two places."""
    found = slopes(
        lambda at: np.stack((at[:, 0] ** 2, at[:, 0] * at[:, 1]), axis=1), np.array([[1.0, 2.0], [3.0, 0.0]])
    )
    assert found == pytest.approx(np.array([[[2.0, 2.0], [0.0, 1.0]], [[6.0, 0.0], [0.0, 3.0]]]), abs=2e-3)
