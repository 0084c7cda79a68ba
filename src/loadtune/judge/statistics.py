"""How sure a rate is, and a difference of two: everything in the logarithm, where a machine's slowing is a shift.

The model is a randomised complete block design (Montgomery, *Design and Analysis of Experiments*, ch. 4):
``log rate = configuration + block + error``. A block is a stretch of time in which each configuration is measured once.
The error is what differs between two trials of one configuration, and is pooled over all of them. What all trials of a
block share (the machine's mood) cancels in a comparison, and does not cancel in a rate.
"""

from __future__ import annotations

import itertools
import math
import statistics as plain
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from loadtune.judge.blocks import fit_blocks
from loadtune.record.results import Interval

Key = TypeVar("Key", bound=Hashable)

PRIOR_TRIAL_SD = 0.05
"""Spread of one configuration's trials where nothing was measured twice: what a shared machine showed."""
LEAST_DF = 3.0
"""Degrees of freedom of a difference's noise; what the trials lack of it is ``PRIOR_TRIAL_SD``."""
PRIOR_WINDOWS = 4
"""Weight, in degrees of freedom, of what all trials say about noise against what one says about its own."""
MAX_AUTOCORRELATION = 0.9
CLEAR_TREND = 0.995
"""Confidence, to one side, at which a trend is taken for real: 2.6 standard errors from zero with many trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One trial's worth of evidence on one configuration."""

    block: int
    at_seconds: float
    """Middle of the trial, in seconds of measuring since the first one."""
    log_rate: float
    """Natural logarithm of samples per second."""
    window_variance: float = 0.0
    """Variance of one window's rate, as a square of a share of the rate."""
    windows: float = 1.0
    """Windows that this one is worth when they were independent."""
    window_df: int = 0
    """Degrees of freedom of ``window_variance``; 0 with a single window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What all configurations together say about noise; variances of a log rate."""

    error_variance: float = 0.0
    """Between trials of one configuration, less what their block shares."""
    error_df: float = 0.0
    trial_variance: float = 0.0
    """Between trials of one configuration, blocks and all."""
    trial_df: float = 0.0
    """By Satterthwaite (Biometrics Bulletin 2, 1946) where it is a sum of two mean squares."""
    window_variance: float = 0.0
    """Of a single window within a trial."""
    window_df: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The log ratio of two configurations' rates, with its uncertainty."""

    log_ratio: float
    standard_error: float
    df: float
    pairs: int
    """Blocks that both were measured in; 0 when they were compared unpaired."""

    def upper(self, confidence: float = 0.95) -> float:
        """Return the one-sided upper bound of the log ratio."""
        return self.log_ratio + student_t(confidence, self.df) * self.standard_error

    def ratio(self) -> Interval:
        """Return the ratio with its 95 % interval."""
        half = student_t(0.975, self.df) * self.standard_error
        low, high = self.log_ratio - half, self.log_ratio + half
        return Interval(estimate=math.exp(self.log_ratio), low=math.exp(low), high=math.exp(high))


def student_t(probability: float, df: float) -> float:
    """Return the quantile of Student's t; with less than one degree of freedom, that of one."""
    from scipy.special import stdtrit  # noqa: PLC0415 - costs start-up where nothing was measured yet

    return float(stdtrit(max(df, 1.0), probability))


def window_noise(rates: Sequence[float]) -> tuple[float, float, int]:
    """Return the relative variance of one window, the windows these are worth, and the degrees of freedom.

    Neighbouring windows resemble each other, so n windows are worth n·(1−r)/(1+r) with r their lag-1 autocorrelation
    (Bayley and Hammersley, JRSS Suppl. 8, 1946); r is corrected for its bias of −1/n and never taken as helpful.
    """
    count = len(rates)
    mean = sum(rates) / count if count else 0.0
    if count < 2 or mean <= 0:  # noqa: PLR2004 - a spread needs two
        return 0.0, float(max(count, 1)), 0
    deviations = [rate / mean - 1 for rate in rates]
    square_sum = sum(deviation**2 for deviation in deviations)
    if square_sum == 0:
        return 0.0, float(count), count - 1
    lagged = sum(first * second for first, second in itertools.pairwise(deviations)) / square_sum
    correlation = min(max(lagged + 1 / count, 0.0), MAX_AUTOCORRELATION) if count > 3 else 0.0  # noqa: PLR2004
    worth = max(1.0, count * (1 - correlation) / (1 + correlation))
    return square_sum / (count - 1), worth, count - 1


