"""A run as CSV, JSON, Markdown and a pandas frame."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from loadtune.judge.memory import needed_bytes
from loadtune.record.results import CSV_COLUMNS, RunResult, TrialResult
from loadtune.show import leaders, summary
from loadtune.show.epochs import epoch_time
from loadtune.show.predicted import model_sentences
from loadtune.show.words import loader_code, plain
from loadtune.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd

JSON_KEYS = (
    "schema",
    "target",
    "command",
    "environment",
    "plan",
    "limits",
    "best",
    "fastest",
    "baseline",
    "tied",
    "trials",
    "findings",
    "model",
    "cost",
)
"""The top level of the JSON export in its order; further keys of a run follow."""

_FORMULA = ("=", "+", "-", "@")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$<>&])")
_FRAME_TYPES = {
    "int": "int64",
    "int | None": "Int64",
    "float | None": "float64",
    "bool": "bool",
    "bool | None": "boolean",
}


def write_csv(result: RunResult, stream: TextIO) -> None:
    """Write one row a configuration to ``stream``, with the columns of ``CSV_COLUMNS``."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(csv_cells(trial) for trial in result.trials)


def to_csv(result: RunResult) -> str:
    """Return one line a configuration, with the columns of ``CSV_COLUMNS``; empty is not measured."""
    stream = io.StringIO()
    write_csv(result, stream)
    return stream.getvalue()


def csv_cells(trial: TrialResult) -> tuple[str, ...]:
    """Return the cells of one row as the CSV holds them."""
    return tuple(_safe_from_formulas(getattr(trial, name)) for name in CSV_COLUMNS)


def _safe_from_formulas(value: Any) -> str:
    text = cell_text(value)
    # A spreadsheet runs a cell that begins so; an apostrophe makes it text. Numbers stay numbers.
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def cell_text(value: Any) -> str:
    """Return one value as text that a program reads back: empty for None, ``true`` and ``false``, every digit."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return plain(value)
    # NaN and infinity are no measurements.
    return repr(value) if abs(value) < float("inf") else ""


def to_json(result: RunResult) -> str:
    """Return the run as JSON text, laid out for people; a number that is not finite is null."""
    return msgspec.json.format(msgspec.json.encode(to_builtins(result)), indent=2).decode() + "\n"


def to_builtins(result: RunResult) -> dict[str, Any]:
    """Return the run as dictionaries, lists and plain values, its keys in the order of the schema."""
    values = _encodable(msgspec.to_builtins(result))
    order = [*JSON_KEYS, *(name for name in values if name not in JSON_KEYS)]
    return {name: values[name] for name in order}


def _encodable(value: Any) -> Any:
    """Return ``value`` with halves of surrogate pairs replaced: a path may hold them, UTF-8 may not."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def to_frame(result: RunResult) -> pd.DataFrame:
    """Return a pandas frame, one row a configuration, with the columns of ``CSV_COLUMNS``; absent is NA."""
    import pandas as pd  # noqa: PLC0415 - loaded when asked for: the process that measures stays small

    types = {field.name: _FRAME_TYPES.get(str(field.type), "object") for field in fields(TrialResult)}
    columns = {name: [getattr(trial, name) for trial in result.trials] for name in CSV_COLUMNS}
    series = {name: pd.Series(values, dtype=types[name]) for name, values in columns.items()}
    frame: pd.DataFrame = pd.DataFrame(series)
    return frame


def to_markdown(result: RunResult) -> str:
    """Return the verdict, the table of leaders and the findings, for an issue or a job's summary."""
    parts = [
        f"### loadtune: {markdown_text(summary.headline(result))}",
        # A line never begins with a user's own words: what begins a line is what Markdown reads as layout.
        f"Workload: {markdown_text(summary.workload_sentence(result))}",
        "\n".join(f"- {markdown_text(sentence)}" for sentence in _verdict(result)),
        _markdown_leaders(result),
    ]
    if result.best is not None:
        parts.append(f"```python\n{loader_code(result.best.config, result.probe.kept_arguments)}\n```")
    parts.append(markdown_text(" ".join(model_sentences(result))))
    parts.append("\n".join(_markdown_finding(*said) for said in _findings(result)))
    parts.append(markdown_text(summary.cost_sentence(result)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(result: RunResult) -> list[str]:
    return [*summary.verdict_sentences(result), *summary.limit_sentences(result)]


def _findings(result: RunResult) -> list[tuple[str, str, str]]:
    return [(finding.code, plain(finding.message), plain(finding.advice)) for finding in result.findings]


def _markdown_finding(code: str, message: str, advice: str) -> str:
    return f"- **{markdown_text(code)}** {markdown_text(message)}. {markdown_text(advice)}"


def _markdown_leaders(result: RunResult) -> str:
    rows = leaders.leaders(result)
    if not rows:
        return ""
    lines = ["| configuration | steady samples/s (95 %) | epoch | host memory | |", "|---|--:|--:|--:|---|"]
    for row in rows:
        cells = (
            leaders.row_words(row),
            leaders.trial_rate(row),
            epoch_time(row),
            format_bytes(needed_bytes(row)),
            ", ".join(leaders.marks(result, row)),
        )
        lines.append(f"| {' | '.join(markdown_text(cell) for cell in cells)} |")
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Return ``text`` so that Markdown and the HTML it allows show it as it is."""
    return _MARKDOWN.sub(_escaped, plain(text))


def _escaped(match: re.Match[str]) -> str:
    character = match[1]
    return html.escape(character) if character in "<>&" else f"\\{character}"
