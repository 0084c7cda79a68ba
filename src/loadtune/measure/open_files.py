"""Regular files that a process has open, whose offsets all of its forks share."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from typing import NamedTuple

from loadtune.measure.page_cache import is_data


class OpenFile(NamedTuple):
    """A descriptor that reads a regular file."""

    descriptor: int
    path: str


def descriptors() -> frozenset[int]:
    """Return the numbers of all descriptors of this process; none where the system does not tell."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - the names alone
    except OSError:
        return frozenset()
    # The one that listed them is closed by now, and its number free for another.
    return frozenset(number for number in numbers if os.path.lexists(f"/proc/self/fd/{number}"))


def opened_since(before: Collection[int]) -> tuple[OpenFile, ...]:
    """Return the regular files open for reading that are none of the descriptors ``before``, code left out."""
    found = (_open_file(number) for number in sorted(descriptors() - set(before)))
    return tuple(file for file in found if file is not None)


def _open_file(number: int) -> OpenFile | None:
    try:
        path = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - names need not be paths
        flags = _field(number, "flags:", base=8)
        if not stat.S_ISREG(os.fstat(number).st_mode) or flags & os.O_ACCMODE == os.O_WRONLY:
            return None
    except (OSError, ValueError):
        return None
    return OpenFile(number, path) if is_data(path) else None


def offset(file: OpenFile) -> int | None:
    """Return where the next read of ``file`` begins, in bytes; None where it is closed."""
    try:
        return _field(file.descriptor, "pos:")
    except (OSError, ValueError):
        return None


def _field(number: int, name: str, base: int = 10) -> int:
    with open(f"/proc/self/fdinfo/{number}", encoding="ascii") as info:  # noqa: PTH123 - read often, and small
        return next(int(line.split()[1], base) for line in info if line.startswith(name))


def open_anew(files: Collection[OpenFile]) -> None:
    """Give this process offsets of its own: each descriptor opens its file again, and stands where it stood."""
    for file in files:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            flags = _field(file.descriptor, "flags:", base=8) & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)
            fresh = os.open(f"/proc/self/fd/{file.descriptor}", flags)
            os.lseek(fresh, offset(file) or 0, os.SEEK_SET)
            os.dup2(fresh, file.descriptor)
            os.close(fresh)
