"""Memory of a process tree, seen from outside: proportional set sizes, and shared memory that no process maps.

Growth is told apart by two figures of the same read (proc(5), ``smaps_rollup``). ``Anonymous`` counts the pages without
a file that a process maps, whoever else maps them: it rises with what is allocated, and a forked process that writes to
a page which it shares swaps one page for another. ``Pss_Anon`` counts a page that n processes share as 1/n in each: its
sum over them all rises with what is allocated and with every copy. The difference is copy-on-write.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from loadtune.measure import heap
from loadtune.record import shared_memory

_ROLLUP = re.compile(rb"^(Pss|Pss_Anon|Pss_Shmem|Private_Clean|Private_Dirty|Anonymous):\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """Memory of one process, in bytes."""

    pss: int
    """Proportional set size: pages shared by n processes count as 1/n."""
    pss_shmem: int
    """The part of it in shared memory."""
    private: int
    """Pages that no other process maps."""
    anonymous: int
    """Pages without a file, shared with a fork or not: each counts in full."""
    pss_anonymous: int
    """The same, where one that n processes share counts as 1/n."""
    private_anonymous: int
    """Those of them that no other process maps: what is private and was written to, less shared memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeMemory:
    """Memory of a trial at one moment, in bytes."""

    resident: int
    """What a training process with this loader would hold, shared memory included."""
    shm: int
    """Growth of /dev/shm since before the trial."""
    main: int
    """Anonymous memory of the main process; see ``ProcessMemory.anonymous``."""
    workers: int
    """The same, summed over the processes below it."""
    held: int
    """Anonymous memory that the trial takes: ``main`` and ``workers``, where a page that several share counts once."""
    shared: int
    """About the part of ``workers`` that is shared still: the most that copies can add to ``held``."""
    open_files: int | None
    """Most descriptors that one of the processes has open."""
    main_free: int | None = None
    """The part of ``main`` that its allocator keeps free; None where it did not tell."""
    workers_free: int | None = None
    """The same of ``workers``; None where not all of them told."""


def parse_rollup(text: bytes) -> ProcessMemory:
    """Return what /proc/PID/smaps_rollup says."""
    values = {name: int(kib) * 1024 for name, kib in _ROLLUP.findall(text)}
    pss, shmem, written = values.get(b"Pss", 0), values.get(b"Pss_Shmem", 0), values.get(b"Private_Dirty", 0)
    return ProcessMemory(
        pss=pss,
        pss_shmem=shmem,
        private=values.get(b"Private_Clean", 0) + written,
        anonymous=values.get(b"Anonymous", 0),
        pss_anonymous=values.get(b"Pss_Anon", max(0, pss - shmem)),
        private_anonymous=max(0, written - shmem),
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
    return ProcessMemory(
        pss=private,
        pss_shmem=0,
        private=private,
        anonymous=private,
        pss_anonymous=private,
        private_anonymous=private,
    )


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
    seen = shared_memory.read()
    return None if seen is None else seen.used_bytes


def open_files(pids: Sequence[int]) -> int | None:
    """Return the most descriptors that one of the processes has open; None where that cannot be read."""
    counts = []
    for pid in pids:
        with contextlib.suppress(OSError):
            counts.append(sum(1 for _ in os.scandir(f"/proc/{pid}/fd")))
    return max(counts, default=None)


def read_tree(
    host_pid: int, trial_pid: int, shm_before: int | None, *, folder: Path, workers: int
) -> TreeMemory | None:
    """Return the memory of a trial.

    Args:
        host_pid: The process that the trial was forked from, or the trial itself.
        trial_pid: The process that takes the batches.
        shm_before: Use of /dev/shm before the trial, in bytes.
        folder: Where its processes note what their allocators keep free.
        workers: How many load for it; below it there may be others, such as a resource tracker.
    """
    pids = (trial_pid, *descendants(trial_pid))
    main, *below = (read_process(pid) for pid in pids)
    if main is None:
        return None
    host = read_process(host_pid) if host_pid != trial_pid else None
    used = shm_used_bytes()
    shm = max(0, used - shm_before) if used is not None and shm_before is not None else 0
    seen = tree(main, [read for read in below if read is not None], host, shm=shm, files=open_files(pids))
    main_free, *below_free = (heap.read(folder, pid) for pid in pids)
    told = [free for free in below_free if free is not None]
    return replace(seen, main_free=main_free, workers_free=sum(told) if len(told) == workers else None)


def tree(
    main: ProcessMemory, workers: Sequence[ProcessMemory], host: ProcessMemory | None, *, shm: int, files: int | None
) -> TreeMemory:
    """Return the memory of a trial from that of its processes.

    The trial's process shares torch and the data set with the host that it was forked from, so the host's share of the
    common pages belongs to the sum; pages that only the host still maps are its own copies and do not.
    """
    trial = [main, *workers]
    resident = sum(one.pss for one in trial) + (host.pss - host.private if host else 0)
    held = sum(one.pss_anonymous for one in trial)
    held += max(0, host.pss_anonymous - host.private_anonymous) if host else 0
    anonymous = sum(one.anonymous for one in workers)
    sharers = len(trial) + (host is not None)
    # A page that all of them share counts as 1/sharers in a worker.
    shared = (anonymous - sum(one.pss_anonymous for one in workers)) * sharers // max(1, sharers - 1)
    return TreeMemory(
        resident=resident + max(0, shm - sum(one.pss_shmem for one in trial)),
        shm=shm,
        main=main.anonymous,
        workers=anonymous,
        held=held,
        shared=max(0, shared),
        open_files=files,
    )
