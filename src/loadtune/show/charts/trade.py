"""The Pareto chart: what memory buys in rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from loadtune.judge.memory import needed_bytes
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.charts.common import STEADY_AXIS, DataTable, Mark, mark_of, thinned
from loadtune.show.charts.svg import ACCENT, INK, PAGE, WARNING, axis_bytes, chart_of, halo, to_svg
from loadtune.show.leaders import standing_trials
from loadtune.show.words import config_words, short_words
from loadtune.units import format_bytes, format_count, format_rate, format_share

_WIDTH, _HEIGHT = 560, 300
_LETTER_WIDTH, _LINE_HEIGHT = 6.5, 16.0
"""Of a label, about."""
_DOT = 5.0
"""Half the width of a point."""
_LABEL_OFFSETS: dict[str, dict[str, Any]] = {
    f"{place} {side}": {"align": align, "dx": dx, "dy": dy}
    for place, dy in (("above", -12), ("below", 17), ("far above", -29), ("far below", 34))
    for side, align, dx in (("left", "right", -10), ("right", "left", 10))
}
"""From its point to its label, the best place first."""

_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePoint:
    """One configuration: what it gives and what it takes."""

    words: str
    key: str
    """Of all rows that it stands for: those that differ in ``drop_last`` alone."""
    host_peak_bytes: int
    samples_per_second: float
    low: float
    high: float
    mark: Mark
    label: str
    """Drawn beside the point; empty for most."""
    label_place: str = ""
    """Where it is drawn, a key of ``_LABEL_OFFSETS``: to the side that has room, and over no other label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """Rate against host memory."""

    points: tuple[TradePoint, ...]
    front: tuple[TradePoint, ...]
    """Those that nothing beats in both, by memory."""
    limit_bytes: int | None
    """Drawn where it is near the points."""
    says: str


def trade(result: RunResult) -> Trade | None:
    """Return rate against host memory, or None where fewer than two points have both."""
    rows = [row for row in standing_trials(result) if needed_bytes(row) is not None]
    if len(rows) < 2:  # noqa: PLR2004 - one point is no trade
        return None
    on_front = _unbeaten(rows)
    points = _with_places([_trade_point(result, row, front=row.config_id in on_front) for row in rows])
    unbeaten = (point for row, point in zip(rows, points, strict=True) if row.config_id in on_front)
    front = tuple(sorted(unbeaten, key=lambda point: point.host_peak_bytes))
    limit = result.limits.host_memory_bytes
    near = limit is not None and limit <= 2 * max(point.host_peak_bytes for point in points)
    return Trade(
        points=points, front=front, limit_bytes=limit if near else None, says=_trade_sentence(result, points, front)
    )


def _unbeaten(rows: Sequence[TrialResult]) -> set[str]:
    """Return the rows within the limits that no other of them beats in rate and memory, as they are drawn."""
    found, fastest = set(), 0.0
    within = [row for row in rows if row.within_limits is not False]
    for row in sorted(within, key=lambda row: (needed_bytes(row) or 0, -(row.samples_per_second or 0.0))):
        if (row.samples_per_second or 0.0) > fastest:
            fastest = row.samples_per_second or 0.0
            found.add(row.config_id)
    return found


def _trade_point(result: RunResult, row: TrialResult, *, front: bool) -> TradePoint:
    names = (("pick", result.best), ("fastest", result.fastest), ("baseline", result.baseline))
    label = next((name for name, pick in names if pick is not None and pick.config_id == row.config_id), "")
    rate = row.samples_per_second or 0.0
    return TradePoint(
        words=config_words(row.config),
        key=key_of(row),
        host_peak_bytes=needed_bytes(row) or 0,
        samples_per_second=rate,
        low=row.samples_per_second_low if row.samples_per_second_low is not None else rate,
        high=row.samples_per_second_high if row.samples_per_second_high is not None else rate,
        mark=mark_of(row, front=front),
        label=f"{label}: {short_words(row.config)}" if label else "",
    )


def _with_places(points: Sequence[TradePoint]) -> tuple[TradePoint, ...]:
    """Return the points with a place for each label: the pick's first, above its point where it can be."""
    most_bytes = max(point.host_peak_bytes for point in points) or 1
    most_rate = max(point.high for point in points) or 1.0
    dots = [_dot_box(*_place(point, most_bytes, most_rate)) for point in points]
    taken: list[_Box] = []
    placed: dict[str, str] = {}
    for point in sorted((one for one in points if one.label), key=lambda one: one.mark != "pick"):
        x, y = _place(point, most_bytes, most_rate)
        side = "left" if x > _WIDTH / 2 else "right"
        boxes = {
            place: _label_box(point.label, x, y, offsets)
            for place, offsets in _LABEL_OFFSETS.items()
            if place.endswith(side)
        }
        # Below the drawing it is over the axis, over another label it cannot be read, over points it hides them.
        place = min(boxes, key=lambda place: (boxes[place][3] > _HEIGHT, *_covered(boxes[place], taken, dots)))
        placed[point.key] = place
        taken.append(boxes[place])
    return tuple(replace(point, label_place=placed.get(point.key, "")) for point in points)


def _place(point: TradePoint, most_bytes: float, most_rate: float) -> tuple[float, float]:
    """Return where a point is drawn, about."""
    return point.host_peak_bytes / most_bytes * _WIDTH, (1 - point.samples_per_second / most_rate) * _HEIGHT


def _dot_box(x: float, y: float) -> _Box:
    return x - _DOT, x + _DOT, y - _DOT, y + _DOT


