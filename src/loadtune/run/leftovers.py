"""What a trial leaves: in /dev/shm a batch half handed over, the semaphores of queues; and what cannot be removed.

A worker makes a file for a tensor and unlinks it a moment later; killed in between, as the workers of every trial are
at its end, it leaves the file, which goes on holding memory. The semaphores of workers that are not forked live as
files all along, and whoever would have removed them is killed too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

from loadtune.measure.witness import FILE_PREFIX
from loadtune.record.results import LeftBehind
from loadtune.record.shared_memory import SHM

SEMAPHORES = "/loadtune-{pid}"
"""What the names of a trial's semaphores begin with, so that they can be told from everybody else's."""
DEATH_SECONDS = 1.0
"""A killed process is gone by then, or is left alone with what it has."""
_NAMES_KEPT = 8
_BLOCK_BYTES = 512
"""A file's blocks are counted in these (stat(2))."""
_NAME = re.compile(r"(?:torch_|sem\.loadtune-)(\d+)[_-].*")


def sweep_up(folder: Path, *, keep: Collection[str] | None = None, shm: Path = SHM) -> int:
    """Remove what dead processes of a trial have left in shared memory; return how many files.

    Containers may share it where they do not share the numbers of processes: a file with the number of a process of
    ours that was there before it is somebody else's.

    Args:
        folder: Where each process of the trial has a file with its process id in the name.
        keep: Names from before the trial; None where they are not known any more, and ages have to tell.
        shm: Where shared memory is.
    """
    noted = {int(file.name.removeprefix(FILE_PREFIX)): file for file in folder.glob(f"{FILE_PREFIX}[0-9]*")}
    dead = _dead(set(noted))
    removed = 0
    for name in names(shm):
        found = _NAME.fullmatch(name)
        if not found or int(found[1]) not in dead:
            continue
        with suppress(OSError):
            if name not in keep if keep is not None else _is_younger(shm / name, noted[int(found[1])]):
                (shm / name).unlink()
                removed += 1
    for pid in dead:
        noted[pid].unlink(missing_ok=True)
    return removed


def names(shm: Path = SHM) -> frozenset[str]:
    """Return the names of what is in shared memory."""
    try:
        return frozenset(os.listdir(shm))  # noqa: PTH208 - names are all that is needed
    except OSError:
        return frozenset()


def _is_younger(path: Path, note: Path) -> bool:
    """Return whether a file is no older than the note that a process made when it began."""
    begun = note.stat()
    return path.stat().st_mtime >= min(begun.st_mtime, begun.st_atime)  # one of them moves when it is asked


class Leftovers:
    """Compares what is in shared memory after a trial with what was there before it.

    Args:
        shm: Where shared memory is.
    """

    def __init__(self, shm: Path = SHM) -> None:
        self._shm = shm
        self.before = names(shm)
        """What was there, which is not the trial's."""

    def after(self, pids: Collection[int]) -> LeftBehind | None:
        """Return what is there once the trial is over and swept up after; None where nothing is.

        Args:
            pids: Its processes, all of them killed.
        """
        alive = set(pids) - _dead(set(pids))
        new = (name for name in sorted(names(self._shm) - self.before) if not _is_of_another(name, pids))
        seen = ((name, self._own_bytes(name)) for name in new)
        files = {name: size for name, size in seen if size is not None}
        if not alive and not files:
            return None
        return LeftBehind(
            processes=tuple(sorted(alive)),
            shm_files=len(files),
            shm_bytes=sum(files.values()),
            shm_names=tuple(files)[:_NAMES_KEPT],
        )

    def _own_bytes(self, name: str) -> int | None:
        """Return the size of a file of this user; None of another's, or where it is gone by now."""
        try:
            seen = (self._shm / name).lstat()
        except OSError:
            return None
        own = not hasattr(os, "getuid") or seen.st_uid == os.getuid()
        return seen.st_blocks * _BLOCK_BYTES if own else None


def _is_of_another(name: str, pids: Collection[int]) -> bool:
    """Return whether a name is of a process, and of none of these: a batch of another loader, delivered or not."""
    found = _NAME.fullmatch(name)
    return found is not None and int(found[1]) not in pids


def _dead(pids: set[int]) -> set[int]:
    """Return which of these processes are gone, those that are going given a moment."""
    deadline = time.monotonic() + DEATH_SECONDS
    while (alive := {pid for pid in pids if _is_alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.01)
    return pids - alive


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
