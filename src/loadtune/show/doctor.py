"""The machine in a terminal: each limit with its sources, the one in force marked, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from loadtune.judge.checkup.check import Candidate, Check
from loadtune.record.results import Environment
from loadtune.show.trimmed import Trimmed
from loadtune.show.words import plain

BINDS = "→"
"""Stands before the limit in force."""

_STYLE = {"good": "green", "look": "bold yellow", "bad": "bold red"}


def print_checkup(environment: Environment, found: Iterable[Check], console: Console) -> None:
    """Print what was looked at, a line or a few for each, and how many want a look.

    Args:
        environment: The machine, for the head.
        found: What was looked at.
        console: Where to.
    """
    found = tuple(found)
    console.print(Text(head(environment), style="dim"))
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        table.add_row(Text(check.verdict, style=_STYLE[check.verdict]), Text(check.topic), _body(check))
    console.print(Trimmed(table))
    console.print(Text("\n" + summary(found)))


def head(environment: Environment) -> str:
    """Return what the machine is called, and what runs on it."""
    return (
        f"{plain(environment.hostname)}: {plain(environment.cpu_model)}, {plain(environment.platform)}; "
        f"Python {environment.python_version}, loadtune {environment.loadtune_version}"
    )


def summary(found: Iterable[Check]) -> str:
    """Return how many things want a look or are bad."""
    verdicts = [check.verdict for check in found]
    look, bad = verdicts.count("look"), verdicts.count("bad")
    if bad:
        return f"A sweep cannot run here: {bad} bad, {look} to look at."
    if look:
        return f"A sweep can run here; {look} {'thing wants' if look == 1 else 'things want'} a look."
    return "A sweep can run here, and nothing wants a look."


def _body(check: Check) -> RenderableType:
    parts: list[RenderableType] = [Text(_value(check))]
    if len(check.candidates) > 1:
        parts.append(_candidates(check.candidates))
    if check.advice:
        parts.append(Text(plain(check.advice), style="italic"))
    return Group(*parts)


def _value(check: Check) -> str:
    """Return the value, with its source where there is but one."""
    value = plain(check.value)
    return f"{value} ({plain(check.candidates[0].source)})" if len(check.candidates) == 1 else value


def _candidates(candidates: Iterable[Candidate]) -> Table:
    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(width=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for one in candidates:
        style = "bold" if one.binds else "dim"
        table.add_row(BINDS if one.binds else "", Text(one.amount), Text(plain(one.source)), style=style)
    return table
