"""Every knob at once: each configuration as a line over parallel axes, from three knobs on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.charts.common import DataTable
from loadtune.show.charts.svg import ACCENT, INK, chart_of, halo, to_svg
from loadtune.show.leaders import standing_trials
from loadtune.units import format_count, format_number, format_ratio

LEAST_KNOBS = 3
MOST_LINES = 60
"""More configurations than this are drawn as the fastest of them, and evenly chosen others."""
_LETTER_WIDTH = 8
"""Of a name and what keeps it from the next, at most, in pixels."""
_RATE = "steady samples/s"
"""Name of the last axis, as short as those of the knobs."""
_DROPPED = "drop_last"
"""No knob of the steady rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Configurations over every setting that was varied."""

    knobs: tuple[str, ...]
    """The settings, in the order of the axes."""
    values: tuple[tuple[str, ...], ...]
    """What each of them was set to, from the bottom of its axis to the top."""
    rows: tuple[TrialResult, ...]
    says: str


def parallel(result: RunResult) -> Parallel | None:
    """Return every measured configuration over its knobs, or None where fewer than three were turned."""
    rows = standing_trials(result)
    knobs = [field.name for field in fields(LoaderConfig) if field.name != _DROPPED]
    found = {knob: sorted({getattr(row, knob) for row in rows}, key=_sortable) for knob in knobs}
    turned = tuple(knob for knob in knobs if len([value for value in found[knob] if value is not None]) > 1)
    if len(turned) < LEAST_KNOBS:
        return None
    return Parallel(
        knobs=turned,
        values=tuple(tuple(map(_text, found[knob])) for knob in turned),
        rows=_kept(rows),
        says=_sentence(rows, turned),
    )


def _sortable(value: object) -> tuple[bool, float, str]:
    number = float(value) if isinstance(value, int | float) else 0.0
    return (value is not None, number, "" if value is None else str(value))


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def _kept(rows: tuple[TrialResult, ...]) -> tuple[TrialResult, ...]:
    ranked = sorted(rows, key=lambda row: (row.chosen, row.samples_per_second or 0.0))
    if len(ranked) <= MOST_LINES:
        return tuple(ranked)
    best, rest = ranked[-MOST_LINES // 3 :], ranked[: -MOST_LINES // 3]
    step = len(rest) / (MOST_LINES - len(best))
    return (*(rest[int(place * step)] for place in range(MOST_LINES - len(best))), *best)


def _sentence(rows: tuple[TrialResult, ...], knobs: tuple[str, ...]) -> str:
    """Say which knob matters most: by the best rate at its best value over the best at its worst."""
    spans = []
    for knob in knobs:
        best: dict[object, float] = {}
        for row in rows:
            value = getattr(row, knob)
            best[value] = max(best.get(value, 0.0), row.samples_per_second or 0.0)
        known = {value: rate for value, rate in best.items() if value is not None and rate > 0}
        spans.append((max(known.values()) / min(known.values()), knob, max(known, key=lambda value: known[value])))
    spans.sort(key=lambda span: span[0], reverse=True)
    (most, knob, value), (least, idle, _) = spans[0], spans[-1]
    return (
        f"{knob} matters most: the best steady rate with {_text(value)} is {format_ratio(most)} that with its worst "
        f"value, all other knobs free. {idle} matters least, {format_ratio(least)}."
    )


def parallel_table(chart: Parallel) -> DataTable:
    """Return the configurations that are drawn, the fastest first."""
    rows = [
        (*(_text(getattr(row, knob)) for knob in chart.knobs), format_number(row.samples_per_second or 0.0))
        for row in reversed(chart.rows)
    ]
    return DataTable(header=(*chart.knobs, _RATE), rows=tuple(rows))


def draw_parallel(chart: Parallel) -> str:
    """Return a line for each configuration over an axis for each knob and one for the rate, as SVG."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    axes = [*chart.knobs, _RATE]
    top = max(row.samples_per_second or 0.0 for row in chart.rows)
    lines = list(_lines(chart, top))
    x = alt.X("axis:N", sort=axes, title=None, axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False))
    y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[0, 1]))
    opacity = alt.Opacity("shade:Q", scale=None)
    base = chart_of(lines).mark_line(fill=None, strokeWidth=1.2, stroke=INK, aria=False)
    pick = chart_of([row for row in lines if row["pick"]]).mark_line(
        fill=None, strokeWidth=3, stroke=ACCENT, aria=False
    )
    ticks = chart_of(list(_ticks(chart, top)))
    text = ticks.mark_text(fill=INK, align="left", dx=6, aria=False).encode(x=x, y=y, text="text:N")
    rules = chart_of([{"axis": axis} for axis in axes]).mark_rule(stroke=INK, opacity=0.4, aria=False).encode(x=x)
    layers = [
        rules,
        base.encode(x=x, y=y, detail="line:N", opacity=opacity),
        pick.encode(x=x, y=y, detail="line:N"),
        *halo(text),
    ]
    drawn = alt.layer(*layers).properties(width=_width(axes), height=220)
    return to_svg(drawn, "Configurations over every knob")


def _width(axes: Sequence[str]) -> int:
    """Return the width of the chart: every axis has room for the longest of their names above it."""
    return max(110, _LETTER_WIDTH * max(map(len, axes))) * len(axes)


def _lines(chart: Parallel, top: float) -> Iterable[dict[str, Any]]:
    for number, row in enumerate(chart.rows):
        share = (row.samples_per_second or 0.0) / top
        shade = 0.08 + 0.6 * share**3
        for knob, values in zip(chart.knobs, chart.values, strict=True):
            place = _place(values, _text(getattr(row, knob)))
            yield {"line": number, "axis": knob, "place": place, "shade": shade, "pick": row.chosen}
        yield {"line": number, "axis": _RATE, "place": 0.03 + 0.94 * share, "shade": shade, "pick": row.chosen}


def _place(values: tuple[str, ...], text: str) -> float:
    return 0.03 + 0.94 * values.index(text) / max(len(values) - 1, 1)


def _ticks(chart: Parallel, top: float) -> Iterable[dict[str, Any]]:
    for knob, values in zip(chart.knobs, chart.values, strict=True):
        for value in values:
            yield {"axis": knob, "place": _place(values, value), "text": value}
    for share in (0.0, 0.5, 1.0):
        yield {"axis": _RATE, "place": 0.03 + 0.94 * share, "text": format_count(round(share * top))}
