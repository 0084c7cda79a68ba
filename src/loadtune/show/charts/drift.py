"""Can the run be trusted: how its trials differ from each other, in the order they ran."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtune.judge.noise_findings import TELLING_DRIFT
from loadtune.record.results import RunResult
from loadtune.show.charts.common import DataTable
from loadtune.show.charts.svg import ACCENT, INK, PAGE, chart_of, to_svg
from loadtune.show.leaders import standing_trials
from loadtune.show.words import config_words, plain
from loadtune.units import format_count, format_rate, format_share

DRIFT = "LT002"
"""The finding that the machine's speed drifted."""
_LEAST = 3
"""Trials beyond one for each configuration that it takes to say anything."""
MOST_POINTS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPoint:
    """One trial, beside the others of its configuration."""

    order: int
    words: str
    phase: str
    samples_per_second: float
    deviation: float
    """Its rate over the geometric mean of its configuration's, less 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Every trial of a configuration that was measured more than once, in the order they ran."""

    points: tuple[RunPoint, ...]
    spread: float
    """Standard deviation of a trial about its configuration's mean, as a share."""
    says: str


def drift(result: RunResult) -> Drift | None:
    """Return how repeats differ, or None where too little was measured twice."""
    rows = [row for row in standing_trials(result) if len(row.runs) > 1]
    spare = sum(len(row.runs) - 1 for row in rows)
    if spare < _LEAST:
        return None
    points = []
    for row in rows:
        mean = sum(math.log(run.samples_per_second) for run in row.runs) / len(row.runs)
        points += [
            RunPoint(
                order=run.order,
                words=config_words(row.config),
                phase=run.phase,
                samples_per_second=run.samples_per_second,
                deviation=math.exp(math.log(run.samples_per_second) - mean) - 1,
            )
            for run in row.runs
        ]
    points.sort(key=lambda point: point.order)
    # Each configuration's own mean has used up one degree of freedom.
    spread = math.sqrt(sum(math.log1p(point.deviation) ** 2 for point in points) / spare)
    return Drift(points=_kept(points), spread=spread, says=_sentence(result, points, len(rows), spread))


def _kept(points: list[RunPoint]) -> tuple[RunPoint, ...]:
    """Return evenly chosen points where there are very many, those furthest off among them."""
    if len(points) <= MOST_POINTS:
        return tuple(points)
    far = sorted(points, key=lambda point: -abs(point.deviation))[: MOST_POINTS // 4]
    step = len(points) / (MOST_POINTS - len(far))
    even = {points[int(place * step)] for place in range(MOST_POINTS - len(far))}
    return tuple(point for point in points if point in even or point in far)


def _sentence(result: RunResult, points: list[RunPoint], count: int, spread: float) -> str:
    """Return how far trials lie from each other, and what the run's own finding says of a drift: there is one judge."""
    says = (
        f"{len(points)} trials of {count} configurations that were measured more than once differ in steady rate "
        f"from the mean of their configuration by {format_share(spread)} (standard deviation)"
    )
    told = next((finding for finding in result.findings if finding.code == DRIFT), None)
    if told is not None:
        return f"{says}; {plain(told.message)} ({DRIFT})."
    worst = max(points, key=lambda point: abs(point.deviation))
    return (
        f"{says}; no drift of {format_share(TELLING_DRIFT, 0)} or more is told over the run. The one furthest off, "
        f"{100 * worst.deviation:+.1f} %, was trial {worst.order + 1}, {worst.words}."
    )


def drift_table(chart: Drift) -> DataTable:
    """Return the trials in the order they ran."""
    rows = [
        (
            format_count(point.order + 1),
            point.words,
            point.phase,
            format_rate(point.samples_per_second),
            f"{100 * point.deviation:+.1f} %",
        )
        for point in chart.points
    ]
    return DataTable(header=("trial", "configuration", "phase", "steady rate", "against its mean"), rows=tuple(rows))


def draw_drift(chart: Drift) -> str:
    """Return each trial's deviation from its configuration's mean, in the order they ran, as SVG."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    rows = [
        {
            "order": point.order + 1,
            "deviation": 100 * point.deviation,
            "verify": point.phase == "verify",
            "description": f"trial {point.order + 1}, {point.words}: {100 * point.deviation:+.1f} %",
        }
        for point in chart.points
    ]
    x = alt.X("order:Q", title="trial, in the order they ran", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("deviation:Q", title="against its configuration's mean (%)")
    fill = alt.condition("datum.verify", alt.value(ACCENT), alt.value(INK))
    zero = chart_of([{"deviation": 0}]).mark_rule(stroke=INK, opacity=0.5, aria=False).encode(y=y)
    dots = (
        chart_of(rows)
        .mark_point(filled=True, opacity=0.85, stroke=PAGE, size=55)
        .encode(x=x, y=y, fill=fill, description="description:N")
    )
    return to_svg(alt.layer(zero, dots).properties(width=560, height=200), "Trials against the mean of their own")
