"""The distribution of the waits for a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from loadtune.record.results import WAIT_SHARES, RunResult
from loadtune.show.charts.common import DataTable
from loadtune.show.charts.roles import Role, dash_of, roles, stroke_of
from loadtune.show.charts.svg import chart_of, to_svg
from loadtune.show.words import config_words
from loadtune.units import format_seconds, format_share

BURSTS = 10
"""Times the median wait that the slowest twentieth waits where batches come in bursts."""
_LEAST_TICKS, _MOST_TICKS = 3, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long the consumer waited for batches, for each configuration that is pointed out."""

    series: tuple[Role, ...]
    says: str


def waits(result: RunResult) -> Waits | None:
    """Return the waits of the pick, the fastest and the baseline, or None where no distribution was kept."""
    series = tuple(role for role in roles(result) if len(role.trial.batch_wait_quantiles_seconds) == len(WAIT_SHARES))
    return Waits(series=series, says=_sentence(series)) if series else None


def _sentence(series: tuple[Role, ...]) -> str:
    trial = series[0].trial
    kept = trial.batch_wait_quantiles_seconds
    middle, slow = kept[10], kept[WAIT_SHARES.index(0.95)]
    says = (
        f"With {config_words(trial.config)} half of the batches came within {format_seconds(middle)}, 95 % within "
        f"{format_seconds(slow)}; the longest wait was {format_seconds(kept[-1])}."
    )
    if trial.num_workers > 1 and slow > BURSTS * middle:
        says += (
            f" Half of them come almost at once and some are waited for: {trial.num_workers} workers hand their "
            "batches out in turn, in bursts."
        )
    if len({role.trial.batch_size for role in series}) > 1:
        says += " The batches differ in size: a longer wait for more samples may be the higher rate."
    return says


def waits_table(chart: Waits) -> DataTable:
    """Return the waits by share of the batches."""
    rows = [
        (
            format_share(share, 0),
            *(format_seconds(role.trial.batch_wait_quantiles_seconds[place]) for role in chart.series),
        )
        for place, share in enumerate(WAIT_SHARES)
    ]
    return DataTable(header=("of the batches", *(role.words for role in chart.series)), rows=tuple(rows))


def draw_waits(chart: Waits) -> str:
    """Return the shares of batches against the wait as steps in SVG, on a logarithmic axis of time."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    least = 1e-6
    rows: list[dict[str, Any]] = [
        {"series": role.words, "wait": 1000 * max(wait, least), "share": 100 * share}
        for role in chart.series
        for share, wait in zip(WAIT_SHARES, role.trial.batch_wait_quantiles_seconds, strict=True)
    ]
    names = [role.words for role in chart.series]
    low, high = min(row["wait"] for row in rows), max(row["wait"] for row in rows)
    ticks = log_ticks(low, high)
    labels = " : ".join(f"datum.value == {tick!r} ? '{_tick_text(tick)}'" for tick in ticks) + " : ''"
    axis = alt.Axis(values=ticks, labelExpr=labels)
    drawn = (
        chart_of(rows)
        .mark_line(strokeWidth=2, fill=None, aria=False)
        .encode(
            x=alt.X("wait:Q", title="wait for a batch", scale=alt.Scale(type="log", nice=False), axis=axis),
            y=alt.Y("share:Q", title="batches that had come (%)", scale=alt.Scale(domain=[0, 100])),
            order="share:Q",
            stroke=stroke_of(names),
            strokeDash=dash_of(names),
        )
    )
    return to_svg(drawn.properties(width=560, height=220), "Shares of batches by the wait for them")


def log_ticks(low: float, high: float) -> list[float]:
    """Return what a logarithmic axis from ``low`` to ``high`` is labelled with: at least three where they differ."""
    decades = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for steps in ((1,), (1, 2, 5), tuple(place / 10 for place in range(10, 100))):
        ticks = [step * decade for decade in decades for step in steps if low <= step * decade <= high]
        if len(ticks) >= _LEAST_TICKS:
            every = math.ceil(len(ticks) / _MOST_TICKS)
            return ticks[::every]
    return sorted({low, high})


def _tick_text(milliseconds: float) -> str:
    """Return ``10 µs``, ``2 ms`` or ``10 s``: in the unit in which the number is short."""
    for unit, size in (("s", 1e3), ("ms", 1.0)):
        if milliseconds >= size:
            return f"{milliseconds / size:,.3g} {unit}"
    return f"{1e3 * milliseconds:,.3g} µs"
