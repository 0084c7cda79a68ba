"""Files written whole or not at all, and what keeps a place from being written."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

HALF_WRITTEN = re.compile(r"\..{1,40}\.[0-9a-f]{8}\.tmp")
"""Names of what ``write_atomically`` leaves where it was killed."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that at every moment there is the old one or the new one, never half of one.

    Raises:
        OSError: It cannot be written.
    """
    # Forty characters of any script leave room for the rest in the 255 bytes that a name may have.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    # Opened by hand: a file of `tempfile` is readable by its owner alone, a report is for others too.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_names(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_names(directory: Path) -> None:
    """Sync the names in a directory, where the file system can: a new name is not on the disk with its file."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def why_not_writable(directory: Path) -> str | None:
    """Return why no file can be made in a directory, or None; found out by making one, which is gone again at once.

    Permissions do not tell: root has them all, and neither /proc nor a read-only file system takes a file.
    """
    try:
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return "it takes no files" if isinstance(error, FileNotFoundError) else cause(error)


def require_possible(path: Path) -> None:
    """Let the system look a path up, so that a name that is too long, or a loop of links, is found before.

    Raises:
        OSError: There can be no file of this name.
        ValueError: The name holds a NUL.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def cause(error: Exception) -> str:
    """Return what the system says of an error, or else its own words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