def spread(table: Mapping[Key, Sequence[Repeat]]) -> Spread:
    """Return the noise that all configurations in ``table`` show together; no freedom where none is known."""
    fit = fit_blocks({key: [(one.block, one.log_rate) for one in repeats] for key, repeats in table.items()})
    everything = [one for repeats in table.values() for one in repeats]
    window_df = sum(one.window_df for one in everything)
    window_variance = sum(one.window_df * one.window_variance for one in everything) / window_df if window_df else 0.0
    trial_variance, trial_df = fit.trial_variance()
    return Spread(
        error_variance=fit.error_variance,
        error_df=fit.error_df,
        trial_variance=trial_variance,
        trial_df=trial_df,
        window_variance=window_variance,
        window_df=window_df,
    )


def estimate(repeats: Sequence[Repeat], noise: Spread) -> Interval:
    """Return a configuration's rate in samples per second with its 95 % interval.

    The estimate is the geometric mean of the repeats. The half-width is the larger of two, so that it is never narrower
    than either implies: Student's t on the spread between trials pooled over all configurations (with one repeat too,
    as long as any configuration was repeated), and Student's t on the noise of its own windows. The latter is moderated
    towards the pooled one with a weight of four windows (Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004), since two
    windows alone say almost nothing. Where nothing at all was repeated only the windows speak.
    """
    centre = plain.fmean(one.log_rate for one in repeats)
    half = 0.0
    if noise.trial_df > 0:
        half = student_t(0.975, noise.trial_df) * math.sqrt(noise.trial_variance / len(repeats))
    variance, df = _window_part(repeats, noise)
    if df > 0:
        half = max(half, student_t(0.975, df) * math.sqrt(variance))
    return Interval(estimate=math.exp(centre), low=math.exp(centre - half), high=math.exp(centre + half))


def _window_part(repeats: Sequence[Repeat], noise: Spread) -> tuple[float, float]:
    """Return the variance of a mean log rate that the windows of its trials imply, and its degrees of freedom."""
    own_df = sum(one.window_df for one in repeats)
    prior_df = min(PRIOR_WINDOWS, noise.window_df)
    if own_df + prior_df == 0:
        return 0.0, 0.0
    own = sum(one.window_df * one.window_variance for one in repeats)
    one_window = (own + prior_df * noise.window_variance) / (own_df + prior_df)
    return one_window * sum(1 / one.windows for one in repeats) / len(repeats) ** 2, own_df + prior_df


def difference(first: Sequence[Repeat], second: Sequence[Repeat], noise: Spread) -> Difference:
    """Return the log ratio of ``first`` to ``second``, paired over the blocks that have both.

    The variance of a paired difference is twice the pooled error, moderated by the pairs' own spread, and never less
    than the windows imply. Where little was measured twice ``_moderated`` fills up what is lacking. Without a common
    block the means are compared, and what blocks share no longer cancels.
    """
    ours, theirs = _by_block(first), _by_block(second)
    common = sorted(set(ours) & set(theirs))
    windows = _window_part(first, noise)[0] + _window_part(second, noise)[0]
    if not common:
        variance, df = _moderated(noise.trial_variance, noise.trial_df)
        shift = plain.fmean(ours.values()) - plain.fmean(theirs.values())
        error = math.sqrt(max(variance * (1 / len(ours) + 1 / len(theirs)), windows))
        return Difference(log_ratio=shift, standard_error=error, df=df, pairs=0)
    gaps = [ours[block] - theirs[block] for block in common]
    variance, df = _pair_variance(gaps, noise)
    error = math.sqrt(max(variance / len(gaps), windows))
    return Difference(log_ratio=plain.fmean(gaps), standard_error=error, df=df, pairs=len(gaps))


