"""The result of a run in a terminal of any width. The listeners that follow a sweep as it goes are in ``live``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtune.describe.config import LoaderConfig
from loadtune.judge.memory import needed_bytes
from loadtune.record.results import Finding, RunResult, TrialResult
from loadtune.show import article, leaders, summary
from loadtune.show.epochs import epoch_time
from loadtune.show.live import PlainListener, RichListener
from loadtune.show.predicted import model_sentences, predicted_memory, predicted_rate
from loadtune.show.trimmed import Trimmed
from loadtune.show.words import loader_code, plain
from loadtune.units import format_bytes

__all__ = ["PlainListener", "RichListener", "leaders_table", "print_result"]

QUIET, NORMAL, VERBOSE = -1, 0, 1
WIDE = 78
"""Columns from which the table of leaders has room for the epoch and the device's memory."""
WIDEST = 110
"""The same, for what the pipeline model predicts."""

MEMORY = "memory"
_SEVERITY = {"info": "cyan", "warning": "yellow", "error": "red"}
_EVERY_ROW = 10**9


def print_result(result: RunResult, console: Console, verbosity: int = NORMAL) -> None:
    """Print what a sweep found.

    Args:
        result: The run.
        console: Where to.
        verbosity: -1 the pick alone, on one line; 0 the leaders, the pick with its reason, the code to paste, the
            findings; 1 every configuration, and why those without a number have none.
    """
    if verbosity <= QUIET:
        console.print(Text(summary.headline(result)), soft_wrap=True)
        return
    for part in _parts(result, console.width, verbose=verbosity >= VERBOSE):
        console.print(Trimmed(part))


def _parts(result: RunResult, width: int, *, verbose: bool) -> Iterable[RenderableType]:
    yield Text(summary.workload_sentence(result), style="dim")
    rows = leaders.leaders(result, _EVERY_ROW if verbose else leaders.LEADERS)
    if rows:
        yield leaders_table(result, rows, width)
    notes = leaders.notes(result)
    if rows and notes:
        yield Padding(Text("\n".join(notes), style="dim"), (0, 0, 1, 0))
    failures = _failures(result)
    if failures and verbose:
        yield _failures_table(failures)
    yield _verdict(result)
    if result.best is not None:
        yield Text("\n" + loader_code(result.best.config, result.probe.kept_arguments), style="bold")
    models = _document_table(result)
    if models is not None:
        yield models
    model = model_sentences(result)
    if model:
        yield Padding(Text(plain(" ".join(model))), (0, 0, 1, 0))
    yield from map(_finding, result.findings)
    yield Text("\n" + summary.cost_sentence(result), style="dim")


def leaders_table(result: RunResult, rows: Iterable[TrialResult], width: int) -> Table:
    """Return the table of these rows, with the columns that differ between them and that ``width`` has room for."""
    rows = tuple(rows)
    columns = _fitting_columns(result, rows, width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1))
    for name, justify, _ in columns:
        # The last column says what a row is, and is the one that may wrap.
        table.add_column(name, justify="right" if justify else "left", no_wrap=justify)
    for row in rows:
        picked = result.best is not None and row.config_id == result.best.config_id
        cells = (Text(cell(row)) for _, _, cell in columns)
        table.add_row(*cells, style="bold green" if picked else "dim" if row.within_limits is False else "")
    return table


_Column = tuple[str, bool, Callable[[TrialResult], str]]


def _fitting_columns(result: RunResult, rows: tuple[TrialResult, ...], width: int) -> tuple[_Column, ...]:
    """Return the most columns that fit, those that say something; where even the fewest do not, memory goes too."""
    for least in (WIDEST, WIDE):
        columns = _telling(_columns(result, least), rows)
        if least <= width and _width(columns, rows) <= width:
            return columns
    columns = _telling(_columns(result, 0), rows)
    return columns if _width(columns, rows) <= width else tuple(one for one in columns if one[0] != MEMORY)


def _telling(columns: tuple[_Column, ...], rows: tuple[TrialResult, ...]) -> tuple[_Column, ...]:
    return tuple(column for column in columns if _says_something(column, rows))


