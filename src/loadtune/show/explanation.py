"""Pages on findings and failures in a terminal: the little Markdown that they use, wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtune.explain.pages import Page, is_finding
from loadtune.show.trimmed import Trimmed

MAX_WIDTH = 100
"""Longer lines are hard to read."""

_INLINE = re.compile(r"`([^`]+)`|\[([^\]]+)\]\(([^)\s]+)\)|\*([^*\s][^*]*)\*")


def print_page(page: Page, console: Console) -> None:
    """Print a page: title, what it is, its sections."""
    width = min(console.width, MAX_WIDTH)
    console.print(Trimmed(Text.assemble((page.code, "bold"), ": ", (page.title, "bold"))), width=width)
    console.print(Trimmed(_inline(page.about)), style="dim", width=width)
    for heading, body in page.sections:
        console.print(Text("\n" + heading, style="bold cyan"), width=width)
        for block in _blocks(body):
            console.print(Trimmed(Padding(block, (0, 0, 0, 2))), width=width)


def print_titles(titles: Iterable[tuple[str, str]], console: Console) -> None:
    """Print each code with its title, findings and kinds of failure apart."""
    titles = tuple(titles)
    width = min(console.width, MAX_WIDTH)
    for heading, findings in (("Findings", True), ("Kinds of failure", False)):
        console.print(Text(heading, style="bold cyan"), width=width)
        table = Table.grid(padding=(0, 2), pad_edge=False)
        table.add_column(no_wrap=True, min_width=max(len(code) for code, _ in titles))
        table.add_column()
        for code, title in titles:
            if is_finding(code) is findings:
                table.add_row(Text(code, style="bold"), Text(title))
        console.print(Trimmed(Padding(table, (0, 0, 1, 2))), width=width)
    console.print(Text("loadtune explain CODE has a page for each."), width=width)


def _blocks(body: str) -> Iterator[RenderableType]:
    """Yield the paragraphs and lists of a section, an empty line between them."""
    for number, block in enumerate(re.split(r"\n\s*\n", body)):
        if number:
            yield Text("")
        yield _list(block) if block.startswith("- ") else _inline(block)


def _list(block: str) -> Table:
    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for item in re.split(r"^- ", block, flags=re.MULTILINE)[1:]:
        table.add_row("-", _inline(item))
    return table


def _inline(text: str) -> Text:
    """Return a paragraph on one line, to be wrapped: code and emphasis as styles, links as their address."""
    line, end = " ".join(text.split()), 0
    out = Text()
    for match in _INLINE.finditer(line):
        out.append(line[end : match.start()])
        code, label, address, emphasis = match.groups()
        if code is not None:
            out.append(code, style="bold")
        elif address is not None:
            out.append(address if "://" in address else label, style="underline")
        else:
            out.append(emphasis, style="italic")
        end = match.end()
    out.append(line[end:])
    return out
