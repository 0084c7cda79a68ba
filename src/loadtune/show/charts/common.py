"""What the charts share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from loadtune.record.results import TrialResult

Point = TypeVar("Point")

STEADY_AXIS = "steady rate (samples/s)"
"""What an axis of rates and a column of them is called: beside it stand rates over an epoch, which are lower."""

MOST_DRAWN = 120
"""More points than this lie over each other, and make a page that is mailed too large."""

Mark = Literal["pick", "front", "over", "failed", "plain"]
"""What a point is: the pick, on the Pareto front, over a limit, without a number, or nothing special."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """What a chart shows, as text: a header and rows of as many cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def mark_of(trial: TrialResult, *, front: bool = False) -> Mark:
    """Return what the point of a measured row is; ``front`` says whether it is on the Pareto front."""
    if trial.chosen:
        return "pick"
    if trial.within_limits is False:
        return "over"
    return "front" if front else "plain"


def batch_label(trial: TrialResult) -> str:
    """Return the batch size as a label; ``own`` where the data set forms its batches."""
    return "own" if trial.batch_size is None else str(trial.batch_size)


def thinned(points: Sequence[Point], keep: Callable[[Point], bool], most: int = MOST_DRAWN) -> tuple[Point, ...]:
    """Return at most ``most`` points to draw, evenly chosen, with those to ``keep``: the table beside has them all."""
    if len(points) <= most:
        return tuple(points)
    step = len(points) / most
    even = {int(place * step) for place in range(most)}
    return tuple(point for place, point in enumerate(points) if place in even or keep(point))
