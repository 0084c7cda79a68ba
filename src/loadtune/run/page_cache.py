"""Cold files: before each trial, what was read since the last one is taken out of the page cache, and accounted for."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from loadtune.errors import UsageError
from loadtune.measure import page_cache
from loadtune.record.results import CacheDrop


def require_dropping() -> None:
    """Find out that files can be taken out of the page cache here.

    Raises:
        UsageError: This system has no means to.
    """
    if not page_cache.can_drop():
        raise UsageError("--cache cold is not possible here: this system has no posix_fadvise; use as-is or warm")


class ColdFiles:
    """Knows which files trials read, from their notes, and drops them.

    Between two trials only what the last one opened can have become warm, so only that is dropped again, and all that
    is kept open or mapped, whose reading nobody sees.

    Args:
        clock: Gives seconds; a scripted one in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._notes: BinaryIO = tempfile.NamedTemporaryFile(prefix="loadtune-", suffix=".files")  # type: ignore[assignment]  # noqa: SIM115 - closed in close()
        self._clock = clock
        self._rest = b""
        self._waiting: dict[bytes, None] = {}
        self._held: set[bytes] = set()
        self._dropped: set[bytes] = set()

    @property
    def notes(self) -> str:
        """The file that the processes that read note files in."""
        return self._notes.name

    def drop(self, *, within_seconds: float) -> CacheDrop:
        """Drop what may be cached by loadtune's own reading; what time does not suffice for is left for the next.

        Args:
            within_seconds: When to stop.
        """
        self._take_notes()
        began = self._clock()
        files, size, checked, before, after, unchecked = 0, 0, 0, 0, 0, 0
        for path in (*(self._held - self._waiting.keys()), *self._waiting):
            if self._clock() - began > within_seconds:
                break
            self._waiting.pop(path, None)
            one = page_cache.drop(os.fsdecode(path))
            if one is None:
                continue
            self._dropped.add(path)
            files, size = files + 1, size + one.size
            if one.cached_before is None or one.cached_after is None:
                unchecked += 1
            else:
                checked, before, after = checked + one.size, before + one.cached_before, after + one.cached_after
        return CacheDrop(
            seconds=self._clock() - began,
            files=files,
            file_bytes=size,
            checked_bytes=checked,
            cached_before_bytes=before,
            cached_after_bytes=after,
            unchecked_files=unchecked,
        )

    def account(self, drop: CacheDrop) -> CacheDrop:
        """Return ``drop`` with what the trial after it has opened, and how much of that had been dropped."""
        opened = {path: size for path in self._take_notes() if (size := _size(path)) is not None}
        cold = [size for path, size in opened.items() if path in self._dropped]
        return replace(
            drop,
            opened_files=len(opened),
            opened_bytes=sum(opened.values()),
            opened_cold_files=len(cold),
            opened_cold_bytes=sum(cold),
        )

    def _take_notes(self) -> set[bytes]:
        """Return the files noted since the last call."""
        *whole, self._rest = (self._rest + self._notes.read()).split(b"\0")
        found = {note[1:] for note in whole}
        self._held.update(note[1:] for note in whole if note[:1] == page_cache.HELD)
        self._waiting.update(dict.fromkeys(sorted(found)))
        return found

    def close(self) -> None:
        """Remove the notes."""
        self._notes.close()


def _size(path: bytes) -> int | None:
    """Return the size of a regular file in bytes, None for anything else."""
    try:
        found = os.stat(path)  # noqa: PTH116 - bytes are not pathlib's
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
