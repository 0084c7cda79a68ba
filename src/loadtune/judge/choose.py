"""From rows to one configuration: limits, then the best, then the cheapest of those that are no slower."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge import memory
from loadtune.judge.evidence import by_group, deciding, group_of, is_verified, measured, middles, objective_of, repeats
from loadtune.judge.growth import survey
from loadtune.judge.outlook import outlook
from loadtune.judge.statistics import (
    Difference,
    Repeat,
    Spread,
    adjusted_means,
    difference,
    spread,
    without_trend,
)
from loadtune.record.results import Interval, MemoryLimits, Probe, TrialRecord, TrialResult

GIVE_AWAY = 2.5
"""A tie by lack of evidence never costs more than this many times ``tie``, by estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a sweep chose and why; ids name rows."""

    rows: tuple[TrialResult, ...]
    """All rows with ``within_limits``, ``pareto``, ``tied_with_best`` and ``chosen`` filled in."""
    chosen: str | None = None
    """None where nothing was measured that meets the limits."""
    fastest: str | None = None
    baseline: str | None = None
    tied: tuple[str, ...] = ()
    """No slower than the best, as far as can be told; the cheapest first."""
    gain: Interval | None = None
    """Rate of the chosen over the baseline's: over a whole epoch where N is known, else steady."""
    behind_chosen: Difference | None = None
    """Of the fastest over the chosen."""
    verified: bool = False
    """Whether the chosen one was measured again after it was picked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The rates that are compared, of every row that has one."""

    table: dict[str, tuple[Repeat, ...]]
    """Deciding repeats by row: those of the verification where there are any."""
    earlier: dict[str, tuple[Repeat, ...]]
    """Repeats from before the verification."""
    noise: Spread
    verified: frozenset[str]

    def standing(self, ids: Collection[str]) -> dict[str, float]:
        """Return the mean log rate of each row, blocks taken out, comparable among ``ids``: of like evidence."""
        table = self.table if self.verified.issuperset(ids) else self.earlier
        return adjusted_means({key: table[key] or self.table[key] for key in ids})

    def against(self, first: str, second: str) -> Difference:
        """Return the difference of two rows on like evidence: fresh with fresh, else what came before."""
        if {first, second} <= self.verified or not {first, second} & self.verified:
            return difference(self.table[first], self.table[second], self.noise)
        ours, theirs = self.earlier.get(first, ()), self.earlier.get(second, ())
        if not ours or not theirs:
            return difference(self.table[first], self.table[second], self.noise)
        return difference(ours, theirs, self.noise)


def contest(rows: Sequence[TrialResult], records: Sequence[TrialRecord], probe: Probe) -> Contest:
    """Return what the rows with a rate are compared by: the rate over an epoch, or steady where N is unknown."""
    groups, at = by_group(records), middles(records)
    everything: dict[str, tuple[Repeat, ...]] = {}
    for row in rows:
        if row.status == "ok" and row.samples_per_second is not None:
            found = repeats(groups.get(group_of(row.config), []), objective_of(row.config, probe), at)
            if found:
                everything[row.config_id] = found
    level = without_trend(everything)
    fresh = {r.block for trials in groups.values() for r in measured(trials) if r.phase == "verify"}
    rows_by_id = {row.config_id: row for row in rows}
    verified = frozenset(key for key in level if is_verified(groups[group_of(rows_by_id[key].config)]))
    firsts = {
        group_of(rows_by_id[key].config): key for key in reversed(level)
    }  # siblings share trials: count them once
    return Contest(
        table={k: tuple(x for x in v if (x.block in fresh) == (k in verified)) for k, v in level.items()},
        earlier={k: tuple(x for x in v if x.block not in fresh) for k, v in level.items()},
        noise=spread({key: level[key] for key in firsts.values()}),
        verified=verified,
    )


def choose(
    rows: Sequence[TrialResult],
    records: Sequence[TrialRecord],
    *,
    limits: MemoryLimits,
    tie: float,
    probe: Probe,
    max_batch_size: int | None = None,
    eligible: Collection[LoaderConfig] | None = None,
    excluded: Collection[str] = (),
) -> Choice:
    """Return the choice among ``rows`` by what ``records`` say.

    In are rows with status ok, a rate, and every limited peak measured and under its limit, at an epoch's end too.
    Where some of them were measured again after the race, only those can be chosen. Tied with the fastest is a row
    whose estimate is within ``tie`` of it, or of which the data cannot exclude that (one-sided 95 %, paired over common
    blocks), up to ``GIVE_AWAY``·tie by estimate. Of those tied the cheapest is chosen: see ``cost``.

    Args:
        rows: From ``summarise``.
        records: All trials.
        limits: In force, in bytes.
        tie: Rates no further apart than this share count as equal.
        probe: N, and the baseline's settings.
        max_batch_size: Larger batches are over the limit.
        eligible: The settings that may be chosen; None is all of them. Others are only measured.
        excluded: Ids not to be chosen.
    """
    judged = _with_limits(rows, records, limits, max_batch_size, probe)
    baseline = next((row.config_id for row in judged if row.config == probe.baseline), None)
    game = contest(judged, records, probe)
    pool = [
        row
        for row in judged
        if row.within_limits
        and row.config_id in game.table
        and row.config_id not in excluded
        and (eligible is None or row.config in eligible)
    ]
    if not pool:
        return Choice(rows=with_pareto(judged), baseline=baseline)
    final = _final(pool, game, tie)
    standing = game.standing([row.config_id for row in final])
    fastest = max(final, key=lambda row: (standing[row.config_id], -row.num_workers))
    ahead = {row.config_id: game.against(row.config_id, fastest.config_id) for row in pool}
    tied = sorted((row for row in pool if is_tied(ahead[row.config_id], tie)), key=cost)
    names = {row.config_id for row in final}
    chosen = next(row for row in tied if row.config_id in names)
    if _same_epoch(chosen, fastest):
        fastest = chosen
    return _choice(judged, game, chosen=chosen, fastest=fastest, tied=tied, baseline=baseline)


