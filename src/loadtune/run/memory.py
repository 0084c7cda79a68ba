"""Memory of a process tree, seen from outside: proportional set sizes, and shared memory that no process maps."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

SHM = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory

_ROLLUP = re.compile(rb"^(Pss|Pss_Shmem|Private_Clean|Private_Dirty):\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """Memory of one process, in bytes."""

    pss: int
    """Proportional set size: pages shared by n processes count as 1/n."""
    pss_shmem: int
    """The part of it in shared memory."""
    private: int
    """Pages that no other process maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeMemory:
    """Memory of a trial at one moment, in bytes."""

    resident: int
    """What a training process with this loader would hold, shared memory included."""
    shm: int
    """Growth of /dev/shm since before the trial."""


def parse_rollup(text: bytes) -> ProcessMemory:
    """Return what /proc/PID/smaps_rollup says."""
    values = {name: int(kib) * 1024 for name, kib in _ROLLUP.findall(text)}
    return ProcessMemory(
        pss=values.get(b"Pss", 0),
        pss_shmem=values.get(b"Pss_Shmem", 0),
        private=values.get(b"Private_Clean", 0) + values.get(b"Private_Dirty", 0),
    )


def read_process(pid: int) -> ProcessMemory | None:
    """Return the memory of a process, or None when it is gone or may not be read."""
    try:
        return parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except FileNotFoundError:
        return _read_elsewhere(pid)
    except OSError:
        return None


def _read_elsewhere(pid: int) -> ProcessMemory | None:
    """Without /proc the unique set size is the nearest to it that psutil offers; shared pages are left out."""
    try:
        private = int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):
        return None
    return ProcessMemory(pss=private, pss_shmem=0, private=private)


def descendants(pid: int) -> list[int]:
    """Return the process ids below ``pid``."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return _descendants_elsewhere(pid)
    return [one for child in children for one in (child, *descendants(child))]


def _descendants_elsewhere(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def shm_used_bytes() -> int | None:
    """Return what is used of /dev/shm, or None where there is none."""
    try:
        seen = os.statvfs(SHM)
    except OSError:
        return None
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize


def read_tree(host_pid: int, trial_pid: int, shm_before: int | None) -> TreeMemory | None:
    """Return the memory of a trial.

    The trial's process shares torch and the data set with the host that it was forked from, so the host's share of the
    common pages belongs to the sum; pages that only the host still maps are its own copies and do not.
    """
    trial = [read for pid in (trial_pid, *descendants(trial_pid)) if (read := read_process(pid)) is not None]
    if not trial:
        return None
    host = read_process(host_pid) if host_pid != trial_pid else None
    resident = sum(one.pss for one in trial) + (host.pss - host.private if host else 0)
    used = shm_used_bytes()
    shm = max(0, used - shm_before) if used is not None and shm_before is not None else 0
    unmapped = max(0, shm - sum(one.pss_shmem for one in trial))
    return TreeMemory(resident=resident + unmapped, shm=shm)
