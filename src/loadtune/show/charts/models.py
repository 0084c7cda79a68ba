"""The document's models of time (KBT) and bytes (KBM) against epochs and measured memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.judge.reasons import counted
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.article import doubt
from loadtune.show.charts.common import DataTable, Mark, mark_of, thinned
from loadtune.show.charts.svg import ACCENT, INK, PAGE, axis_bytes, chart_of, halo, to_svg
from loadtune.show.epochs import epoch_words, run_sentence
from loadtune.show.leaders import standing_trials
from loadtune.show.words import config_words
from loadtune.units import format_bytes, format_count, format_seconds, format_share


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPoint:
    """The document's figures for one configuration beside its epoch and its memory."""

    config: LoaderConfig
    ideal_seconds: float
    """KBT shared out perfectly: KBT/W, or KBT without workers."""
    epoch_seconds: float
    epoch_words: str
    """The time of the epoch, and where it is from."""
    epoch_was_run: bool
    kbt_seconds: float
    kbm_bytes: int | None
    ahead_bytes: float | None
    """Bytes that exist at once: the batches loaded ahead, and the one being used."""
    host_peak_bytes: int | None
    batches: int | None
    mark: Mark

    @property
    def efficiency(self) -> float:
        """KBT / (W · epoch time)."""
        return self.ideal_seconds / self.epoch_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The document's models of time and bytes over all configurations."""

    points: tuple[ModelPoint, ...]
    says_time: str
    says_bytes: str | None


def models(result: RunResult) -> Models | None:
    """Return the document's models beside epochs and memory, or None where no epoch has both."""
    points = tuple(_model_point(row) for row in standing_trials(result) if row.kbt_epoch_seconds and row.epoch_seconds)
    if not points:
        return None
    return Models(points=points, says_time=_time_sentence(points), says_bytes=_bytes_sentence(points))


def _model_point(row: TrialResult) -> ModelPoint:
    kbt = row.kbt_epoch_seconds or 0.0
    ahead = None if row.bytes_per_batch is None else row.config.batches_at_once * row.bytes_per_batch
    return ModelPoint(
        config=row.config,
        ideal_seconds=kbt / max(1, row.num_workers),
        epoch_seconds=row.epoch_seconds or 0.0,
        epoch_words=epoch_words(row),
        epoch_was_run=row.epoch_was_run is True,
        kbt_seconds=kbt,
        kbm_bytes=row.kbm_epoch_bytes,
        ahead_bytes=ahead,
        host_peak_bytes=row.host_peak_bytes,
        batches=row.batches_per_epoch,
        mark=mark_of(row),
    )


def _time_sentence(points: tuple[ModelPoint, ...]) -> str:
    middle = statistics.median(point.efficiency for point in points)
    share = format_share(middle, 0)
    says = f"Over {counted(len(points), 'configuration')} the workers reach {share} of KBT/W (median)."
    pick = next((point for point in points if point.mark == "pick"), None)
    if pick is not None:
        says = (
            f"For the pick KBT is {format_seconds(pick.kbt_seconds)}, KBT/W {format_seconds(pick.ideal_seconds)}, and "
            f"an epoch takes {pick.epoch_words}: {format_share(pick.efficiency, 0)} of perfect "
            f"sharing. {says}"
        )
    doubted = doubt(max(middle, pick.efficiency if pick is not None else 0.0))
    says += f" {doubted[:1].upper()}{doubted[1:]}." if doubted else ""
    return f"{says} {run_sentence([point.epoch_was_run for point in points])}"


def _bytes_sentence(points: tuple[ModelPoint, ...]) -> str | None:
    peaks = [point.host_peak_bytes for point in points if point.host_peak_bytes is not None]
    figures = [point.kbm_bytes for point in points if point.kbm_bytes is not None]
    if not peaks or not figures:
        return None
    return (
        f"KBM is {_span(figures)} whatever the settings; the memory measured goes from {format_bytes(min(peaks))} to "
        f"{format_bytes(max(peaks))}. KBM counts what passes through in an epoch, not what is in use."
    )


def _span(values: list[int]) -> str:
    low, high = format_bytes(min(values)), format_bytes(max(values))
    return low if low == high else f"{low} to {high}"


def has_bytes(chart: Models) -> bool:
    """Whether any point has both the memory measured and the bytes of its batches."""
    return any(point.host_peak_bytes is not None and point.ahead_bytes is not None for point in chart.points)