def _same_epoch(row: TrialResult, other: TrialResult) -> bool:
    """Return whether two rows differ in ``drop_last`` at most and in nothing that an epoch does."""
    same = row.batches_per_epoch == other.batches_per_epoch or row.epoch_seconds == other.epoch_seconds
    return row.config.steady == other.config.steady and same


def _final(pool: Sequence[TrialResult], game: Contest, tie: float) -> Sequence[TrialResult]:
    """Return the rows that can be chosen: those measured again, if one of the best is among them.

    A verification that the time budget cut short may hold nothing but the baseline; then what came before decides.
    """
    again = [row for row in pool if row.config_id in game.verified]
    before = adjusted_means({row.config_id: game.earlier[row.config_id] for row in pool if game.earlier[row.config_id]})
    if not again or not before:
        return again or pool
    best = game.earlier[max(before, key=lambda key: before[key])]
    compared = (difference(game.earlier[row.config_id], best, game.noise) for row in again if row.config_id in before)
    return again if any(is_tied(gap, tie) for gap in compared) else pool


def _choice(
    judged: Sequence[TrialResult],
    game: Contest,
    *,
    chosen: TrialResult,
    fastest: TrialResult,
    tied: Sequence[TrialResult],
    baseline: str | None,
) -> Choice:
    ids = tuple(row.config_id for row in tied)
    marked = [
        replace(row, tied_with_best=row.config_id in ids, chosen=row.config_id == chosen.config_id) for row in judged
    ]
    return Choice(
        rows=with_pareto(marked),
        chosen=chosen.config_id,
        fastest=fastest.config_id,
        baseline=baseline,
        tied=ids,
        gain=_gain(game, chosen.config_id, baseline),
        behind_chosen=game.against(fastest.config_id, chosen.config_id),
        verified=chosen.config_id in game.verified,
    )


def _gain(game: Contest, chosen: str, baseline: str | None) -> Interval | None:
    if baseline is None or baseline not in game.table:
        return None
    return Interval(estimate=1.0, low=1.0, high=1.0) if chosen == baseline else game.against(chosen, baseline).ratio()


def is_tied(ahead: Difference, tie: float) -> bool:
    """Return whether a row that is ``ahead`` of the best by this log ratio counts as no slower.

    A row measured in no block that the best was in is judged by its estimate alone.
    """
    if ahead.log_ratio >= math.log1p(-tie):
        return True
    if ahead.pairs == 0 or ahead.log_ratio < math.log1p(-GIVE_AWAY * tie):
        return False
    return ahead.upper() >= math.log1p(-tie)


def cost(row: TrialResult) -> tuple[float, ...]:
    """Return what a configuration costs, to sort by.

    Fewest workers, then fewest bytes in flight (P·W + 1 batches), then no pinning, then every sample kept, then the
    smaller batch, then plain settings.
    """
    in_flight = (row.config.batches_in_flight + 1) * (row.bytes_per_batch or float(row.batch_size or 0))
    return (
        row.num_workers,
        round(in_flight),
        row.pin_memory,
        row.drop_last,
        row.batch_size or 0,
        row.persistent_workers,
        not row.in_order,
        row.multiprocessing_context is not None,
    )


def _with_limits(
    rows: Sequence[TrialResult],
    records: Sequence[TrialRecord],
    limits: MemoryLimits,
    max_batch_size: int | None,
    probe: Probe,
) -> tuple[TrialResult, ...]:
    """Return the rows with ``within_limits``; it stays None for rows without a rate or a peak that is limited."""
    groups, grows = by_group(records), survey(records, probe)

    def judged(row: TrialResult) -> TrialResult:
        trials = deciding(groups.get(group_of(row.config), []))
        if not trials:
            return row
        ahead = outlook(
            row.config,
            measured(groups[group_of(row.config)]),
            grows,
            probe=probe,
            batches_per_epoch=row.batches_per_epoch,
        )
        row = replace(row, predicted_host_peak_bytes=ahead.epoch_bytes)
        if max_batch_size is not None and (row.batch_size or 0) > max_batch_size:
            return replace(row, within_limits=False)
        fits = memory.within_limits(
            host_peak_bytes=row.host_peak_bytes,
            projected_bytes=ahead.worst_bytes,
            gpu_peak_bytes=row.gpu_peak_bytes,
            limits=limits,
        )
        return replace(row, within_limits=fits)

    return tuple(judged(row) for row in rows)


def with_pareto(rows: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """Return the rows with ``pareto`` set where no other is faster without needing more host memory, nor less needy."""
    points = {
        row.config_id: (rate, row.host_peak_bytes)
        for row in rows
        if row.status == "ok" and row.host_peak_bytes is not None and (rate := judged_rate(row)) is not None
    }

    best: set[tuple[float, int]] = set()
    fastest = 0.0
    for rate, peak in sorted(set(points.values()), key=lambda point: (point[1], -point[0])):
        if rate > fastest:
            best.add((rate, peak))
            fastest = rate
    return tuple(replace(row, pareto=points.get(row.config_id) in best) for row in rows)


def judged_rate(row: TrialResult) -> float | None:
    """Return the rate that a row is judged by: over an epoch, else steady; samples per second."""
    return row.samples_per_second if row.epoch_samples_per_second is None else row.epoch_samples_per_second
