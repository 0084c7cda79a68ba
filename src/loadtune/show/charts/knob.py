"""One knob at a time: the rate as workers (or the batch size) are turned."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from loadtune.record.results import RunResult, TrialResult
from loadtune.show.charts.common import STEADY_AXIS, DataTable, Mark, mark_of
from loadtune.show.charts.svg import ACCENT, INK, PAGE, rows_of, to_svg
from loadtune.show.leaders import standing_trials
from loadtune.show.words import batch_words, worker_words
from loadtune.units import format_count, format_number, format_rate, format_ratio, format_share

_ROW_WIDTH, _WIDEST_PANEL, _IN_A_ROW = 575, 230, 5
"""Of the panels of a row together; of one, which does not gain by more; and how many narrow ones fill it."""
MOST_PANELS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobPoint:
    """The rate at one setting of the knob, the best over the settings that no axis of the chart shows."""

    panel: str
    knob: int
    samples_per_second: float
    low: float
    high: float
    mark: Mark

    @property
    def half_width(self) -> float:
        """Half-width of the 95 % interval, in samples per second."""
        return max(self.high - self.samples_per_second, self.samples_per_second - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """The rate as one setting is turned, a panel for each value of the other."""

    name: str
    """What is turned: ``workers`` or ``batch size``."""
    points: tuple[KnobPoint, ...]
    panels: tuple[str, ...]
    says: str


def knob(result: RunResult) -> Knob | None:
    """Return the rate against workers for each batch size, against batch size for one worker count, or None."""
    rows = list(_best_of_each(result))
    turns_workers = len({row.num_workers for row in rows}) > 1
    if not turns_workers and len({row.batch_size for row in rows}) < 2:  # noqa: PLR2004 - nothing is turned
        return None
    rows.sort(key=lambda row: (row.batch_size or 0, row.num_workers))
    points = tuple(_knob_point(row, turns_workers=turns_workers) for row in rows)
    return Knob(
        name="workers" if turns_workers else "batch size",
        points=points,
        panels=tuple(dict.fromkeys(point.panel for point in points)),
        says=_knob_sentence(result, points, turns_workers=turns_workers),
    )


def _best_of_each(result: RunResult) -> Iterable[TrialResult]:
    best: dict[tuple[int | None, int], TrialResult] = {}
    rows = sorted(standing_trials(result), key=lambda row: (not row.chosen, -(row.samples_per_second or 0.0)))
    for row in rows:
        best.setdefault((row.batch_size, row.num_workers), row)
    return best.values()


def _knob_point(row: TrialResult, *, turns_workers: bool) -> KnobPoint:
    rate = row.samples_per_second or 0.0
    return KnobPoint(
        panel=batch_words(row.config) if turns_workers else worker_words(row.num_workers),
        knob=row.num_workers if turns_workers else row.batch_size or 0,
        samples_per_second=rate,
        low=row.samples_per_second_low if row.samples_per_second_low is not None else rate,
        high=row.samples_per_second_high if row.samples_per_second_high is not None else rate,
        mark=mark_of(row),
    )


def _knob_sentence(result: RunResult, points: tuple[KnobPoint, ...], *, turns_workers: bool) -> str:
    """Say where turning further stops paying, in the panel of the pick (else of the highest rate)."""
    leader = max(points, key=lambda point: (point.mark == "pick", point.samples_per_second))
    panel = [point for point in points if point.panel == leader.panel]
    top = max(panel, key=lambda point: point.samples_per_second)
    least = top.samples_per_second * (1 - result.plan.tie)
    knee = min((point for point in panel if point.samples_per_second >= least), key=lambda point: point.knob)
    first = min(panel, key=lambda point: point.knob)

    def turned(value: int) -> str:
        return worker_words(value) if turns_workers else f"batch {format_count(value)}"

    where = f"With {leader.panel}, {turned(knee.knob)} reach" + ("" if turns_workers and knee.knob != 1 else "es")
    says = f"{where} a steady {format_rate(knee.samples_per_second, knee.half_width)}"
    if knee.knob != first.knob:
        gain = format_ratio(knee.samples_per_second / first.samples_per_second)
        says += f", {gain} the rate at {turned(first.knob)}"
    further = [point for point in panel if point.knob > knee.knob]
    if not further:
        return says + "; no higher value was measured."
    best = max(further, key=lambda point: point.samples_per_second)
    change = best.samples_per_second / knee.samples_per_second - 1
    more = "gains" if change > 0 else "loses"
    untold = ", which this noise does not tell" if best.low < knee.high and knee.low < best.high else ""
    return says + f"; going on to {turned(best.knob)} {more} {format_share(abs(change), 0)}{untold}."


def knob_table(chart: Knob) -> DataTable:
    """Return the points as a table with their intervals."""
    rows = [
        (
            point.panel,
            format_count(point.knob),
            format_number(point.samples_per_second),
            format_number(point.low),
            format_number(point.high),
        )
        for point in chart.points
    ]
    return DataTable(header=("panel", chart.name, STEADY_AXIS, "low (95 %)", "high (95 %)"), rows=tuple(rows))


def draw_knob(chart: Knob) -> str:
    """Return a small panel for each value of the other setting, all on one scale, as SVG."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    drawn = _drawn_panels(chart)
    rows = [
        {**asdict(point), "description": _description(chart, point)} for point in chart.points if point.panel in drawn
    ]
    x = alt.X("knob:O", title=chart.name, axis=alt.Axis(labelAngle=0))
    y = alt.Y("samples_per_second:Q", title=STEADY_AXIS, scale=alt.Scale(zero=True))
    base = alt.Chart().encode(x=x, y=y)
    picked = alt.condition("datum.mark == 'pick'", alt.value(150), alt.value(45))
    in_one_row = len(drawn) <= _IN_A_ROW
    layers = alt.layer(
        base.mark_line(stroke=ACCENT, strokeWidth=1.5, aria=False),
        base.mark_rule(stroke=INK, strokeWidth=1.5, aria=False).encode(
            y=alt.Y("low:Q", title=STEADY_AXIS), y2="high:Q"
        ),
        base.mark_point(filled=True, opacity=1, fill=ACCENT, stroke=PAGE).encode(
            size=picked, description="description:N"
        ),
    ).properties(width=min(_WIDEST_PANEL, _ROW_WIDTH // len(drawn)) if in_one_row else 150, height=130)
    panels = layers.facet(
        alt.Facet("panel:N", sort=drawn, header=alt.Header(title=None)),
        columns=len(drawn) if in_one_row else 4,
        data=rows_of(rows),
    )
    return to_svg(panels, f"Steady rate against {chart.name}, a panel for each value of the other setting")


def _drawn_panels(chart: Knob) -> list[str]:
    """Return the panels that are drawn, in their order: those with the highest rates; the table has all."""
    best: dict[str, float] = {}
    for point in chart.points:
        rate = math.inf if point.mark == "pick" else point.samples_per_second
        best[point.panel] = max(best.get(point.panel, 0.0), rate)
    kept = sorted(chart.panels, key=lambda panel: -best[panel])[:MOST_PANELS]
    return [panel for panel in chart.panels if panel in kept]


def _description(chart: Knob, point: KnobPoint) -> str:
    rate = format_rate(point.samples_per_second)
    return f"{point.panel}, {chart.name} {point.knob}: {rate}{', the pick' if point.mark == 'pick' else ''}"
