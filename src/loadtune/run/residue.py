"""What a trial leaves behind: processes that cannot be ended, and files in /dev/shm, which is memory until they go."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

import psutil

from loadtune.record.results import LeftBehind
from loadtune.run.memory import SHM

_OF_TORCH = re.compile(r"torch_(\d+)_")
"""torch names its files in shared memory after the process that makes them."""
_NAMES_KEPT = 8
_GRACE_SECONDS = 1.0


class Residue:
    """Compares what is there after a trial with what was there before it.

    Args:
        folder: Where shared memory has its names.
    """

    def __init__(self, folder: Path = SHM) -> None:
        self._folder = folder
        self._before = self._names()

    def after(self, ended: Collection[int]) -> LeftBehind | None:
        """Return what is there that was not there before, after the trial's processes are gone; None where nothing is.

        What a killed worker had in torch's own names is removed: nobody else ever will.

        Args:
            ended: Process ids of the trial, all of them ended, or meant to be.
        """
        alive = _still_alive(ended)
        new = sorted(self._names() - self._before)
        for name in [name for name in new if _maker(name) in set(ended) - set(alive)]:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
        left = {name: size for name in new if (size := self._own_bytes(name)) is not None}
        if not alive and not left:
            return None
        return LeftBehind(
            processes=alive, shm_files=len(left), shm_bytes=sum(left.values()), shm_names=tuple(left)[:_NAMES_KEPT]
        )

    def _names(self) -> set[str]:
        try:
            return set(os.listdir(self._folder))  # noqa: PTH208 - names are what is compared
        except OSError:
            return set()

    def _own_bytes(self, name: str) -> int | None:
        """Return the size of a file of this user; None of another's, or where it is gone by now."""
        try:
            seen = (self._folder / name).lstat()
        except OSError:
            return None
        own = not hasattr(os, "getuid") or seen.st_uid == os.getuid()
        return seen.st_blocks * 512 if own else None


def _maker(name: str) -> int | None:
    found = _OF_TORCH.match(name)
    return int(found[1]) if found else None


def _still_alive(pids: Collection[int]) -> tuple[int, ...]:
    """Return those that have not ended, after some time for those that are about to."""
    deadline = time.monotonic() + _GRACE_SECONDS
    while (alive := tuple(pid for pid in pids if _is_alive(pid))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
