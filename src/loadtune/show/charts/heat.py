"""The heat map: the rate over batch size and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import FAILED
from loadtune.judge.failure_pattern import failure_pattern
from loadtune.judge.verify import half_width_share
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.charts.common import DataTable, Mark, batch_label, mark_of
from loadtune.show.charts.svg import ACCENT, HATCH, INK, chart_of, letters, to_svg
from loadtune.show.words import worker_words
from loadtune.units import format_count, format_number, format_ratio

_FAILURE_LABELS = {"interrupted": "not run"}

LIGHTEST, DARKEST = 0.06, 0.55
"""Opacity of the accent at which text in the page's ink keeps a contrast above 4.5, light and dark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """One pair of batch size and worker count, the best over the other settings; the pick where it is in the cell."""

    batch: str
    workers: str
    samples_per_second: float | None
    label: str
    """The rate, or what went wrong."""
    mark: Mark
    shade: float = 0.0
    """How dark it is drawn: in proportion to the rate, and never so dark that the page's ink cannot be read on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """The rate over batch size and workers."""

    cells: tuple[HeatCell, ...]
    batches: tuple[str, ...]
    """Down the side, ascending."""
    workers: tuple[str, ...]
    """Along the top, ascending."""
    says: str


def heat_map(result: RunResult) -> HeatMap | None:
    """Return the heat map, or None where the grid is a single cell or nothing was measured."""
    groups: dict[tuple[int | None, int], list[TrialResult]] = {}
    for trial in result.trials:
        groups.setdefault((trial.batch_size, trial.num_workers), []).append(trial)
    keys = sorted(groups, key=lambda key: (key[0] or 0, key[1]))
    cells = _shaded(tuple(_heat_cell(groups[key]) for key in keys))
    measured = [cell for cell in cells if cell.samples_per_second is not None]
    if len(cells) < 2 or not measured:  # noqa: PLR2004 - one cell is no map
        return None
    return HeatMap(
        cells=cells,
        batches=tuple(dict.fromkeys(cell.batch for cell in cells)),
        workers=tuple(str(count) for count in sorted({workers for _, workers in keys})),
        says=_heat_sentence(cells, _pattern(groups)),
    )


def _shaded(cells: tuple[HeatCell, ...]) -> tuple[HeatCell, ...]:
    highest = max((cell.samples_per_second or 0.0 for cell in cells), default=0.0) or 1.0
    return tuple(replace(cell, shade=_shade((cell.samples_per_second or 0.0) / highest)) for cell in cells)


def _shade(share: float) -> float:
    """Return how dark a cell is: one with a low rate has some colour, a blank one has none."""
    return LIGHTEST + (DARKEST - LIGHTEST) * share


def _heat_cell(trials: list[TrialResult]) -> HeatCell:
    measured = [trial for trial in trials if trial.status == "ok" and trial.samples_per_second is not None]
    # A cell with a failure among what was not run says the failure.
    first = next((trial for trial in trials if trial.status in FAILED), trials[0])
    where: dict[str, Any] = {"batch": batch_label(first), "workers": str(first.num_workers)}
    if not measured:
        return HeatCell(
            **where, samples_per_second=None, label=_FAILURE_LABELS.get(first.status, first.status), mark="failed"
        )
    best = max(measured, key=lambda row: (row.chosen, row.within_limits is not False, row.samples_per_second or 0.0))
    rate = best.samples_per_second or 0.0
    return HeatCell(
        **where,
        samples_per_second=rate,
        label=format_number(rate, rate * (half_width_share(best) or 0.0)),
        mark=mark_of(best),
    )


def _pattern(groups: Mapping[tuple[int | None, int], Sequence[TrialResult]]) -> str | None:
    """Return what the cells have in common that were tried and have no number."""
    places = {key: LoaderConfig(batch_size=key[0], num_workers=key[1]) for key in groups}
    statuses = {key: {trial.status for trial in trials} for key, trials in groups.items()}
    worked = [places[key] for key, seen in statuses.items() if "ok" in seen]
    failed = [places[key] for key, seen in statuses.items() if "ok" not in seen and seen.intersection(FAILED)]
    return failure_pattern(failed, worked)


def _heat_sentence(cells: tuple[HeatCell, ...], pattern: str | None) -> str:
    measured = [(cell.samples_per_second, cell) for cell in cells if cell.samples_per_second is not None]
    rates = [rate for rate, _ in measured]
    top = max(measured, key=lambda pair: pair[0])[1]
    spread = f"The steady rates differ by {format_ratio(max(rates) / min(rates))} from the slowest cell to the fastest"
    where = f"{spread}, batch {top.batch} with {worker_words(int(top.workers))}."
    without = len(cells) - len(measured)
    over = sum(cell.mark == "over" for cell in cells)
    if without:
        of_all = f"{format_count(without)} of {format_count(len(cells))} cells"
        where += f" Hatched without a number are {of_all}: each says what became of it, and all trials say why."
    if pattern:
        where += f" Of the cells without a number whose trials failed, {pattern}."
    if len(cells) < len({cell.batch for cell in cells}) * len({cell.workers for cell in cells}):
        where += " A blank pair is not in the grid."
    if over:
        where += f" Hatched with a number {'is' if over == 1 else 'are'} {format_count(over)}, over a limit."
    return where


def heat_table(chart: HeatMap) -> DataTable:
    """Return the heat map as a table: batch sizes down, workers across."""
    by_place = {(cell.batch, cell.workers): cell for cell in chart.cells}
    rows = [
        (batch, *(_heat_text(by_place.get((batch, workers))) for workers in chart.workers)) for batch in chart.batches
    ]
    return DataTable(
        header=("batch (cells: steady samples/s)", *(worker_words(int(count)) for count in chart.workers)),
        rows=tuple(rows),
    )


def _heat_text(cell: HeatCell | None) -> str:
    if cell is None:
        return "–"
    notes = {"pick": " (pick)", "over": " (over the limit)"}
    return cell.label + notes.get(cell.mark, "")


def draw_heat_map(chart: HeatMap) -> str:
    """Return the heat map as SVG."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    rows = [_drawn(cell) for cell in chart.cells]
    x = alt.X("workers:N", sort=list(chart.workers), title="workers", axis=alt.Axis(orient="top", labelAngle=0))
    y = alt.Y("batch:N", sort=list(chart.batches), title="batch size")
    base = chart_of(rows).encode(x=x, y=y)
    # Round corners take most of a large map's bytes.
    corner = 3 if len(rows) <= 60 else 0  # noqa: PLR2004
    cells = base.mark_rect(stroke="var(--page)", strokeWidth=2, cornerRadius=corner).encode(
        fill=alt.Fill("fill:N", scale=None),
        fillOpacity=alt.FillOpacity("shade:Q", scale=None),
        description="words:N",
    )
    text = base.mark_text(fill=INK, fontSize=letters(13), aria=False).encode(text="label:N")
    outline = base.transform_filter("datum.pick").mark_rect(
        fill=None, stroke=INK, strokeWidth=2.5, cornerRadius=3, aria=False
    )
    name = base.transform_filter("datum.pick").mark_text(fill=INK, fontSize=letters(11), dy=13, aria=False, text="pick")
    layers = alt.layer(cells, text, outline, name)
    size = layers.properties(width=max(72 * len(chart.workers), 216), height=44 * len(chart.batches))
    return to_svg(size, "Heat map of the steady rate over batch size and workers", hatched=True)


def place_of(trial: TrialResult) -> tuple[str, str]:
    """Return the cell of a row: its batch size and its workers, as the axes name them."""
    return batch_label(trial), str(trial.num_workers)


def words_of(cell: HeatCell) -> str:
    """Return what a cell says by itself: to a screen reader, and in a tooltip."""
    notes = {"pick": ", the pick", "over": ", over the limit", "failed": ", no number"}
    unit = " samples/s" if cell.samples_per_second is not None else ""
    where = f"batch {cell.batch}, {worker_words(int(cell.workers))}"
    return f"{where}: {cell.label}{unit}{notes.get(cell.mark, '')}"


def _drawn(cell: HeatCell) -> dict[str, Any]:
    return {
        "batch": cell.batch,
        "workers": cell.workers,
        "label": cell.label,
        "fill": HATCH if cell.mark in ("failed", "over") else ACCENT,
        "shade": 1.0 if cell.mark in ("failed", "over") else cell.shade,
        "pick": cell.mark == "pick",
        "words": words_of(cell),
    }
