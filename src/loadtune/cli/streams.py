"""Standard output and standard error, which may be closed, full, or without a reader."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, TextIO, cast

from loadtune.errors import OutputError


class TolerantStream:
    """A stream that goes on quietly when its reader has gone: measuring does not end because a pager was closed."""

    def __init__(self, stream: TextIO, name: str = "standard output") -> None:
        self._stream = stream
        self._name = name
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
        # What is left, the interpreter's own last flush included, must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if error.errno not in self._gone:
            raise OutputError(f"{self._name} cannot be written: {error.strerror}") from error


def stdout() -> TextIO:
    """Return stdout, tolerant of a closed pipe."""
    return cast("TextIO", TolerantStream(sys.stdout))


def stderr() -> TextIO:
    """Return stderr, tolerant of a closed pipe."""
    return cast("TextIO", TolerantStream(sys.stderr, "standard error"))


def open_closed() -> None:
    """Give a stream that was closed before the start the null device: to write nowhere is no fault.

    Python leaves such a stream None, and the next file that is opened would get what was written to its number.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open while the process runs
            os.set_inheritable(nowhere.fileno(), True)
            setattr(sys, name, nowhere)
