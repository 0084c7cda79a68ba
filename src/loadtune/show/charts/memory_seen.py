"""Memory as batches were taken, on to the end of an epoch, with the limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loadtune.record.results import MemoryLook, RunResult, TrialResult
from loadtune.show.charts.common import DataTable
from loadtune.show.charts.roles import Role, dash_of, roles, stroke_of
from loadtune.show.charts.svg import ACCENT, INK, PAGE, WARNING, axis_bytes, chart_of, to_svg
from loadtune.show.words import config_words
from loadtune.units import format_bytes, format_count, format_share


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySeen:
    """Host memory of each configuration that is pointed out, look by look."""

    series: tuple[Role, ...]
    limit_bytes: int | None
    """Drawn where it is near the points."""
    says: str


def memory_seen(result: RunResult) -> MemorySeen | None:
    """Return what was seen, or None where no configuration was looked at more than once."""
    series = tuple(role for role in roles(result) if role.trial.looks)
    if not any(len(role.trial.looks) > 1 for role in series):
        return None
    limit = result.limits.host_memory_bytes
    highest = max(max(look.resident_bytes for look in role.trial.looks) for role in series)
    near = limit is not None and limit <= 2 * highest
    return MemorySeen(series=series, limit_bytes=limit if near else None, says=_sentence(result, series))


def _sentence(result: RunResult, series: tuple[Role, ...]) -> str:
    role = max(series, key=lambda role: len(role.trial.looks) > 1)
    looks, trial = role.trial.looks, role.trial
    first, last = looks[0], looks[-1]
    change = last.resident_bytes - first.resident_bytes
    said = "rose" if change > 0 else "fell"
    says = (
        f"With {config_words(trial.config)} memory {said} by {format_bytes(abs(change))} from batch "
        f"{format_count(first.batches)} to batch {format_count(last.batches)}; {format_bytes(last.shm_bytes)} of "
        f"the {format_bytes(last.resident_bytes)} there are batches in shared memory."
    )
    peak = trial.predicted_host_peak_bytes
    if peak is not None and trial.batches_per_epoch and peak > max(look.resident_bytes for look in looks):
        says += f" By the end of an epoch {format_bytes(peak)} are expected"
        limit = result.limits.host_memory_bytes
        says += f", {format_share(peak / limit, 0)} of the limit." if limit else "."
    return says


def memory_seen_table(chart: MemorySeen) -> DataTable:
    """Return every look, and what is expected by the end of an epoch."""
    rows = []
    for role in chart.series:
        rows += [(role.words, *_cells(look)) for look in role.trial.looks]
        if _expected(role.trial):
            ends = (format_count(role.trial.batches_per_epoch), format_bytes(role.trial.predicted_host_peak_bytes))
            rows.append((role.words, *ends, "–", "–", "–", "expected by the end of an epoch"))
    header = ("configuration", "batches taken", "memory", "main process", "workers", "shared memory", "")
    return DataTable(header=header, rows=tuple(rows))


def _cells(look: MemoryLook) -> tuple[str, ...]:
    sizes = (look.resident_bytes, look.main_bytes, look.workers_bytes, look.shm_bytes)
    return (format_count(look.batches), *map(format_bytes, sizes), "seen")


def _expected(trial: TrialResult) -> bool:
    """Whether there is an end of an epoch beyond what was seen, with memory expected there."""
    reached = trial.looks[-1].batches
    return trial.predicted_host_peak_bytes is not None and (trial.batches_per_epoch or 0) > reached


def draw_memory_seen(chart: MemorySeen) -> str:
    """Return memory against batches as SVG: what was seen as points on a line, what is expected as a hollow point."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    highest = max(max(look.resident_bytes for look in role.trial.looks) for role in chart.series)
    divisor, unit = axis_bytes(max(highest, chart.limit_bytes or 0))
    rows = list(_rows(chart, divisor))
    names = [role.words for role in chart.series]
    x = alt.X(
        "batches:Q", title="batches taken", scale=alt.Scale(type="symlog", constant=10), axis=alt.Axis(tickCount=6)
    )
    y = alt.Y("memory:Q", title=f"host memory ({unit})", scale=alt.Scale(zero=True))
    base = chart_of(rows).encode(x=x, y=y)
    layers = [
        base.mark_line(strokeWidth=2, fill=None, aria=False).encode(stroke=stroke_of(names), strokeDash=dash_of(names)),
        base.transform_filter("!datum.expected")
        .mark_point(filled=True, opacity=1, fill=INK, stroke=PAGE, size=45)
        .encode(description="description:N"),
        base.transform_filter("datum.expected")
        .mark_point(fill=PAGE, opacity=1, stroke=ACCENT, size=60)
        .encode(description="description:N"),
    ]
    if chart.limit_bytes is not None:
        level = chart_of([{"memory": chart.limit_bytes / divisor}]).encode(y=y)
        layers.append(level.mark_rule(stroke=WARNING, strokeWidth=1.5, strokeDash=[5, 4], aria=False))
        layers.append(
            level.mark_text(
                fill=WARNING, align="left", baseline="bottom", dx=4, dy=-3, aria=False, text="limit"
            ).encode(x=alt.value(0))
        )
    return to_svg(alt.layer(*layers).properties(width=560, height=220), "Host memory as batches were taken")


def _rows(chart: MemorySeen, divisor: float) -> Iterable[dict[str, object]]:
    for role in chart.series:
        for look in role.trial.looks:
            said = f"{role.words}, batch {look.batches}: {format_bytes(look.resident_bytes)}"
            yield {
                "series": role.words,
                "batches": look.batches,
                "memory": look.resident_bytes / divisor,
                "expected": False,
                "description": said,
            }
        if _expected(role.trial):
            peak = role.trial.predicted_host_peak_bytes or 0
            yield {
                "series": role.words,
                "batches": role.trial.batches_per_epoch,
                "memory": peak / divisor,
                "expected": True,
                "description": f"{role.words}, end of an epoch: {format_bytes(peak)} expected",
            }
