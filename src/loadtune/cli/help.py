"""The help pages, from the same option groups that are parsed.

cyclopts writes help through rich, and that is half of what a page would cost; plain aligned text pipes well besides.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cyclopts import App, Argument, Group

MAX_WIDTH = 110
COLUMN = 38


def main_page(app_help: str, verbs: Iterable[tuple[str, str]]) -> str:
    """Return the page of ``loadtune --help``."""
    rows = [(name, text) for name, text in verbs]
    common = [("--version", "Print the version."), ("--help, -h", "Print this page, or a command's own.")]
    return "\n\n".join(
        [
            "Usage: loadtune COMMAND [OPTIONS]",
            textwrap.fill(app_help, _width()),
            "\n".join(["Commands:", *_lines(rows, column=14)]),
            "\n".join(["Options:", *_lines(common, column=14)]),
            "Type 'loadtune COMMAND --help' for the options of one.",
        ]
    )


def verb_page(app: App, *, usage: str, text: str, notes: str = "") -> str:
    """Return the page of one command: its usage, what it does, and its options by group.

    Args:
        app: The application of that command alone.
        usage: What stands behind ``loadtune``.
        text: What it does.
        notes: What to say at the end.
    """
    sections: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for argument in app.assemble_argument_collection(parse_docstring=False):
        if argument.name != "*" and argument.show:
            sections.setdefault(_heading(argument), []).append(_row(argument))
    blocks = [f"Usage: loadtune {usage}", textwrap.fill(text, _width())]
    blocks += ["\n".join([f"{title}:", *_lines(rows)]) for (_, title), rows in sorted(sections.items())]
    return "\n\n".join([*blocks, *([textwrap.fill(notes, _width())] if notes else [])])


def _heading(argument: Argument) -> tuple[int, str]:
    group = next(iter(cast("tuple[Group, ...]", argument.parameter.group or ())), None)
    if group is None or group.name == "Parameters":
        return (9, "Options")
    if group.name == "Arguments":
        return (0, "Arguments")
    return (int(group.sort_key or 0), group.name)


def _row(argument: Argument) -> tuple[str, str]:
    value, _, text = (argument.parameter.help or "").partition("\n")
    return f"{', '.join(sorted(argument.names, key=len))} {value}".rstrip(), text


def _lines(rows: Iterable[tuple[str, str]], *, column: int = COLUMN) -> list[str]:
    lines = []
    indent = " " * column
    for label, text in rows:
        wrapped = textwrap.wrap(text, max(_width() - column, 30))
        head = f"  {label}".ljust(column)
        if len(head) > column:
            lines += [head, *(indent + line for line in wrapped)]
        else:
            lines += [(head + (wrapped[0] if wrapped else "")).rstrip(), *(indent + line for line in wrapped[1:])]
    return lines


def _width() -> int:
    return min(shutil.get_terminal_size((MAX_WIDTH, 24)).columns, MAX_WIDTH)
