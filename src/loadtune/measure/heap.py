"""What the C library's allocator keeps free in a process that makes batches.

Such memory is held and not used: it grows without anything being kept, and no look from outside can tell. glibc before
2.38 does so at length where samples are large tensors: a block that was freed does not fit the next aligned one of its
size (Sourceware bug 14581), so most batches take new memory until the small blocks in between are free.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE_PREFIX = "heap-"
"""A process keeps its number in a file of this name and its process id."""
_NUMBER_BYTES = 8
_EVERY_SECONDS = 0.02
_SHARE = 100
"""A note takes no more than one part in so many of the time: it goes through all that is free, block by block."""


class _Info(ctypes.Structure):
    """``struct mallinfo2`` (mallinfo(3))."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


class _Notes:
    folder: str | None = None


def begin(folder: str | None) -> None:
    """Have what is free noted from now on, in files in ``folder``; not where it is None, or the allocator mute."""
    _Notes.folder = folder if free_bytes() is not None else None


def is_noted() -> bool:
    """Return whether anything is."""
    return _Notes.folder is not None


def noting(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a collate function that notes what is free once its batch is made, where anything is noted."""
    return collate if _Notes.folder is None else _Noting(collate, _Notes.folder)


def free_bytes() -> int | None:
    """Return the bytes that the allocator of this process has free; None where it does not tell."""
    read = _mallinfo2()
    return None if read is None else int(read().fordblks)


@lru_cache(1)
def _mallinfo2() -> Callable[[], Any] | None:
    try:
        read: Any = ctypes.CDLL(None).mallinfo2
    except (OSError, TypeError, AttributeError):  # another C library, one from before 2.33, or a static Python
        return None
    read.restype = _Info
    return read  # type: ignore[no-any-return]


def read(folder: Path, pid: int) -> int | None:
    """Return what a process noted last; None where it noted nothing."""
    try:
        noted = (folder / f"{FILE_PREFIX}{pid}").read_bytes()
    except OSError:
        return None
    return int.from_bytes(noted, "little") if len(noted) == _NUMBER_BYTES else None


def note() -> None:
    """Note what is free in this process, where anything is noted."""
    if _Notes.folder is not None:
        _write(_Notes.folder)


def _write(folder: str) -> None:
    free = free_bytes()
    if free is None:
        return
    with contextlib.suppress(OSError):  # no room for a number is no reason to end a trial
        descriptor = os.open(f"{folder}/{FILE_PREFIX}{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, free.to_bytes(_NUMBER_BYTES, "little"), 0)
        finally:
            os.close(descriptor)


class _Noting:
    """Makes batches as ``inner`` does. It is sent to workers that are started anew, so it holds no file."""

    def __init__(self, inner: Callable[[Any], Any], folder: str) -> None:
        self.inner = inner
        self._folder = folder
        self._next = 0.0

    def __call__(self, samples: Any) -> Any:
        batch = self.inner(samples)
        began = time.monotonic()
        if began >= self._next:
            _write(self._folder)
            ended = time.monotonic()
            self._next = ended + max(_EVERY_SECONDS, _SHARE * (ended - began))
        return batch
