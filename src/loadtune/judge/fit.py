"""The costs of the pipeline model, fitted to what was measured; how far it can be trusted; what it predicts.

Robust least squares in the logarithm (soft L1), so that an error of a share counts alike at every rate and one strange
trial does not decide. Each cost has a prior, a log-normal around what the probe saw or what a hand-over costs on
ordinary machines: a cost that the trials say nothing about stays there, and three trials are enough to begin with.
Trust is measured on trials that a fit did not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtune.judge.capacity import BoolArray, Costs, FloatArray, Points, capacity, cpu_seconds, join, select
from loadtune.judge.least_squares import Solved, slopes, solve
from loadtune.judge.statistics import student_t

_ARRAYS = ("log_rate", "noise", "cpu_seconds")
FOLDS = 12
"""Parts that the trials are divided into, to be predicted from the others; up to so many it is leave-one-out."""
LEAST_NOISE = 0.02
"""Standard deviation of a log rate below which no trial is believed."""
CPU_NOISE = 0.1
"""The same of processor time by sample: it also counts what the main process does while it waits."""
WIDE_NOISE = 0.3
"""What it is taken to be at first."""
REFITS = 2
FURTHEST = 4.0
"""No cost ends further from its prior, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is thought of one cost before any trial: log-normal."""

    name: str
    """Field of ``Costs``."""
    centre: float
    spread: float
    """Standard deviation of its logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was measured, one entry a configuration."""

    points: Points
    log_rate: FloatArray
    """Natural logarithm of samples per second."""
    noise: FloatArray
    """Its standard deviation."""
    cpu_seconds: FloatArray
    """Processor time of a sample in all processes; not a number where it is not known."""

    def __len__(self) -> int:
        return len(self.log_rate)

    def only(self, chosen: Sequence[int]) -> Observed:
        """Return some of the entries."""
        at = np.array(chosen, dtype=np.int64)
        return Observed(
            points=select(self.points, at),
            log_rate=self.log_rate[at],
            noise=self.noise[at],
            cpu_seconds=self.cpu_seconds[at],
        )

    def with_more(self, other: Observed | None) -> Observed:
        """Return these entries and others behind them."""
        if other is None:
            return self
        joined = {name: np.concatenate((getattr(self, name), getattr(other, name))) for name in _ARRAYS}
        return Observed(points=join(self.points, other.points), **joined)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Rates in samples per second with their 95 % intervals, one entry a configuration."""

    rate: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The model as fitted."""

    costs: Costs
    priors: tuple[Prior, ...]
    place: FloatArray
    """Where each cost lies, in standard deviations from its prior."""
    covariance: FloatArray
    """Of ``place``."""
    errors: FloatArray
    """Log of predicted over measured for each entry, by a fit that did not see it."""

    @property
    def median_abs_error(self) -> float:
        """Median error of prediction, as a share of the rate."""
        return float(np.expm1(np.median(np.abs(self.errors))))

    @property
    def p90_abs_error(self) -> float:
        """Error of prediction that nine of ten stay under, as a share of the rate."""
        return float(np.expm1(np.quantile(np.abs(self.errors), 0.9)))

    def predict(self, points: Points) -> Predicted:
        """Return the rate of configurations, measured or not.

        The interval joins what the costs are uncertain by and what the model was off by where it could be checked.
        """

        def log_rates(places: FloatArray) -> FloatArray:
            return _log_rates(self.priors, self.costs, places, points)

        at = self.place[None, :]
        log_rate, moves = log_rates(at)[0], slopes(log_rates, at)[0]
        own = np.einsum("ji,jk,ki->i", moves, self.covariance, moves)
        # Root mean square, the largest tenth pulled in: one strange trial widens no interval but its own.
        sizes = np.abs(self.errors)
        squares = np.minimum(sizes, np.quantile(sizes, 0.9)) ** 2
        spread = np.sqrt(own + float(np.mean(squares)) + LEAST_NOISE**2)
        half = student_t(0.975, len(self.errors) - 1) * spread
        return Predicted(rate=np.exp(log_rate), low=np.exp(log_rate - half), high=np.exp(log_rate + half))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What was measured beside the entries that are to be predicted, each in the trial of one of them."""

    entries: Observed
    of: tuple[int, ...]
    """The place among the observed of that one: a fit that does not see it does not see what was beside it."""


