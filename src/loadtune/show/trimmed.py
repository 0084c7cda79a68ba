"""What is printed without blanks at the ends of its lines: they are in the way where a line is copied or compared."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment


class Trimmed:
    """Draws something as wide as it is: rich fills tables and paddings up to their width.

    Args:
        inside: What is drawn.
    """

    def __init__(self, inside: RenderableType) -> None:
        self._inside = inside

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; called by rich."""
        for line in console.render_lines(self._inside, options, pad=False):
            yield from _without_blanks_at_the_end(line)
            yield Segment.line()


def _without_blanks_at_the_end(line: Iterable[Segment]) -> list[Segment]:
    kept = list(line)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        text, style, control = kept[-1]
        kept[-1] = Segment(text.rstrip(), style, control)
    return kept
