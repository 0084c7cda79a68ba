"""Where text for people goes, and in what dress."""

from __future__ import annotations

import errno
import os
import sys
from typing import IO, Any, Literal, TextIO, cast

from rich.console import Console

from loadtune.cli.surroundings import environment
from loadtune.show.words import plain


class TolerantStream:
    """A stream that goes on quietly when its reader has gone: measuring does not end because a pager was closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # A terminal that hangs up gives EIO; a file that does so has a broken disk, which is to be said.
        self._gone = (errno.EPIPE, errno.EIO) if stream.isatty() else (errno.EPIPE,)

    def write(self, text: str) -> int:
        """Write ``text``, or drop it when nobody reads any more."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what is left when nobody reads any more."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error: OSError) -> None:
        if error.errno not in self._gone:
            raise error
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def stdout() -> TextIO:
    """Return stdout, tolerant of a closed pipe."""
    return cast("TextIO", TolerantStream(sys.stdout))


def note(text: str | None) -> None:
    """Say something beside the output, on stderr; nothing where there is nothing to say."""
    if text is not None:
        TolerantStream(sys.stderr).write(f"loadtune: {plain(text)}\n")


def console_for_people(*, color: Literal["auto", "always", "never"] = "auto", to_stderr: bool = False) -> Console:
    """Return the console that people read: stdout, or stderr where stdout carries an export.

    ``NO_COLOR`` counts as ``never`` unless colour is asked for outright.
    """
    plain = color == "never" or (color == "auto" and bool(environment().get("NO_COLOR")))
    return Console(
        file=cast("IO[str]", TolerantStream(sys.stderr if to_stderr else sys.stdout)),
        color_system=None if plain else "auto",
        no_color=plain,  # said here, else rich asks the environment once more
        force_terminal=True if color == "always" else None,
        highlight=False,
        soft_wrap=False,
    )
