"""The charts of the report, each with how to read it, what it says here, and its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from loadtune.record.results import RunResult
from loadtune.show.charts import drift, fit, heat, knob, memory_seen, models, parallel, parts, trade, waits, worth
from loadtune.show.charts.common import DataTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart and the words around it."""

    name: str
    """Anchor of its section."""
    title: str
    svg: str
    how_to_read: str
    says: str
    """What it says of this run, written from its data."""
    table: DataTable


def figures(result: RunResult) -> tuple[Figure, ...]:
    """Return the charts that there is data for, in the order of the report."""
    makers = (
        _worth, _heat, _trade, _knob, _parallel, _waits, _parts, _memory, _time, _bytes, _fit, _drift,
    )  # fmt: skip
    return tuple(figure for make in makers if (figure := make(result)) is not None)


class _Chart(Protocol):
    @property
    def says(self) -> str: ...


C = TypeVar("C", bound=_Chart)


def _drawn(
    chart: C | None,
    draw: Callable[[C], str],
    table: Callable[[C], DataTable],
    *,
    name: str,
    title: str,
    how_to_read: str,
) -> Figure | None:
    """Return the figure of a chart; None where there is no data for it."""
    if chart is None:
        return None
    return Figure(name=name, title=title, svg=draw(chart), how_to_read=how_to_read, says=chart.says, table=table(chart))


def _worth(result: RunResult) -> Figure | None:
    chart = worth.worth(result)
    if chart is None:
        return None
    return Figure(
        name="worth",
        title="Is it worth it",
        svg=worth.draw_worth(chart),
        how_to_read=worth.how_to_read(chart),
        says=chart.says,
        table=worth.worth_table(chart),
    )


def _heat(result: RunResult) -> Figure | None:
    return _drawn(
        heat.heat_map(result),
        heat.draw_heat_map,
        heat.heat_table,
        name="grid",
        title="Batch size and workers",
        how_to_read="Steady samples per second in each cell, the best over the other settings; the stronger the "
        "colour, the faster. The pick is outlined. Hatched: over a limit, or without a number.",
    )


def _trade(result: RunResult) -> Figure | None:
    return _drawn(
        trade.trade(result),
        trade.draw_trade,
        trade.trade_table,
        name="memory",
        title="What memory buys",
        how_to_read="Each point is a configuration that was measured, with the steady rate and the memory of the "
        "tables; where two differ in drop_last alone there is one. Further up is faster, further left is leaner. On "
        "the line lie those that no other within the limits beats in both; hollow ones are over a limit. Bars are 95 % "
        "intervals.",
    )


def _knob(result: RunResult) -> Figure | None:
    chart = knob.knob(result)
    if chart is None:
        return None
    return Figure(
        name="knob",
        title=f"One knob at a time: {chart.name}",
        svg=knob.draw_knob(chart),
        how_to_read="Steady samples per second, from left to right with more of it; all panels on one scale. "
        "Where a line goes flat, more buys nothing. Bars are 95 % intervals; the large point is the pick.",
        says=chart.says,
        table=knob.knob_table(chart),
    )


def _parallel(result: RunResult) -> Figure | None:
    return _drawn(
        parallel.parallel(result),
        parallel.draw_parallel,
        parallel.parallel_table,
        name="knobs",
        title="Every knob at once",
        how_to_read="Each line is a configuration: it crosses each axis at its value and ends at its steady rate; the "
        "faster, the darker. The thick line is the pick. Where dark lines come from one value of an axis, that knob "
        "decides.",
    )


def _waits(result: RunResult) -> Figure | None:
    return _drawn(
        waits.waits(result),
        waits.draw_waits,
        waits.waits_table,
        name="waits",
        title="Waiting for a batch",
        how_to_read="How many of the batches had come after a wait, the wait on a logarithmic axis: the further left a "
        "line, the shorter. A line with two steps belongs to batches that come in bursts.",
    )


def _parts(result: RunResult) -> Figure | None:
    return _drawn(
        parts.parts(result),
        parts.draw_parts,
        parts.parts_table,
        name="parts",
        title="Where the time goes",
        how_to_read="Each bar is an epoch: workers start and load the first batch, then batches stream at the steady "
        "rate; at the end workers run dry. The first batches of all workers are loaded at the same time, and are there "
        "with the first.",
    )


def _memory(result: RunResult) -> Figure | None:
    return _drawn(
        memory_seen.memory_seen(result),
        memory_seen.draw_memory_seen,
        memory_seen.memory_seen_table,
        name="seen",
        title="Memory as batches were taken",
        how_to_read="Points are looks at the memory of the process tree; at the last of them the queue was left to "
        "fill. A hollow point is what is expected by the end of an epoch, where the trial ended before. A line that "
        "keeps rising is growth. In the table main process and workers each count the pages that they share, the "
        "memory counts them once. The axis of batches is even up to 10 and logarithmic beyond.",
    )


def _fit(result: RunResult) -> Figure | None:
    return _drawn(
        fit.fit(result),
        fit.draw_fit,
        fit.fit_table,
        name="model",
        title="The pipeline model against measurement",
        how_to_read="Each point is a configuration with its steady rate; on the dashed line the model is right, "
        "below it the model promises too much. Bars are the 95 % intervals of what was measured.",
    )


def _drift(result: RunResult) -> Figure | None:
    return _drawn(
        drift.drift(result),
        drift.draw_drift,
        drift.drift_table,
        name="trust",
        title="Can you trust it",
        how_to_read="Each point is the steady rate of a trial, in the order they ran, against the mean of its own "
        "configuration: no slope is no drift, the height of the cloud is the noise. Trials of the verification are "
        "in colour.",
    )


def _time(result: RunResult) -> Figure | None:
    chart = models.models(result)
    if chart is None:
        return None
    return Figure(
        name="time",
        title="The article's time K·B·T against epochs",
        svg=models.draw_time(chart),
        how_to_read="K·B·T is the work of an epoch in series: batches × batch size × the time of a sample. On the "
        "dashed line W workers share it perfectly; what lies above went to start-up, hand-over and cores that are not "
        "there.",
        says=chart.says_time,
        table=models.time_table(chart),
    )


def _bytes(result: RunResult) -> Figure | None:
    chart = models.models(result)
    if chart is None or chart.says_bytes is None or not models.has_bytes(chart):
        return None
    return Figure(
        name="bytes",
        title="The article's bytes K·B·M against measured memory",
        svg=models.draw_bytes(chart),
        how_to_read="If K·B·M, batches × batch size × the bytes of a sample, were the memory in use, every point would "
        "lie on the dashed line. Memory follows the processes and the batches loaded ahead instead.",
        says=chart.says_bytes,
        table=models.bytes_table(chart),
    )
