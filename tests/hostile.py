"""Strings that try to be more than text, for every output."""

from __future__ import annotations

from hypothesis import strategies as st

from factories import HOSTILE

PIECES = (
    HOSTILE,
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "]]>--><!--",
    "{{ 7*7 }}{% raw %}",
    "=HYPERLINK(0)",
    "@SUM(1)",
    "+1",
    "-1",
    "\t=1",
    "\r\n",
    "[bold]x[/bold]",
    "[/]",
    ":smile:",
    "\x1b[2J",
    "\x1b]8;;http://x\x07x",
    "\x9b31m",
    "\x00",
    "\u2028",
    "\u202e",
    "\udcff",
    "| a | `b` |",
    "javascript:alert(1)",
)


def hostile_text() -> st.SearchStrategy[str]:
    """Return a strategy for text with such pieces in it."""
    return st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), min_size=1, max_size=4).map("".join)


def is_harmless_on_a_terminal(text: str) -> bool:
    """Whether the text has no control character but line ends, and no half of a surrogate pair."""
    return all(
        (character >= " " or character == "\n")
        and not "\x7f" <= character <= "\x9f"
        and not "\ud800" <= character <= "\udfff"
        for character in text
    )