def fit(
    observed: Observed,
    priors: Sequence[Prior],
    fixed: Costs,
    known: Observed | None = None,
    beside: Beside | None = None,
) -> Fit:
    """Return the costs that explain what was measured, with their uncertainty and the errors of unseen entries.

    Args:
        observed: At least two configurations.
        priors: Of the costs that are free.
        fixed: The other ones.
        known: What counts as measured in every fit and is not itself to be predicted, such as what the probe saw.
        beside: What is not to be predicted either, and is seen with an entry or not at all.
    """
    priors = tuple(priors)
    # It begins with wide noise, so that no part of the rates holds the costs where they happen to explain it alone.
    with_beside = observed.with_more(beside.entries if beside is not None else None)
    wide = _with_noise(with_beside.with_more(known), WIDE_NOISE)
    found = _solve(wide, priors, fixed, _starts(priors))
    place = found.place[np.argmin(found.cost)]
    for _ in range(REFITS):
        # What the model leaves over is noise to it: the costs are as uncertain as that makes them.
        left = np.abs(_log_rates(priors, fixed, place[None, :], observed.points)[0] - observed.log_rate)
        noisy = _with_noise(with_beside, 1.4826 * float(np.median(left)))
        found = _solve(noisy.with_more(known), priors, fixed, place[None, :])
        place = found.place[0]
    own = tuple(range(len(observed)))
    of = own if beside is None else (*own, *beside.of)
    return Fit(
        costs=_costs(priors, fixed, place),
        priors=priors,
        place=place,
        covariance=found.covariance[0],
        errors=_unseen_errors(noisy, priors, fixed, place, known=known, of=of),
    )


def _with_noise(observed: Observed, least: float) -> Observed:
    return replace(observed, noise=np.maximum(observed.noise, least))


def _starts(priors: Sequence[Prior]) -> FloatArray:
    """Return where a fit begins, one a row: the priors, and where nothing waits, since waiting hides what cores do."""
    waits = [prior.name == "blocked_seconds_per_sample" for prior in priors]
    return np.stack((np.zeros(len(priors)), np.where(waits, -3.0, 0.0)))


def _costs(priors: Sequence[Prior], fixed: Costs, place: FloatArray) -> Costs:
    """Return the costs at a place; at several places, one a row, with values that are columns."""
    values = {prior.name: prior.centre * np.exp(prior.spread * at) for prior, at in zip(priors, place.T, strict=True)}
    return replace(fixed, **{name: value.reshape(-1, 1) if value.ndim else value for name, value in values.items()})


def _log_rates(priors: tuple[Prior, ...], fixed: Costs, places: FloatArray, points: Points) -> FloatArray:
    """Return the log rate of each configuration at each place, one a row."""
    return np.log(capacity(_costs(priors, fixed, places), points).samples_per_second)


def _solve(
    observed: Observed, priors: tuple[Prior, ...], fixed: Costs, starts: FloatArray, seen: BoolArray | None = None
) -> Solved:
    """Return where the fits end that begin at ``starts``.

    Args:
        observed: What they are to explain.
        priors: Of the costs that are free.
        fixed: The others.
        starts: One a fit.
        seen: Which entries each of them sees; None is all.
    """
    known = np.flatnonzero(np.isfinite(observed.cpu_seconds) & (observed.points.num_workers > 0))
    log_cpu, with_cpu = np.log(observed.cpu_seconds[known]), select(observed.points, known)

    def residuals(places: FloatArray) -> FloatArray:
        """Return what is to become small, in standard deviations: of rates, of times, and of the costs themselves."""
        costs = _costs(priors, fixed, places)
        rates = np.log(capacity(costs, observed.points).samples_per_second) - observed.log_rate
        times = np.log(cpu_seconds(costs, with_cpu) / with_cpu.batch_size) - log_cpu
        return np.concatenate((rates / observed.noise, times / CPU_NOISE, places), axis=-1)

    weights = None
    if seen is not None:
        weights = np.concatenate((seen, seen[:, known], np.ones_like(starts, dtype=np.bool_)), axis=-1).astype(float)
    return solve(residuals, starts, bound=FURTHEST, weights=weights)


def _unseen_errors(
    observed: Observed,
    priors: tuple[Prior, ...],
    fixed: Costs,
    start: FloatArray,
    *,
    known: Observed | None,
    of: Sequence[int],
) -> FloatArray:
    """Return the log errors of entries by fits to the others, in ``FOLDS`` parts at most, each begun at ``start``.

    Args:
        observed: The entries, and behind them what was beside some.
        priors: Of the costs that are free.
        fixed: The others.
        start: Where each fit begins.
        known: What each fit sees.
        of: For each of ``observed`` the entry that it belongs to: itself, or the one that it was beside.
    """
    everything, count = observed.with_more(known), max(of) + 1
    folds = np.arange(min(FOLDS, count))
    seen = np.ones((len(folds), len(everything)), dtype=np.bool_)
    seen[:, : len(of)] = np.array(of) % FOLDS != folds[:, None]
    places = _solve(everything, priors, fixed, np.tile(start, (len(folds), 1)), seen).place
    found = _log_rates(priors, fixed, places, observed.points)
    entries = np.arange(count)
    errors: FloatArray = found[entries % FOLDS, entries] - observed.log_rate[:count]
    return errors
