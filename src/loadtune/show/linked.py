"""What is linked in an interactive report: which configurations a mark of a chart or a row of the table stands for."""

from __future__ import annotations

from typing import Any

from loadtune.record.results import RunResult
from loadtune.show.charts import heat, trade


def links(result: RunResult) -> dict[str, Any]:
    """Return the rows of the table by the name of a mark, for each linked chart by the anchor of its section.

    A row is its place in the table of all trials. A cell of the heat map stands for all rows of its batch size and
    workers, a point of the Pareto chart for those that differ in ``drop_last`` alone.
    """
    charts: dict[str, dict[str, list[int]]] = {}
    cells, points = heat.heat_map(result), trade.trade(result)
    if cells is not None:
        charts["grid"] = {heat.words_of(cell): _of_cell(result, cell) for cell in cells.cells}
    if points is not None:
        steady = [trade.key_of(row) for row in result.trials]
        charts["memory"] = {
            trade.words_of(point): [place for place, key in enumerate(steady) if key == point.key]
            for point in points.points
        }
    return {"charts": charts, "names": [row.config_id for row in result.trials]}


def _of_cell(result: RunResult, cell: heat.HeatCell) -> list[int]:
    place = (cell.batch, cell.workers)
    return [number for number, row in enumerate(result.trials) if heat.place_of(row) == place]