def _covered(box: _Box, *kinds: Sequence[_Box]) -> tuple[int, ...]:
    """Return how many of each kind a label would lie over."""
    return tuple(sum(_overlap(box, other) for other in others) for others in kinds)


def _label_box(label: str, x: float, y: float, offsets: Mapping[str, Any]) -> _Box:
    """Return what a label covers, in the units of the drawing: left, right, top and bottom."""
    width = _LETTER_WIDTH * len(label)
    left = x + offsets["dx"] - (width if offsets["align"] == "right" else 0.0)
    middle = y + offsets["dy"]
    return left, left + width, middle - _LINE_HEIGHT / 2, middle + _LINE_HEIGHT / 2


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def key_of(row: TrialResult) -> str:
    """Return what rows share that have one point."""
    return row.config.steady.config_id


def words_of(point: TradePoint) -> str:
    """Return what a point says by itself: to a screen reader, and in a tooltip."""
    return f"{point.words}: {format_rate(point.samples_per_second)}, {format_bytes(point.host_peak_bytes)}"


def _trade_sentence(result: RunResult, points: tuple[TradePoint, ...], front: tuple[TradePoint, ...]) -> str:
    leanest = min(points, key=lambda point: point.host_peak_bytes)
    fastest = max(points, key=lambda point: point.samples_per_second)
    share = format_share(leanest.samples_per_second / fastest.samples_per_second, 0)
    says = (
        f"Memory goes from {format_bytes(leanest.host_peak_bytes)} ({leanest.words}, {share} of the highest "
        f"steady rate) to {format_bytes(max(point.host_peak_bytes for point in points))}."
    )
    pick = next((point for point in points if point.mark == "pick"), None)
    if pick is not None:
        reached = format_share(pick.samples_per_second / fastest.samples_per_second, 0)
        says += f" The pick takes {format_bytes(pick.host_peak_bytes)} for {reached} of the highest steady rate."
    limit = result.limits.host_memory_bytes
    if limit is not None:
        over = sum(point.host_peak_bytes > limit for point in points)
        whose = (
            "no measured configuration is" if over == 0 else f"{format_count(over)} of {format_count(len(points))} are"
        )
        says += f" The limit is {format_bytes(limit)}: {whose} over it."
    return says + ("" if front else " No configuration within the limits was measured.")


def trade_table(chart: Trade) -> DataTable:
    """Return the points as a table, the leanest first."""
    notes = {"pick": "pick", "front": "nothing is both faster and leaner", "over": "over the limit"}
    rows = [
        (
            point.words,
            format_bytes(point.host_peak_bytes),
            format_rate(point.samples_per_second),
            notes.get(point.mark, ""),
        )
        for point in sorted(chart.points, key=lambda point: point.host_peak_bytes)
    ]
    return DataTable(header=("configuration", "host memory needed", "steady rate", ""), rows=tuple(rows))


def draw_trade(chart: Trade) -> str:
    """Return rate against memory as SVG: intervals, the front as a line, the limit as a rule, the named points."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    divisor, unit = axis_bytes(max(point.host_peak_bytes for point in chart.points))
    x = alt.X("memory:Q", title=f"host memory needed ({unit})", scale=alt.Scale(zero=True, nice=True))
    y = alt.Y("samples_per_second:Q", title=STEADY_AXIS, scale=alt.Scale(zero=True, nice=True))
    rows = [_drawn(point, divisor) for point in sorted(_shown(chart), key=lambda point: point.mark == "pick")]
    base = chart_of(rows).encode(x=x, y=y)
    front = chart_of([_drawn(point, divisor) for point in chart.front])
    layers = [
        front.mark_line(stroke=ACCENT, strokeWidth=1.5, opacity=0.6, aria=False).encode(x=x, y=y),
        base.mark_rule(stroke=INK, opacity=0.5, aria=False).encode(y=alt.Y("low:Q", title=STEADY_AXIS), y2="high:Q"),
        base.mark_point(filled=True, opacity=1).encode(
            size=alt.Size("size:Q", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
            description="description:N",
        ),
        *(layer for place, offsets in _LABEL_OFFSETS.items() for layer in _label_layers(base, place, **offsets)),
    ]
    if chart.limit_bytes is not None:
        layers += _limit_layers(chart.limit_bytes / divisor, x)
    return to_svg(alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT), "Steady rate against host memory")


def _shown(chart: Trade) -> Sequence[TradePoint]:
    return thinned(chart.points, lambda point: point in chart.front or point.label != "")


def _label_layers(base: Any, place: str, **offsets: Any) -> list[Any]:
    named = base.transform_filter(f"datum.label != '' && datum.label_place == '{place}'")
    return halo(named.mark_text(fill=INK, aria=False, **offsets).encode(text="label:N"))


def _limit_layers(limit: float, x: Any) -> list[Any]:
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    base = chart_of([{"memory": limit}]).encode(x=x)
    return [
        base.mark_rule(stroke=WARNING, strokeWidth=1.5, strokeDash=[5, 4], aria=False),
        base.mark_text(fill=WARNING, align="left", baseline="top", dx=5, aria=False, text="limit").encode(
            y=alt.value(2)
        ),
    ]


def _drawn(point: TradePoint, divisor: float) -> dict[str, Any]:
    fills = {"pick": ACCENT, "front": ACCENT, "over": PAGE}
    return {
        **asdict(point),
        "memory": point.host_peak_bytes / divisor,
        "size": 150 if point.mark == "pick" else 55,
        "fill": fills.get(point.mark, INK),
        "stroke": INK if point.mark in ("pick", "over") else PAGE,
        "description": words_of(point),
    }
