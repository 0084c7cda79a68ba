"""From rows to one configuration: limits, then the best, then the cheapest of those that are no slower."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge import memory
from loadtune.judge.contest import Contest, contest
from loadtune.judge.evidence import by_group, deciding, group_of, measured
from loadtune.judge.growth import survey
from loadtune.judge.last_batch import is_sibling, settled
from loadtune.judge.outlook import outlook
from loadtune.judge.statistics import Difference
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
    baseline_is_given: bool = False
    """Whether the baseline is that of a loader that was given."""
    tied: tuple[str, ...] = ()
    """No slower than the best, as far as can be told; the cheapest first."""
    gain: Interval | None = None
    """Rate of the chosen over the baseline's: over a whole epoch where N is known, else steady."""
    behind_chosen: Difference | None = None
    """Of the fastest over the chosen."""
    ahead_of_chosen: Mapping[str, Difference] = field(default_factory=dict)
    """Of every other row within the limits over the chosen."""
    over_limits: Mapping[str, Difference] = field(default_factory=dict)
    """Of every measured row that is over a limit over the chosen."""
    unasked: frozenset[str] = frozenset()
    """Rows that could not be chosen, as their settings are not among the values asked for."""
    tie: float = 0.0
    """Rates no further apart than this share count as equal."""
    verified: bool = False
    """Whether the chosen one was measured again after it was picked out."""


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
    pool = [row for row in judged if _may_be_chosen(row, game, eligible, excluded)]
    if not pool:
        return Choice(rows=with_pareto(judged), baseline=baseline, baseline_is_given=probe.baseline_is_given)
    final = _final(pool, game, tie, probe.baseline)
    fastest = max(final, key=lambda row: (game.levels[row.config_id], -row.num_workers))
    tied = sorted(
        (row for row in pool if is_tied(game.against(row.config_id, fastest.config_id), tie)),
        key=cost,
    )
    names = {row.config_id for row in final}
    cheapest = next(row for row in tied if row.config_id in names)
    chosen = settled(cheapest, final, game, usual=probe.baseline.drop_last, tie=tie)
    if _same_epoch(chosen, fastest) or is_sibling(game, chosen, fastest, tie=tie):
        fastest = chosen
    choice = _choice(judged, game, chosen=chosen, fastest=fastest, tied=tied, baseline=baseline, tie=tie)
    unasked = frozenset(row.config_id for row in judged if eligible is not None and row.config not in eligible)
    return replace(choice, unasked=unasked, baseline_is_given=probe.baseline_is_given)


def _may_be_chosen(
    row: TrialResult, game: Contest[str], eligible: Collection[LoaderConfig] | None, excluded: Collection[str]
) -> bool:
    return (
        row.within_limits is True
        and row.config_id in game.table
        and row.config_id not in excluded
        and (eligible is None or row.config in eligible)
    )


def _same_epoch(row: TrialResult, other: TrialResult) -> bool:
    """Return whether two rows differ in ``drop_last`` at most and in nothing that an epoch does."""
    same = row.batches_per_epoch == other.batches_per_epoch or row.epoch_seconds == other.epoch_seconds
    return row.config.steady == other.config.steady and same


def _final(
    pool: Sequence[TrialResult], game: Contest[str], tie: float, baseline: LoaderConfig
) -> Sequence[TrialResult]:
    """Return the rows that can be chosen: those measured again, unless another is told to be faster than all of them.

    The baseline, which nobody picked out, needs no second look. Where nothing else had one, as in a verification that
    the time budget cut short, it is chosen from alone only if it is tied with the best.
    """
    again = [row for row in pool if row.config_id in game.verified or row.config.steady == baseline.steady]
    rest = [row for row in pool if row not in again]
    if not rest or not any(row.config_id in game.verified for row in again):
        return pool
    best, rival = (max(rows, key=lambda row: game.levels[row.config_id]).config_id for rows in (again, rest))
    if all(row.config.steady == baseline.steady for row in again):
        return again if is_tied(game.against(best, rival), tie) else pool
    return pool if told_faster(game.against(rival, best), tie) else again


