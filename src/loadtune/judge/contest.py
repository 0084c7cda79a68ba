"""One set of evidence for each configuration, and one scale for all: what the table, the gain and the choice go by.

Trials that were made after a configuration was picked out are its evidence as soon as there are enough of them, since
the ones that it was picked out by are flattered; until then all of its trials are. What a block of trials shares (a
machine that was slow for a while) is taken out of every rate by one fit, so that two rates of one table, the ratio that
is printed of them and the sentence that calls one faster agree.
"""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from loadtune.describe.config import LoaderConfig
from loadtune.judge.blocks import block_effects
from loadtune.judge.evidence import by_group, group_of, is_verified, measured, middles, objective_of, repeats, steady_of
from loadtune.judge.statistics import Difference, Repeat, Spread, difference, estimate, spread, without_trend
from loadtune.record.results import Interval, Probe, TrialRecord, TrialResult

Key = TypeVar("Key", bound=Hashable)

LEAST_ERROR_SHARE = 0.01
"""The noise between trials counts as at least this share of that between blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest(Generic[Key]):
    """The rates that are compared, of everything that has one."""

    table: Mapping[Key, tuple[Repeat, ...]]
    """The evidence: fresh repeats where there are enough, else all."""
    levels: Mapping[Key, float]
    """Log rate of each, what its blocks share taken out."""
    noise: Spread
    verified: frozenset[Key]
    """Those whose evidence is fresh."""

    def standing(self, keys: Collection[Key]) -> dict[Key, float]:
        """Return the log rate of each of ``keys``."""
        return {key: self.levels[key] for key in keys}

    def against(self, first: Key, second: Key) -> Difference:
        """Return the difference of two: of their levels, as sure as their common blocks make it."""
        found = difference(self.table[first], self.table[second], self.noise)
        return replace(found, log_ratio=self.levels[first] - self.levels[second])

    def rate(self, key: Key) -> Interval:
        """Return a rate in samples per second with its 95 % interval."""
        raw = estimate(self.table[key], self.noise)
        scale = math.exp(self.levels[key]) / raw.estimate
        return Interval(estimate=raw.estimate * scale, low=raw.low * scale, high=raw.high * scale)


def contest(rows: Iterable[TrialResult], records: Sequence[TrialRecord], probe: Probe) -> Contest[str]:
    """Return what the rows with a rate are compared by: the rate over an epoch, or steady where N is unknown."""
    configs = (row.config for row in rows if row.status == "ok" and row.samples_per_second is not None)
    return epoch_contest(configs, records, probe)


def epoch_contest(configs: Iterable[LoaderConfig], records: Sequence[TrialRecord], probe: Probe) -> Contest[str]:
    """Return the contest of these configurations, by their ids."""
    groups, at = by_group(records), middles(records)
    named = {config.config_id: config for config in configs}
    found = {
        key: repeats(groups.get(group_of(config), []), objective_of(config, probe), at) for key, config in named.items()
    }
    return _contest(found, {key: group_of(config) for key, config in named.items()}, records, probe)


def steady_contest(records: Sequence[TrialRecord], probe: Probe) -> Contest[LoaderConfig]:
    """Return the steady rates of all groups that have one."""
    at = middles(records)
    found = {group: repeats(trials, steady_of, at) for group, trials in by_group(records).items()}
    return _contest(found, {group: group for group in found}, records, probe)


def _contest(
    found: Mapping[Key, tuple[Repeat, ...]],
    groups: Mapping[Key, LoaderConfig],
    records: Sequence[TrialRecord],
    probe: Probe,
) -> Contest[Key]:
    rated = {key: each for key, each in found.items() if each}
    # Rows that differ in drop_last alone share their trials: those count once.
    single = {groups[key]: key for key in reversed(rated)}.values()
    level = without_trend(rated, {key: rated[key] for key in single})
    once = {key: level[key] for key in single}
    trials = by_group(records)
    fresh = {r.block for each in trials.values() for r in measured(each) if r.phase == "verify"}
    verified = frozenset(key for key in level if is_verified(trials[groups[key]]))
    noise = spread(once)
    selected = {key for key in once if key in verified and groups[key] != probe.baseline.steady}
    moods = _moods(once, fresh, selected, verified, noise)
    evidence = {
        key: tuple(one for one in each if key not in verified or one.block in fresh) for key, each in level.items()
    }
    return Contest(
        table=evidence,
        levels={
            key: plain.fmean(one.log_rate - moods.get(one.block, 0.0) for one in each) for key, each in evidence.items()
        },
        noise=noise,
        verified=verified,
    )


def _moods(
    table: Mapping[Key, tuple[Repeat, ...]],
    fresh: Collection[int],
    selected: Collection[Key],
    verified: Collection[Key],
    noise: Spread,
) -> dict[int, float]:
    """Return what each block shares, in the logarithm.

    What was picked out was flattered before: it does not say how the blocks before compare with those after. The
    fresh trials of what was verified share nothing in the mean, so that the printed rates are what those gave.
    """
    of_blocks = noise.trial_variance - noise.error_variance
    if noise.error_df <= 0 or of_blocks <= 0:
        return {}
    parts: dict[Hashable, list[tuple[int, float]]] = {}
    for key, each in table.items():
        for one in each:
            part = (key, key in selected and one.block in fresh)
            parts.setdefault(part, []).append((one.block, one.log_rate))
    effects = block_effects(parts, max(noise.error_variance / of_blocks, LEAST_ERROR_SHARE))
    printed = [
        effects.get(one.block, 0.0)
        for key, each in table.items()
        for one in each
        if not verified or (key in verified and one.block in fresh)
    ]
    scale = plain.fmean(printed) if printed else 0.0
    return {one.block: effects.get(one.block, 0.0) - scale for each in table.values() for one in each}
