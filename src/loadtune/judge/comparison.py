"""Two runs of one data set on one machine: what became faster or slower, and whether that is more than noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtune.describe.config import LoaderConfig
from loadtune.record.results import Interval, RunResult, TrialResult

Change = Literal["improved", "regressed", "within noise", "no change"]
Rate = Literal["over an epoch", "steady"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One configuration in both runs, or the pick of one beside the pick of the other."""

    name: Literal["the pick of the base", "the picks", "same settings"]
    base: TrialResult
    new: TrialResult
    rate: Rate
    """Which rate is compared: that over an epoch, which a choice goes by, or the steady one where a run has none."""
    ratio: Interval
    """Rate of the new run over that of the base, with its 95 % interval."""
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that two runs have in common."""

    deciding: tuple[Compared, ...]
    """What a regression is judged by: the pick of the base in both runs, and the pick of each."""
    others: tuple[Compared, ...]
    """Every other configuration that both measured, the largest change first."""
    threshold: float
    """Changes that may be smaller than this share count as noise."""


def compared(base: RunResult, new: RunResult, *, threshold: float) -> Comparison:
    """Return how the rates of ``new`` stand against those of ``base``.

    Compared is the rate that a choice goes by: over an epoch, so that workers which start more slowly are a loss, and
    steady where one of the runs has no other. The interval of a ratio comes from those of the two rates, taken as
    independent and symmetric in the logarithm. What lies between two days on one machine (clock, temperature,
    neighbours) is in neither of them.

    Args:
        base: What is compared with.
        new: What is compared.
        threshold: The smallest change worth a word, as a share.
    """
    ours = {row.config: row for row in new.trials if _is_measured(row)}
    pairs = [(row, ours[row.config]) for row in base.trials if _is_measured(row) and row.config in ours]
    deciding = tuple(_deciding(base, new, pairs, threshold))
    named = {one.base.config.steady for one in deciding if one.base.config == one.new.config}
    seen: set[LoaderConfig] = set()
    others = []
    for before, after in pairs:
        # Rows that differ in drop_last alone share their trials.
        if before.config.steady not in named | seen:
            seen.add(before.config.steady)
            others.append(_one("same settings", before, after, threshold))
    others.sort(key=lambda one: abs(math.log(one.ratio.estimate)), reverse=True)
    return Comparison(deciding=deciding, others=tuple(others), threshold=threshold)


def regression(found: Comparison, above: float) -> Compared | None:
    """Return what became slower by more than the share ``above`` and surely slower at all; None where nothing did."""
    worse = [one for one in found.deciding if one.ratio.estimate < 1 - above and one.ratio.high < 1]
    return min(worse, key=lambda one: one.ratio.estimate, default=None)


def rate_of(row: TrialResult, rate: Rate) -> float:
    """Return one of the two rates of a measured row, in samples per second."""
    return (row.epoch_samples_per_second if rate == "over an epoch" else row.samples_per_second) or 0.0


def ratio_of(base: TrialResult, new: TrialResult, rate: Rate) -> Interval:
    """Return a rate of ``new`` over that of ``base``, with its 95 % interval.

    A rate over an epoch has no interval of its own: it is taken to be as wide as that of the steady rate, relative to
    it.
    """
    estimate = math.log(rate_of(new, rate) / rate_of(base, rate))
    half = math.hypot(_half_width(base), _half_width(new))
    return Interval(estimate=math.exp(estimate), low=math.exp(estimate - half), high=math.exp(estimate + half))


def change_of(ratio: Interval, threshold: float) -> Change:
    """Return what a ratio with its interval says.

    ``no change``: the interval holds 1. ``improved`` and ``regressed``: the whole interval is beyond the threshold.
    ``within noise``: between these, a change that may be too small to matter (after criterion.rs).
    """
    if not (ratio.low > 1 or ratio.high < 1):
        return "no change"
    if ratio.low > 1 + threshold:
        return "improved"
    return "regressed" if ratio.high < 1 - threshold else "within noise"


def _deciding(
    base: RunResult, new: RunResult, pairs: Sequence[tuple[TrialResult, TrialResult]], threshold: float
) -> Iterator[Compared]:
    if base.best is None or new.best is None:
        return
    before, after = base.trial(base.best.config_id), new.trial(new.best.config_id)
    same = next((pair for pair in pairs if before is not None and pair[0].config == before.config), None)
    if same is not None:
        yield _one("the pick of the base", *same, threshold)
    if before is not None and after is not None and before.config != after.config:
        yield _one("the picks", before, after, threshold)


def _one(
    name: Literal["the pick of the base", "the picks", "same settings"],
    base: TrialResult,
    new: TrialResult,
    threshold: float,
) -> Compared:
    rate: Rate = "over an epoch" if base.epoch_samples_per_second and new.epoch_samples_per_second else "steady"
    ratio = ratio_of(base, new, rate)
    return Compared(name=name, base=base, new=new, rate=rate, ratio=ratio, change=change_of(ratio, threshold))


def _is_measured(row: TrialResult) -> bool:
    return row.status == "ok" and bool(row.samples_per_second)


def _half_width(row: TrialResult) -> float:
    """Return the half-width of the steady interval as a log ratio, the wider side; infinite where it reaches 0."""
    rate, low, high = row.samples_per_second or 0.0, row.samples_per_second_low, row.samples_per_second_high
    if low is None or high is None:
        return 0.0
    return max(math.log(high / rate), math.log(rate / low) if low > 0 else math.inf)
