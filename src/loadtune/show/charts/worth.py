"""Is it worth it: the time between batches beside the step that uses them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from loadtune.judge.reasons import row_interval
from loadtune.judge.step_findings import FED
from loadtune.record.results import Interval, RunResult, TrialResult
from loadtune.show.charts.common import DataTable
from loadtune.show.charts.roles import Role, roles
from loadtune.show.charts.svg import ACCENT, INK, PAGE, WARNING, chart_of, halo, to_svg
from loadtune.units import format_rate, format_seconds, format_seconds_estimate, format_share

SAMPLES_DRAWN = 1000
_FAR = 2
"""A wait for a batch this many times shorter or longer than the mean is far from it."""
_EVERY = "a batch every, on average (95 %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTime:
    """What a batch takes with one configuration."""

    role: Role
    between_seconds: float
    """From one batch to the next at the steady rate: a mean, as batches may come in bursts."""
    between_low: float
    between_high: float
    wait_seconds: float
    """The part that no step covers; all of it where no step was given."""

    @property
    def half_width(self) -> float:
        """Half-width of the 95 % interval of ``between_seconds``."""
        return max(self.between_high - self.between_seconds, self.between_seconds - self.between_low)

    @property
    def every(self) -> str:
        """``6.64 ± 0.12 ms``: how often a batch comes."""
        return format_seconds_estimate(self.between_seconds, self.between_low, self.between_high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Time between batches, and what of it a training step covers."""

    times: tuple[BatchTime, ...]
    step_seconds: float
    """Time of the step that was asked for; 0 where none was."""
    says: str


def worth(result: RunResult) -> Worth | None:
    """Return the time between batches of what is pointed out, or None where no batch size is known.

    None with a real step too: its time is in every rate, and LT030 says what better loading could win.
    """
    if result.plan.consumer.step is not None:
        return None
    step = result.plan.consumer.step_seconds
    times = []
    for role in roles(result):
        batch = role.trial.batch_size
        if role.trial.samples_per_second and batch:
            times.append(_batch_time(role, row_interval(role.trial), batch, step))
    return Worth(times=tuple(times), step_seconds=step, says=_sentence(times, step)) if times else None


def _batch_time(role: Role, rate: Interval, batch: int, step: float) -> BatchTime:
    between = batch / rate.estimate
    return BatchTime(
        role=role,
        between_seconds=between,
        between_low=batch / rate.high,
        between_high=batch / rate.low if rate.low > 0 else math.inf,
        wait_seconds=max(between - step, 0.0),
    )


def is_uneven(trial: TrialResult, mean_seconds: float) -> bool:
    """Return whether the mean time between batches is not what one sees: workers deliver in bursts.

    Half of the batches come in less than half of it then, or one in twenty takes more than twice as long.
    """
    middle, slow = trial.batch_wait_p50_seconds, trial.batch_wait_p95_seconds
    if middle is None or slow is None:
        return False
    return _FAR * middle < mean_seconds or slow > _FAR * mean_seconds


def _sentence(times: list[BatchTime], step: float) -> str:
    first, last = times[0], times[-1]
    if step:
        return _with_step(first, step)
    says = ["No step was given.", _without_step(first)]
    if last.role is not first.role:
        says.append(_beside(last, first))
    return " ".join([*says, "Sweep with --step-time to have it judged."])


def _without_step(one: BatchTime) -> str:
    """Return from which step on this loader is fast enough; without workers none is long enough."""
    trial = one.role.trial
    if not trial.num_workers:
        return (
            f"With {one.role.spoken} each training step waits {one.every} for its {trial.batch_size} samples: without "
            "workers nothing is loaded while it runs."
        )
    on_average = " on average" if is_uneven(trial, one.between_seconds) else ""
    return (
        f"With {one.role.spoken} a batch comes every {one.every}{on_average}: by these figures a training step that "
        "takes longer hardly waits for data once the first batch is there, and a faster loader would not train faster."
    )


def _beside(one: BatchTime, first: BatchTime) -> str:
    """Return the same of another loader, in few words where what was said of the first one holds for it."""
    ours, theirs = first.role.trial, one.role.trial
    if not (ours.num_workers and theirs.num_workers):
        return _without_step(one)
    sizes = ours.batch_size, theirs.batch_size
    of_more = "" if sizes[0] == sizes[1] else f", for a step on {sizes[1]} samples in place of {sizes[0]}"
    return f"With {one.role.spoken} that holds from {one.every} on{of_more}."