def _width(columns: tuple[_Column, ...], rows: tuple[TrialResult, ...]) -> int:
    """Return what the table takes where nothing wraps: a blank before it, and two between its columns."""
    return sum(max(len(name), *(len(cell(row)) for row in rows)) + 2 for name, _, cell in columns)


def _columns(result: RunResult, width: int) -> tuple[_Column, ...]:
    wide: tuple[_Column, ...] = (
        ("epoch", True, epoch_time),
        ("device memory", True, lambda row: format_bytes(row.gpu_peak_bytes)),
    )
    predicted: _Column = ("model (95 %)", True, predicted_rate)
    apart: tuple[_Column, ...] = (
        ("settings", False, leaders.row_settings),
        ("", False, lambda row: ", ".join(leaders.marks(result, row))),
    )
    together: tuple[_Column, ...] = (
        ("", False, lambda row: ", ".join(filter(None, (*leaders.marks(result, row), leaders.row_settings(row))))),
    )
    return (
        ("batch", True, lambda row: "own" if row.batch_size is None else str(row.batch_size)),
        ("workers", True, lambda row: str(row.num_workers)),
        ("samples/s (95 %)", True, leaders.trial_rate),
        *((predicted,) if width >= WIDEST else ()),
        *(wide if width >= WIDE else ()),
        (MEMORY, True, lambda row: format_bytes(needed_bytes(row))),
        *((("by model", True, predicted_memory),) if width >= WIDEST else ()),
        *(apart if width >= WIDE else together),
    )


def _says_something(column: _Column, rows: tuple[TrialResult, ...]) -> bool:
    return any(column[2](row) not in ("", "–") for row in rows)


def _verdict(result: RunResult) -> RenderableType:
    lines: list[RenderableType] = []
    if result.best is None:
        lines.append(Text(summary.headline(result) + ".", style="bold red"))
    else:
        is_guess = summary.standing(result) in ("guess", "unconfirmed")
        name, colour = ("Best guess", "yellow") if is_guess else ("Pick", "green")
        lines.append(Text.assemble((f"{name}: ", "bold"), (summary.headline(result), f"bold {colour}")))
        lines += [_indented(sentence) for sentence in summary.verdict_sentences(result)]
    lines += [_indented(sentence) for sentence in summary.limit_sentences(result)]
    return Group(*lines)


def _indented(sentence: str) -> Padding:
    return Padding(Text(sentence), (0, 0, 0, 2))


def _document_table(result: RunResult) -> RenderableType | None:
    chosen = result.trial(result.best.config_id) if result.best is not None else None
    rows = article.document_rows(result, chosen) if chosen is not None else ()
    if not rows:
        return None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), title_justify="left", title_style="")
    table.title = Text(f"{article.HEADING}, for the pick")
    for name in ("model", "it gives", "here"):
        table.add_column(name, min_width=len("batches N/B") if name == "model" else None)
    for row in rows:
        table.add_row(Text(row.name), Text(row.stated), Text(row.here))
    return Padding(Group(table, Text(article.EXPLANATION, style="dim")), (1, 0, 1, 0))


def _finding(finding: Finding) -> RenderableType:
    head = Text.assemble((plain(finding.code), f"bold {_SEVERITY[finding.severity]}"), " ", plain(finding.message))
    return Group(head, Padding(Text(plain(finding.advice), style="italic"), (0, 0, 0, 6)))


def _failures(result: RunResult) -> tuple[TrialResult, ...]:
    return tuple(trial for trial in result.trials if trial.status != "ok")


def _failures_table(failures: tuple[TrialResult, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("without a number", no_wrap=True)
    table.add_column("why")
    said: dict[tuple[LoaderConfig, str], list[str]] = {}
    for trial in failures:
        why = f"{trial.status}: {plain(trial.failure_reason or trial.failure_kind or 'not measured')}"
        why += f" → {plain(trial.failure_advice)}" if trial.failure_advice else ""
        # Rows that differ in drop_last alone share their trials, and so what went wrong: it is said once.
        said.setdefault((trial.config.steady, why), []).append(trial.config_id)
    for (_, why), names in said.items():
        table.add_row(Text("\n".join(names)), Text(why))
    return table
