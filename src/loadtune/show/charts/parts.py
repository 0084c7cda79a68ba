"""Where the time of an epoch goes: until the first batch, the steady stream, the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loadtune.judge.epoch import EpochParts, parts_of, start_seconds
from loadtune.judge.epoch_findings import TELLING
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.charts.common import DataTable
from loadtune.show.charts.roles import Role, roles
from loadtune.show.charts.svg import ACCENT, INK, PAGE, WARNING, chart_of, to_svg
from loadtune.show.epochs import epoch_from, epoch_time, epoch_words
from loadtune.units import format_decimal, format_seconds, format_share

PARTS = ("until the first batch", "at the steady rate", "the rest")
LEAST_PART = 1e-6
"""Of an epoch: a part below this is what rounding leaves."""
_FILLS = (WARNING, ACCENT, INK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of an epoch for each configuration that is pointed out."""

    series: tuple[Role, ...]
    seconds: tuple[EpochParts, ...]
    """For each of the series the parts in the order of ``PARTS``; their sum is ``epoch_seconds``."""
    busy: tuple[float | None, ...]
    """CPUs that the loader kept busy, for each of the series."""
    usable_cpus: float
    says: str


def parts(result: RunResult) -> Parts | None:
    """Return the parts of an epoch, or None where the length of one is not known."""
    series = tuple(role for role in roles(result, slowest=True) if parts_of(role.trial) is not None)
    if not series:
        return None
    seconds = tuple(found for role in series if (found := parts_of(role.trial)) is not None)
    busy = tuple(_busy(role.trial) for role in series)
    usable = result.environment.usable_cpus
    return Parts(
        series=series,
        seconds=seconds,
        busy=busy,
        usable_cpus=usable,
        says=_sentence(series[0], seconds[0], busy[0], usable),
    )


def _busy(trial: TrialResult) -> float | None:
    spent, rate = trial.cpu_seconds_per_1000_samples, trial.samples_per_second
    return None if spent is None or rate is None else spent * rate / 1000


def _sentence(role: Role, seconds: EpochParts, busy: float | None, usable: float) -> str:
    whole = seconds.whole
    first, _, rest = (part / whole for part in seconds)
    start = (start_seconds(role.trial) or 0.0) / whole
    says = f"An epoch of {role.spoken} takes {epoch_words(role.trial)}"
    if first >= TELLING:
        says += f"; {format_share(first, 0)} of it pass before the first batch is there"
        if start >= TELLING and role.trial.num_workers:
            says += f", {format_share(start, 0)} by the start of workers, which kept ones spare in later epochs"
    elif rest >= TELLING:
        says += f"; {format_share(rest, 0)} of it go to the end, where workers have nothing more to load"
    else:
        says += f", {format_share(seconds[1] / whole, 0)} of it at the steady rate: start and end matter little"
    if busy is not None:
        full = busy >= 0.9 * usable
        says += (
            f". The loader keeps {format_decimal(busy)} of {usable:g} CPUs busy"
            f"{': what gives more are cheaper samples or more CPUs' if full else ''}"
        )
    return says + "."


def parts_table(chart: Parts) -> DataTable:
    """Return the parts in seconds, and the CPUs that are busy."""
    rows = [
        (
            role.words,
            *(format_seconds(one if one > LEAST_PART * seconds.whole else 0.0) for one in seconds),
            epoch_time(role.trial),
            epoch_from(role.trial),
            "–" if cpus is None else format_decimal(cpus, 2),
        )
        for role, seconds, cpus in zip(chart.series, chart.seconds, chart.busy, strict=True)
    ]
    return DataTable(header=("configuration", *PARTS, "epoch", "the epoch is", "CPUs busy"), rows=tuple(rows))


def draw_parts(chart: Parts) -> str:
    """Return a bar for each configuration, in its parts, as SVG."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    rows = list(_rows(chart))
    names = [role.words for role in chart.series]
    legend = alt.Legend(title=None, orient="top", labelLimit=0)
    drawn = (
        chart_of(rows)
        .mark_bar(height=18, stroke=PAGE, strokeWidth=1)
        .encode(
            x=alt.X("seconds:Q", title="time of an epoch (s)", stack="zero"),
            y=alt.Y("series:N", sort=names, title=None, axis=alt.Axis(labelLimit=0)),
            fill=alt.Fill("part:N", scale=alt.Scale(domain=list(PARTS), range=list(_FILLS)), legend=legend),
            order="place:Q",
            description="description:N",
        )
    )
    return to_svg(drawn.properties(width=430, height=34 * len(names)), "Where the time of an epoch goes")


def _rows(chart: Parts) -> Iterable[dict[str, object]]:
    for role, seconds in zip(chart.series, chart.seconds, strict=True):
        for place, (part, one) in enumerate(zip(PARTS, seconds, strict=True)):
            said = f"{role.words}, {part}: {format_seconds(one)}"
            yield {"series": role.words, "part": part, "seconds": one, "place": place, "description": said}