def _with_step(first: BatchTime, step: float) -> str:
    share = first.wait_seconds / first.between_seconds
    free = format_rate((first.role.trial.batch_size or 0) / step)
    if share <= FED:
        return (
            f"With {first.role.spoken} the step of {format_seconds(step)} hides the loading: "
            f"{format_share(share)} of the time is spent waiting. Free loading would give {free}; only a faster step "
            "or another batch size would train faster."
        )
    return (
        f"With {first.role.spoken} {format_share(share, 0)} of the time is spent waiting for data: were loading "
        f"free, the step of {format_seconds(step)} alone would allow {free} in place of "
        f"a steady {format_rate(first.role.trial.samples_per_second)}."
    )


def how_to_read(chart: Worth) -> str:
    """Return what a bar is."""
    if not chart.step_seconds:
        return (
            f"Each bar is the time in which {SAMPLES_DRAWN:,} samples come at the steady rate, so that batches of "
            "any size compare. It matters only as far as the training step needs less."
        )
    return (
        "Each bar is the time from one batch to the next at the steady rate. Loading matters only as far as the "
        "bar is longer than the step that uses the batch: that part is spent waiting."
    )


def worth_table(chart: Worth) -> DataTable:
    """Return the times, the share that is waited, and the rate that the step alone would allow."""
    if not chart.step_seconds:
        rows = [(one.role.words, one.every, format_rate(one.role.trial.samples_per_second)) for one in chart.times]
        return DataTable(header=("configuration", _EVERY, "steady rate"), rows=tuple(rows))
    waited = [
        (
            one.role.words,
            one.every,
            format_seconds(chart.step_seconds),
            format_seconds(one.wait_seconds, one.half_width),
            format_share(one.wait_seconds / one.between_seconds),
            format_rate(one.role.trial.samples_per_second),
            format_rate((one.role.trial.batch_size or 0) / chart.step_seconds),
        )
        for one in chart.times
    ]
    header = ("configuration", _EVERY, "step", "wait", "share waited", "steady rate", "if loading were free")
    return DataTable(header=header, rows=tuple(waited))


def _scale(chart: Worth, one: BatchTime) -> float:
    """Return how many batches a bar stands for.

    Without a step batches of different sizes are compared: their times alone would praise the smallest.
    """
    return 1.0 if chart.step_seconds else SAMPLES_DRAWN / (one.role.trial.batch_size or 1)


def _end(one: BatchTime, batches: float, size: float) -> dict[str, Any]:
    """Return the text at the end of a bar of so many batches, ``size`` units of the axis to the second."""
    seconds = batches * one.between_seconds
    text = format_seconds(seconds, batches * one.half_width)
    return {"series": one.role.words, "long": size * seconds, "text": text}


def draw_worth(chart: Worth) -> str:
    """Return a bar for each configuration: the step, and the wait behind it; without a step one part alone."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    names = [one.role.words for one in chart.times]
    rows: list[dict[str, Any]] = []
    for one in chart.times:
        scale = _scale(chart, one)
        covered = one.between_seconds - one.wait_seconds
        for place, (part, spent) in enumerate((("step", covered), ("wait for data", one.wait_seconds))):
            if chart.step_seconds or part != "step":
                seconds = scale * spent
                said = f"{one.role.words}, {part}: {format_seconds(seconds, scale * one.half_width)}"
                rows.append({"series": one.role.words, "part": part, "seconds": seconds, "place": place, "said": said})
    longest = max(_scale(chart, one) * one.between_seconds for one in chart.times)
    unit, size = ("s", 1.0) if longest >= 1 else ("ms", 1000.0)
    rows = [{**row, "long": size * row["seconds"]} for row in rows]
    what = "time from one batch to the next" if chart.step_seconds else f"time for {SAMPLES_DRAWN:,} samples"
    title = f"{what} at the steady rate ({unit})"
    fills = alt.Scale(domain=["step", "wait for data"], range=[ACCENT, WARNING])
    legend = alt.Legend(title=None, orient="top") if chart.step_seconds else None
    y = alt.Y("series:N", sort=names, title=None, axis=alt.Axis(labelLimit=0))
    bars = (
        chart_of(rows)
        .mark_bar(height=18, stroke=PAGE, strokeWidth=1)
        .encode(
            x=alt.X("long:Q", title=title, stack="zero"),
            y=y,
            fill=alt.Fill("part:N", scale=fills, legend=legend),
            order="place:Q",
            description="said:N",
        )
    )
    ends = chart_of([_end(one, _scale(chart, one), size) for one in chart.times])
    labels = ends.mark_text(fill=INK, align="left", dx=5, aria=False).encode(x=alt.X("long:Q"), y=y, text="text:N")
    drawn = alt.layer(bars, *halo(labels)).properties(width=430, height=34 * len(names))
    return to_svg(drawn, title.capitalize())
