"""Where text for people goes, and in what dress."""

from __future__ import annotations

from typing import IO, Literal, cast

from rich.console import Console

from loadtune.cli.streams import stderr, stdout
from loadtune.cli.surroundings import environment
from loadtune.show.words import plain


def note(text: str | None) -> None:
    """Say something beside the output, on stderr; nothing where there is nothing to say."""
    if text is not None:
        stderr().write(f"loadtune: {plain(text)}\n")


def console_for_people(*, color: Literal["auto", "always", "never"] = "auto", to_stderr: bool = False) -> Console:
    """Return the console that people read: stdout, or stderr where stdout carries an export.

    ``NO_COLOR`` counts as ``never`` unless colour is asked for outright.
    """
    plain = color == "never" or (color == "auto" and bool(environment().get("NO_COLOR")))
    return Console(
        file=cast("IO[str]", stderr() if to_stderr else stdout()),
        color_system=None if plain else "auto",
        no_color=plain,  # said here, else rich asks the environment once more
        force_terminal=True if color == "always" else None,
        highlight=False,
        soft_wrap=False,
    )