def _moderated(variance: float, df: float) -> tuple[float, float]:
    """Return a variance between trials with ``LEAST_DF`` degrees of freedom at least, and those.

    One or two say little: by chance two trials are as good as equal, and by their own degrees of freedom an interval
    has no end. What they lack is filled up with ``PRIOR_TRIAL_SD``; what was seen beyond that is never made less.
    """
    lacking = LEAST_DF - df
    if lacking <= 0:
        return variance, df
    return max(variance, (df * variance + lacking * PRIOR_TRIAL_SD**2) / LEAST_DF), LEAST_DF


def _by_block(repeats: Sequence[Repeat]) -> dict[int, float]:
    blocks = dict.fromkeys(one.block for one in repeats)
    return {block: plain.fmean(one.log_rate for one in repeats if one.block == block) for block in blocks}


def _pair_variance(gaps: Sequence[float], noise: Spread) -> tuple[float, float]:
    """Return the variance of one paired difference and its degrees of freedom."""
    if noise.error_df <= 0:  # what blocks share cannot be told from what they do not: all of it may be error
        variance, df = _moderated(noise.trial_variance, noise.trial_df)
        return 2 * variance, df
    own_df = len(gaps) - 1
    own = own_df * plain.variance(gaps) if own_df else 0.0
    pooled_df = max(noise.error_df - own_df, min(noise.error_df, 1.0))
    df = own_df + pooled_df
    variance, df = _moderated((own / 2 + pooled_df * noise.error_variance) / df, df)
    return 2 * variance, df


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How the machine's speed changed during the run, by the configurations that were measured more than once."""

    log_per_second: float
    standard_error: float
    seconds: float
    """Measuring time that the trend was seen over."""
    df: float

    @property
    def clear(self) -> bool:
        """Whether it can be told from no change."""
        return abs(self.log_per_second) > student_t(CLEAR_TREND, self.df) * self.standard_error

    @property
    def total_share(self) -> float:
        """Change of the rate over the whole time, as a share: −0.1 is 10 % slower at the end."""
        return math.expm1(self.log_per_second * self.seconds)


def trend(table: Mapping[Key, Sequence[Repeat]]) -> Trend | None:
    """Return the slope of log rate on time that is common to all configurations; None with too few repeats.

    Least squares with a level for each configuration and one slope (analysis of covariance).
    """
    points = [
        (
            one.at_seconds - plain.fmean(r.at_seconds for r in repeats),
            one.log_rate - plain.fmean(r.log_rate for r in repeats),
        )
        for repeats in table.values()
        if len(repeats) > 1
        for one in repeats
    ]
    df = len(points) - sum(len(repeats) > 1 for repeats in table.values()) - 1
    across = sum(x * x for x, _ in points)
    if df < 3 or across == 0:  # noqa: PLR2004 - fewer say nothing about a slope
        return None
    slope = sum(x * y for x, y in points) / across
    residual = sum((y - slope * x) ** 2 for x, y in points)
    times = [one.at_seconds for repeats in table.values() for one in repeats]
    error = math.sqrt(residual / df / across)
    return Trend(log_per_second=slope, standard_error=error, seconds=max(times) - min(times), df=df)


def without_trend(
    table: Mapping[Key, Sequence[Repeat]], told_by: Mapping[Key, Sequence[Repeat]] | None = None
) -> dict[Key, tuple[Repeat, ...]]:
    """Return the table with a clear common trend taken out, for comparing; unchanged where there is none.

    Blocks cancel what differs between them; a machine that slows *within* a block favours whoever came first in it.
    The rates are those of the machine as it was in the last trial. ``told_by`` is what the trend is read from: each
    trial once.
    """
    found = trend(table if told_by is None else told_by)
    if found is None or not found.clear:
        return {key: tuple(repeats) for key, repeats in table.items()}
    slope, end = found.log_per_second, max(one.at_seconds for repeats in table.values() for one in repeats)
    return {
        key: tuple(replace(one, log_rate=one.log_rate - slope * (one.at_seconds - end)) for one in repeats)
        for key, repeats in table.items()
    }
