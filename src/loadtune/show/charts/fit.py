"""The pipeline model against measurement."""

from __future__ import annotations

from dataclasses import dataclass

from loadtune.record.results import RunResult
from loadtune.show.charts.common import DataTable, thinned
from loadtune.show.charts.svg import ACCENT, INK, PAGE, chart_of, halo, to_svg
from loadtune.show.leaders import standing_trials
from loadtune.show.predicted import model_sentence
from loadtune.show.words import config_words, plain
from loadtune.units import format_number, format_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPoint:
    """One configuration: its rate as predicted and as measured, each with its 95 % interval."""

    words: str
    predicted: float
    predicted_low: float
    predicted_high: float
    measured: float
    measured_low: float
    measured_high: float
    pick: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The pipeline model against measurement."""

    points: tuple[FitPoint, ...]
    says: str


def fit(result: RunResult) -> Fit | None:
    """Return predicted against measured rates, or None where the model predicts nothing."""
    points = tuple(
        FitPoint(
            words=config_words(row.config),
            predicted=row.predicted_samples_per_second,
            predicted_low=_or(row.predicted_samples_per_second_low, row.predicted_samples_per_second),
            predicted_high=_or(row.predicted_samples_per_second_high, row.predicted_samples_per_second),
            measured=row.samples_per_second or 0.0,
            measured_low=_or(row.samples_per_second_low, row.samples_per_second or 0.0),
            measured_high=_or(row.samples_per_second_high, row.samples_per_second or 0.0),
            pick=row.chosen,
        )
        for row in standing_trials(result)
        if row.predicted_samples_per_second is not None
    )
    if len(points) < 2:  # noqa: PLR2004 - one point is no comparison
        return None
    return Fit(points=points, says=_sentence(result, points))


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _sentence(result: RunResult, points: tuple[FitPoint, ...]) -> str:
    worst = max(points, key=lambda point: abs(point.predicted / point.measured - 1))
    off = 100 * (worst.predicted / worst.measured - 1)
    says = (
        f"Drawn is the model fitted to all of them: furthest off is {worst.words}, {format_rate(worst.predicted)} "
        f"predicted, {off:+.0f} % against measured."
    )
    return f"{plain(model_sentence(result) or '')} {says}".strip()


def fit_table(chart: Fit) -> DataTable:
    """Return predicted and measured rates, and how far they are apart."""
    rows = [
        (
            point.words,
            format_number(point.predicted),
            format_number(point.measured),
            f"{100 * (point.predicted / point.measured - 1):+.1f} %",
            "pick" if point.pick else "",
        )
        for point in chart.points
    ]
    return DataTable(
        header=("configuration", "predicted steady rate", "measured steady rate", "difference", ""), rows=tuple(rows)
    )


def draw_fit(chart: Fit) -> str:
    """Return measured against predicted rates as SVG, with the diagonal on which they agree."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    rows = [
        {
            "x": point.predicted,
            "y": point.measured,
            "low": point.measured_low,
            "high": point.measured_high,
            "pick": point.pick,
            "description": f"{point.words}: {format_rate(point.predicted)} predicted, "
            f"{format_rate(point.measured)} measured",
        }
        for point in sorted(thinned(chart.points, lambda point: point.pick), key=lambda point: point.pick)
    ]
    most = max(max(point.predicted, point.measured) for point in chart.points)
    x = alt.X("x:Q", title="predicted steady rate (samples/s)", scale=alt.Scale(zero=True))
    y = alt.Y("y:Q", title="measured steady rate (samples/s)", scale=alt.Scale(zero=True))
    base = chart_of(rows).encode(x=x, y=y)
    ends = chart_of([{"x": 0, "y": 0}, {"x": most, "y": most}]).encode(x=x, y=y)
    size = alt.condition("datum.pick", alt.value(150), alt.value(50))
    pick = base.transform_filter("datum.pick").mark_text(fill=INK, align="left", dx=10, dy=5, text="pick", aria=False)
    layers = [
        ends.mark_line(stroke=INK, strokeDash=[5, 4], opacity=0.7, aria=False),
        base.mark_rule(stroke=INK, opacity=0.4, aria=False).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, opacity=0.85, fill=ACCENT, stroke=PAGE).encode(
            size=size, description="description:N"
        ),
        *halo(pick),
    ]
    return to_svg(alt.layer(*layers).properties(width=400, height=240), "Measured against predicted steady rates")