def models_table(chart: Models) -> DataTable:
    """Return N/B, KBT and KBM of every configuration beside what was seen."""
    rows = [
        (
            config_words(point.config),
            format_count(point.batches),
            format_seconds(point.kbt_seconds),
            format_seconds(point.ideal_seconds),
            point.epoch_words,
            format_share(point.efficiency, 0),
            format_bytes(point.kbm_bytes),
            format_bytes(point.ahead_bytes),
            format_bytes(point.host_peak_bytes),
        )
        for point in chart.points
    ]
    header = (
        "configuration",
        "batches K",
        "KBT",
        "KBT/W",
        "epoch",
        "KBT/W of epoch",
        "KBM",
        "bytes at once",
        "memory measured",
    )
    return DataTable(header=header, rows=tuple(rows))


def time_table(chart: Models) -> DataTable:
    """Return the columns of ``models_table`` that are about time."""
    return _columns(models_table(chart), range(6))


def bytes_table(chart: Models) -> DataTable:
    """Return the columns of ``models_table`` that are about bytes."""
    return _columns(models_table(chart), (0, 1, 6, 7, 8))


def _columns(table: DataTable, places: Sequence[int]) -> DataTable:
    def kept(cells: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cells[place] for place in places)

    return DataTable(header=kept(table.header), rows=tuple(map(kept, table.rows)))


def draw_time(chart: Models) -> str:
    """Return the epoch measured against KBT/W as SVG, with the line of perfect sharing."""
    rows = [
        {
            "x": point.ideal_seconds,
            "y": point.epoch_seconds,
            "pick": point.mark == "pick",
            "description": f"{config_words(point.config)}: KBT/W {format_seconds(point.ideal_seconds)}, "
            f"epoch {point.epoch_words}",
        }
        for point in chart.points
    ]
    drawn = _scatter(rows, x="KBT/W (s)", y="epoch (s)", reference="perfect sharing", diagonal=True)
    return to_svg(drawn, "Epoch against KBT shared over the workers")


def draw_bytes(chart: Models) -> str:
    """Return the memory measured against the bytes that exist at once as SVG, with KBM as a rule."""
    points = [point for point in chart.points if point.host_peak_bytes is not None and point.ahead_bytes is not None]
    kbm = max(point.kbm_bytes or 0 for point in chart.points)
    divisor, unit = axis_bytes(max([kbm, *(point.host_peak_bytes or 0 for point in points)]))
    rows = [
        {
            "x": (point.ahead_bytes or 0.0) / divisor,
            "y": (point.host_peak_bytes or 0) / divisor,
            "pick": point.mark == "pick",
            "description": f"{config_words(point.config)}: {format_bytes(point.ahead_bytes)} at once, "
            f"{format_bytes(point.host_peak_bytes)} in use",
        }
        for point in points
    ]
    drawn = _scatter(
        rows, x=f"batches loaded ahead ({unit})", y=f"memory ({unit})", reference="KBM", level=kbm / divisor
    )
    return to_svg(drawn, "Memory measured against the batches loaded ahead")


def _scatter(
    rows: list[dict[str, Any]], *, x: str, y: str, reference: str, diagonal: bool = False, level: float = 0.0
) -> Any:
    """Return points with a dashed line to hold them against: the diagonal, or a level."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    rows = sorted(thinned(rows, lambda row: bool(row["pick"])), key=lambda row: bool(row["pick"]))
    right = max(row["x"] for row in rows)
    ends = [{"x": 0, "y": level}, {"x": right, "y": right if diagonal else level}]
    over_x = alt.X("x:Q", title=x, scale=alt.Scale(zero=True))
    over_y = alt.Y("y:Q", title=y, scale=alt.Scale(zero=True))
    base = chart_of(rows).encode(x=over_x, y=over_y)
    line = chart_of(ends).encode(x=over_x, y=over_y)
    label = chart_of(ends[1:]).encode(x=over_x, y=over_y)
    size = alt.condition("datum.pick", alt.value(150), alt.value(50))
    text = {"fill": INK, "aria": False}
    return alt.layer(
        line.mark_line(stroke=INK, strokeDash=[5, 4], opacity=0.7, aria=False),
        label.mark_text(**text, align="left", dx=6, text=reference),
        base.mark_point(filled=True, opacity=0.85, fill=ACCENT, stroke=PAGE).encode(
            size=size, description="description:N"
        ),
        *halo(base.transform_filter("datum.pick").mark_text(**text, align="left", dx=10, dy=5, text="pick")),
    ).properties(width=400, height=240)
