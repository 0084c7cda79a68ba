"""From rounds of batches to a steady rate: the lag-mW estimator and the test for a steady state. Pure.

torch's DataLoader hands batches out in bursts of one from each of its W workers, so the time between two batches says
little. A *round* is W batches in a row: each worker contributes one. A rate over whole rounds,
``samples / (t[k + m·W] - t[k])``, has both its ends in the same phase of the burst and so no bias from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

STEADY_TOLERANCE = 0.05
"""Halves of the windows that differ by more are no steady state."""
STEADY_SIGMAS = 2.0
"""Nor are halves that differ by more than this many standard errors of their difference."""
LEAST_BACKLOG = 8
"""Batches that a backlog must have lost for what was made to be told from what was taken."""
LEAST_ROUNDS = 4
"""Rounds that must have been made: by their bursts what was made is uncertain by one."""
MSER_BLOCKS = 60
"""Rounds are joined into about this many blocks before the truncation point is looked for."""
TRANSIENT_SIGMAS = 3.0
"""A start is a transient when its mean is this many standard errors off the mean of the rest."""
FloatArray = npt.NDArray[np.float64]
_T_95 = (math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Two-sided 95 % quantiles of Student's t by degrees of freedom; 2 beyond the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """W batches in a row, one from each worker."""

    seconds: float
    samples: float
    batches: int
    fall: int | None = None
    """By how many batches those that were ready became fewer since the window began that ends with this round; None
    within a window, and where nobody can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Whole rounds that together last long enough to give a rate."""

    seconds: float
    samples: float
    batches: int

    @property
    def samples_per_second(self) -> float:
        """Rate in the window."""
        return self.samples / self.seconds


def as_made(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds with the samples that were made in them, where a backlog was taken.

    A main process that is held up, at the start or later, finds a backlog, and takes it at its own speed, which is not
    the one that stays. The workers go on meanwhile, so that what they make is: what was taken, less what the backlog
    lost. What is ready goes up and down by bursts of a round. So the rounds stay as they are where it lost a round or
    less, or few batches, as that of few workers has; and where so few rounds were made that a burst decides.
    """
    lost, size = sum(one.fall or 0 for one in rounds), rounds[0].batches
    made_batches = sum(one.batches for one in rounds) - lost
    if lost <= max(size, LEAST_BACKLOG) or made_batches < LEAST_ROUNDS * size:
        return list(rounds)
    made: list[Round] = []
    window: list[Round] = []
    share = 1.0
    for one in rounds:
        window.append(one)
        if one.fall is not None:
            share = 1.0 - one.fall / sum(each.batches for each in window)
            made += _times(window, share)
            window = []
    return made + _times(window, share)


def _times(rounds: Sequence[Round], share: float) -> list[Round]:
    return [replace(one, samples=max(0.0, share) * one.samples) for one in rounds]


def windows(rounds: Sequence[Round], least_seconds: float) -> tuple[Window, ...]:
    """Return consecutive windows of whole rounds, each at least ``least_seconds`` long; a shorter rest is left out."""
    result: list[Window] = []
    seconds, samples, batches = 0.0, 0.0, 0
    for one in rounds:
        seconds, samples, batches = seconds + one.seconds, samples + one.samples, batches + one.batches
        if seconds >= least_seconds:
            result.append(Window(seconds=seconds, samples=samples, batches=batches))
            seconds, samples, batches = 0.0, 0.0, 0
    return tuple(result)


def truncation(rounds: Sequence[Round]) -> int:
    """Return how many rounds at the start belong to the transient, at most half of them.

    The rule is MSER (White, "An effective truncation heuristic for bias reduction in simulation output", Simulation
    69(6), 1997): leave out the first d blocks for which the variance of the rest over its length is least.
    """
    per_block = max(1, len(rounds) // MSER_BLOCKS)
    count = len(rounds) // per_block
    if count < 10:  # noqa: PLR2004 - too few blocks to tell a transient from noise
        return 0
    pace = np.array([_seconds_per_sample(rounds[i * per_block : (i + 1) * per_block]) for i in range(count)])
    scores = [float(np.var(pace[cut:])) / (count - cut) for cut in range(count // 2 + 1)]
    cut = int(np.argmin(scores))
    return cut * per_block if cut and _differs(pace[:cut], pace[cut:]) else 0


def _differs(start: FloatArray, rest: FloatArray) -> bool:
    """Return whether the start is another regime: in noise the least score falls anywhere, and then nothing is cut.

    The start's own spread counts too: where a few slow samples happen to lie in it, the rest looks quiet.
    """
    spread = max(float(rest.std()), float(start.std()))
    noise = TRANSIENT_SIGMAS * spread / math.sqrt(len(start))
    return abs(float(start.mean() - rest.mean())) > max(noise, STEADY_TOLERANCE * float(rest.mean()))


def _seconds_per_sample(rounds: Sequence[Round]) -> float:
    return sum(one.seconds for one in rounds) / max(1.0, sum(one.samples for one in rounds))


def is_steady(rates: Sequence[float]) -> bool:
    """Return whether the halves of the windows' rates agree within 5 %, or within what their own spread explains.

    One window is no evidence, and two or three know of no spread. A few slow samples among many fall into one half or
    the other: that is noise, which the interval tells of, and no change of the rate.
    """
    half = len(rates) // 2
    if half == 0:
        return False
    first, second = np.array(rates[:half]), np.array(rates[-half:])
    apart = abs(float(first.mean() - second.mean()))
    noise = math.sqrt(float(first.var(ddof=1) + second.var(ddof=1)) / half) if half > 1 else 0.0
    return apart <= max(STEADY_TOLERANCE * max(float(first.mean()), float(second.mean())), STEADY_SIGMAS * noise)


def half_width_share(rates: Sequence[float]) -> float:
    """Return the half-width of the 95 % interval of the mean rate as a share of it; infinite below two windows.

    This decides only when a trial may stop; the interval that is reported also knows how trials differ
    (``judge.statistics``).
    """
    freedom = len(rates) - 1
    if freedom < 1:
        return math.inf
    quantile = _T_95[freedom] if freedom < len(_T_95) else 2.0
    return quantile * float(np.std(rates, ddof=1)) / math.sqrt(len(rates)) / float(np.mean(rates))
