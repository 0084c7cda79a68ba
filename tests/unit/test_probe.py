"""What the probe makes of its times."""

from __future__ import annotations

import numpy as np
import pytest

from loadtune.measure.probe import _Timed, _variation


def timed(walls: list[float], samples: int) -> list[_Timed]:
    return [_Timed(wall=wall, cpu=0.0, size=0, shared=0, samples=samples) for wall in walls]


def test_variation_of_samples_timed_one_by_one() -> None:
    """Times of 1 and 3 ms in turn have a mean of 2 ms and a squared coefficient of variation of 1/4."""
    assert _variation(timed([1e-3, 3e-3] * 50, 1)) == pytest.approx(0.25 * 100 / 99)
    assert _variation(timed([2e-3] * 10, 1)) == pytest.approx(0)
    assert _variation(timed([2e-3], 1)) is None


def test_variation_of_samples_timed_together() -> None:
    """Sixteen samples at a time vary a sixteenth as much in the square, and that is undone."""
    each = np.random.default_rng(0).gamma(2.0, 1e-3, (2000, 16))
    assert _variation(timed(each.sum(axis=1).tolist(), 16)) == pytest.approx(0.5, rel=0.15)
