"""The configurations that a chart follows in detail: the pick, the fastest, the baseline, the slowest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from loadtune.record.results import RunResult, TrialResult
from loadtune.show.charts.svg import ACCENT, INK, WARNING
from loadtune.show.leaders import higher_rated, standing_trials
from loadtune.show.words import config_words

STROKES = (ACCENT, INK, WARNING, INK)
DASHES = ([1, 0], [6, 3], [2, 2], [1, 5])


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A configuration that is pointed out, with what it is."""

    name: str
    """``pick``, or ``pick and fastest``: one configuration may be several things at once."""
    trial: TrialResult

    @property
    def words(self) -> str:
        """``pick: 2 workers, batch 256``: a label."""
        return f"{self.name}: {config_words(self.trial.config)}"

    @property
    def spoken(self) -> str:
        """``the pick (2 workers, batch 256)``: within a sentence."""
        return f"the {self.name} ({config_words(self.trial.config)})"


def roles(result: RunResult, *, slowest: bool = False) -> tuple[Role, ...]:
    """Return what is pointed out, each configuration once; with ``slowest`` also the one with the lowest rate."""
    fastest = "fastest of those measured again" if higher_rated(result) else "fastest"
    picks = (("pick", result.best), (fastest, result.fastest), ("baseline", result.baseline))
    named = [(name, result.trial(pick.config_id)) for name, pick in picks if pick is not None]
    rows = standing_trials(result)
    if slowest and rows:
        named.append(("slowest", min(rows, key=lambda row: row.samples_per_second or 0.0)))
    names: dict[str, list[str]] = {}
    trials: dict[str, TrialResult] = {}
    for name, trial in named:
        if trial is not None and trial.status == "ok" and math.isfinite(trial.samples_per_second or math.nan):
            # Rows that differ in drop_last alone share what is drawn.
            key = trial.config.steady.config_id
            names.setdefault(key, []).append(name)
            trials.setdefault(key, trial)
    return tuple(Role(name=" and ".join(names[key]), trial=trial) for key, trial in trials.items())


def stroke_of(names: list[str]) -> Any:
    """Return the encoding that gives each of ``names`` its colour, with a legend above the chart."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    legend = alt.Legend(title=None, orient="top", direction="vertical", labelLimit=0, symbolSize=500)
    scale = alt.Scale(domain=names, range=list(STROKES[: len(names)]))
    return alt.Stroke("series:N", scale=scale, legend=legend)


def dash_of(names: list[str]) -> Any:
    """Return the encoding that gives each of ``names`` its dashes: colour is not all that tells them apart."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    legend = alt.Legend(title=None, orient="top", direction="vertical", labelLimit=0, symbolSize=500)
    return alt.StrokeDash(
        "series:N", scale=alt.Scale(domain=names, range=[list(dash) for dash in DASHES[: len(names)]]), legend=legend
    )
