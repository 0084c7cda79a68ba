"""Whether the last batch is dropped: as the baseline does, unless an epoch is really better the other way."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Sequence

from loadtune.judge.contest import Contest
from loadtune.judge.statistics import PRIOR_TRIAL_SD, Difference
from loadtune.record.results import TrialResult


def settled(
    chosen: TrialResult, pool: Sequence[TrialResult], game: Contest[str], *, usual: bool, tie: float
) -> TrialResult:
    """Return ``chosen``, or the row that differs in ``drop_last`` alone where nothing tells the two apart.

    Args:
        chosen: What was picked out.
        pool: The rows that may be chosen.
        game: What they are compared by.
        usual: The baseline's value.
        tie: Rates no further apart than this share count as equal.
    """
    if chosen.drop_last == usual:
        return chosen
    others = (row for row in pool if row.config.steady == chosen.config.steady and row.drop_last == usual)
    other = next(others, None)
    if other is None:
        return chosen
    gap = epoch_gap(game, chosen, other)
    sure = gap.log_ratio > math.log1p(tie) and 2 * gap.log_ratio > gap.upper()
    return chosen if sure else other


def is_sibling(game: Contest[str], row: TrialResult, other: TrialResult, *, tie: float) -> bool:
    """Return whether two rows differ in ``drop_last`` alone, and by no more than the tie."""
    same = row.config.steady == other.config.steady
    return same and abs(epoch_gap(game, row, other).log_ratio) <= math.log1p(tie)


def epoch_gap(game: Contest[str], row: TrialResult, other: TrialResult) -> Difference:
    """Return how far one of two rows that share their trials is ahead.

    The noise of a trial is in both and cancels: what is left differs from trial to trial only where epochs were run.
    """
    ours, theirs = game.table[row.config_id], game.table[other.config_id]
    gaps = [one.log_rate - two.log_rate for one, two in zip(ours, theirs, strict=True)]
    several = len(gaps) > 1
    alone = PRIOR_TRIAL_SD * math.sqrt(2) if row.epoch_was_run else 0.0
    sd = plain.stdev(gaps) if several else alone
    return Difference(
        log_ratio=plain.fmean(gaps),
        standard_error=sd / math.sqrt(len(gaps)),
        df=len(gaps) - 1 if several else 1e6,
        pairs=len(gaps),
    )