def _choice(
    judged: Sequence[TrialResult],
    game: Contest[str],
    *,
    chosen: TrialResult,
    fastest: TrialResult,
    tied: Sequence[TrialResult],
    baseline: str | None,
    tie: float,
) -> Choice:
    ids = tuple(dict.fromkeys([*(row.config_id for row in tied), chosen.config_id]))
    marked = [
        replace(
            row,
            tied_with_best=row.config_id in ids,
            chosen=row.config_id == chosen.config_id,
            rate_over_pick=_over(game, row.config_id, chosen.config_id),
        )
        for row in judged
    ]
    return Choice(
        rows=with_pareto(marked),
        chosen=chosen.config_id,
        fastest=fastest.config_id,
        baseline=baseline,
        tied=ids,
        gain=_over(game, chosen.config_id, baseline),
        behind_chosen=game.against(fastest.config_id, chosen.config_id),
        ahead_of_chosen=_ahead((row for row in judged if row.within_limits), game, chosen),
        over_limits=_ahead((row for row in judged if row.within_limits is False), game, chosen),
        tie=tie,
        verified=chosen.config_id in game.verified,
    )


def _ahead(rows: Iterable[TrialResult], game: Contest[str], chosen: TrialResult) -> dict[str, Difference]:
    ids = (row.config_id for row in rows if row.config_id != chosen.config_id)
    return {key: game.against(key, chosen.config_id) for key in ids if key in game.table}


def _over(game: Contest[str], row: str, other: str | None) -> Interval | None:
    """Return the ratio of two rows' rates; None where one of them has none."""
    if other is None or row not in game.table or other not in game.table:
        return None
    return Interval(estimate=1.0, low=1.0, high=1.0) if row == other else game.against(row, other).ratio()


def told_faster(ahead: Difference, tie: float) -> bool:
    """Return whether one is faster than another by more than the tie, beyond the noise (one-sided 99 %).

    What is asked about is mostly the best of several, and flattered by that.
    """
    return 2 * ahead.log_ratio - ahead.upper(0.99) > math.log1p(tie)


def is_tied(ahead: Difference, tie: float) -> bool:
    """Return whether a row that is ``ahead`` of the best by this log ratio counts as no slower.

    A row measured in no block that the best was in is judged by its estimate alone.
    """
    if ahead.log_ratio >= math.log1p(-tie):
        return True
    if ahead.pairs == 0 or ahead.log_ratio < math.log1p(-GIVE_AWAY * tie):
        return False
    return ahead.upper() >= math.log1p(-tie)


def is_open(over_chosen: Interval, tie: float) -> bool:
    """Return whether it is left open that a row is no slower than the chosen one by more than the tie.

    Args:
        over_chosen: Its rate over that of the chosen one, with the 95 % interval.
        tie: Rates no further apart than this share count as equal.
    """
    return over_chosen.high > 1 - tie


def cost(row: TrialResult) -> tuple[float, ...]:
    """Return what a configuration costs, to sort by.

    Fewest workers, then fewest bytes in flight (P·W + 1 batches), then no pinning, then every sample kept, then the
    smaller batch, then plain settings.
    """
    in_flight = row.config.batches_at_once * (row.bytes_per_batch or float(row.batch_size or 0))
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
        small_enough = max_batch_size is None or (row.batch_size or 0) <= max_batch_size
        fits = small_enough and memory.within_limits(
            host_peak_bytes=row.host_peak_bytes,
            projected_bytes=ahead.worst_bytes,
            gpu_peak_bytes=row.gpu_peak_bytes,
            limits=limits,
        )
        return replace(row, predicted_host_peak_bytes=ahead.epoch_bytes, within_limits=fits)

    return tuple(judged(row) for row in rows)


def with_pareto(rows: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """Return the rows with ``pareto`` set where no other is faster without needing more host memory, nor less needy."""
    points = {
        row.config_id: (rate, needed)
        for row in rows
        if row.status == "ok"
        and (needed := memory.needed_bytes(row)) is not None
        and (rate := judged_rate(row)) is not None
    }

    best: set[tuple[float, int]] = set()
    fastest = 0.0
    for rate, peak in sorted(set(points.values()), key=lambda point: (point[1], -point[0])):
        if rate > fastest:
            best.add((rate, peak))
            fastest = rate
    return tuple(replace(row, pareto=True) if points.get(row.config_id) in best else row for row in rows)


def judged_rate(row: TrialResult) -> float | None:
    """Return the rate that a row is judged by: over an epoch, else steady; samples per second."""
    return row.samples_per_second if row.epoch_samples_per_second is None else row.epoch_samples_per_second
