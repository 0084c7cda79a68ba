"""The charts of the report, each with how to read it, what it says here, and its table."""

from __future__ import annotations

from dataclasses import dataclass

from loadtune.record.results import RunResult
from loadtune.show.charts import heat, knob, models, trade
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
    made = (_heat(result), _trade(result), _knob(result), _time(result), _bytes(result))
    return tuple(figure for figure in made if figure is not None)


def _heat(result: RunResult) -> Figure | None:
    chart = heat.heat_map(result)
    if chart is None:
        return None
    return Figure(
        name="grid",
        title="Batch size and workers",
        svg=heat.draw_heat_map(chart),
        how_to_read="Samples per second in each cell, the best over the other settings; the darker, the faster. The "
        "pick is outlined. Hatched: over a memory limit, or without a number.",
        says=chart.says,
        table=heat.heat_table(chart),
    )


def _trade(result: RunResult) -> Figure | None:
    chart = trade.trade(result)
    if chart is None:
        return None
    return Figure(
        name="memory",
        title="What memory buys",
        svg=trade.draw_trade(chart),
        how_to_read="Each point is a configuration that was measured, with the rate and the memory of the tables; "
        "where two differ in drop_last alone there is one. Further up is faster, further left is leaner. On the line "
        "lie those that no other within the limits beats in both; hollow ones are over a limit. Bars are 95 % "
        "intervals.",
        says=chart.says,
        table=trade.trade_table(chart),
    )


def _knob(result: RunResult) -> Figure | None:
    chart = knob.knob(result)
    if chart is None:
        return None
    return Figure(
        name="knob",
        title=f"One knob at a time: {chart.name}",
        svg=knob.draw_knob(chart),
        how_to_read="From left to right more of it, as it was tried; all panels on one scale. Where a line goes flat, "
        "more buys nothing. Bars are 95 % intervals; the large point is the pick.",
        says=chart.says,
        table=knob.knob_table(chart),
    )


def _time(result: RunResult) -> Figure | None:
    chart = models.models(result)
    if chart is None:
        return None
    return Figure(
        name="time",
        title="The article's time K·B·T against measured epochs",
        svg=models.draw_time(chart),
        how_to_read="K·B·T is the work of an epoch in series: batches × batch size × the time of a sample. On the "
        "dashed line W workers share it perfectly; what lies above went to start-up, hand-over and cores that are not "
        "there.",
        says=chart.says_time,
        table=models.models_table(chart),
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
        table=models.models_table(chart),
    )
