"""The machine around a trial: what is read before it and while it runs, so that its end can be explained.

Counters are compared with what they were, so they are read before each trial, in some tenths of a millisecond. What
else there is to know is read at glances that are made anyway, or when a trial has failed.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import psutil

from loadtune.judge import remedy
from loadtune.judge.cause import memory_ran_out, memory_words
from loadtune.record import cgroups, oom, shared_memory
from loadtune.record.failure import Aftermath, FailureEvidence, ProcessEnd
from loadtune.record.limits import least, memory_limits, read_process_limits
from loadtune.record.mounts import read_text
from loadtune.run import postmortem


class Scene:
    """Watches what of the machine may end a trial.

    Args:
        root: Root of the file tree that holds ``proc`` and ``sys``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._counters = oom.counters(root)
        self._limit = least(memory_limits({}, root=root, process=read_process_limits()))
        self._usage = _usage_file(self._limit.source, root)
        self.begin()

    def begin(self) -> None:
        """Read what a trial's end will be compared with."""
        self._before = self._counts()
        self._peak_bytes: int | None = None
        seen = shared_memory.read()
        self._shm_least: int | None = seen.free_bytes if seen is not None else None
        self._shm_total: int | None = seen.total_bytes if seen is not None else None
        self._shm_before: int | None = seen.used_bytes if seen is not None else None

    def _counts(self) -> dict[str, int]:
        read = ((counter.label, counter.read()) for counter in self._counters)
        return {label: count for label, count in read if count is not None}

    def glance(self) -> None:
        """See what is used right now."""
        self._see_shm()
        used = _number(self._usage) if self._usage is not None else self._used_of_machine()
        if used is not None:
            self._peak_bytes = max(self._peak_bytes or 0, used)

    def _see_shm(self) -> None:
        seen = shared_memory.read()
        if seen is None:
            return
        self._shm_least = seen.free_bytes if self._shm_least is None else min(seen.free_bytes, self._shm_least)
        self._shm_total = seen.total_bytes

    def evidence(self, trial: ProcessEnd | None, aftermath: Aftermath) -> FailureEvidence:
        """Return what there is to be known of a trial that has failed."""
        self.glance()
        after = self._counts()
        killed = oom.killed(self._before, after)
        seen = asdict(aftermath)
        del seen["is_loading"], seen["handed_on"]  # they are of what it said
        free = [value for value in (self._shm_least, seen.pop("shm_free_bytes")) if value is not None]
        return FailureEvidence(
            **{**seen, "workers": aftermath.workers},
            shm_total_bytes=self._shm_total,
            shm_before_bytes=self._shm_before,
            trial=trial,
            oom_counters=oom.moved(self._before, after),
            oom_kills=killed,
            host_peak_bytes=self._peak(killed),
            host_limit_bytes=int(self._limit.amount),
            host_limit_source=self._limit.source,
            host_free_bytes=int(psutil.virtual_memory().available),
            shm_free_bytes=min(free, default=None),
        )

    def ending(self, status: int) -> str:
        """Return how a process ended that gave no result, and that it was for want of memory where the kernel says so.

        Args:
            status: Of the process, as the kernel encodes it.
        """
        ended, words = postmortem.process_end(status), postmortem.ending(status)
        seen = self.evidence(ended, Aftermath())
        if ended.signal != "SIGKILL" or not memory_ran_out(seen):
            return words
        return f"{words}, by the kernel, {memory_words(seen)}; {remedy.first_step('host_oom')}"

    def _used_of_machine(self) -> int | None:
        """Return what is used of physical memory, where that is the limit: nobody else's is compared with it."""
        if self._limit.source != "physical memory":
            return None
        memory = psutil.virtual_memory()
        return int(memory.total - memory.available)

    def _peak(self, killed: int | None) -> int | None:
        """Return the most that was used; between two glances only the kernel has seen it, and keeps it for a group."""
        if killed and self._usage is not None:
            name = "memory.max_usage_in_bytes" if self._usage.name == "memory.usage_in_bytes" else "memory.peak"
            return _number(self._usage.with_name(name)) or self._peak_bytes
        return self._peak_bytes


def _usage_file(source: str, root: Path) -> Path | None:
    """Return where the group that a limit is of tells what it uses; None where the limit is no group's."""
    for group in cgroups.groups("memory", root=root):
        limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        if group.version != 1:
            limit, usage = ("memory.max", "memory.current")
        if group.label(limit) == source:
            return group.folder / usage
    return None


def _number(file: Path) -> int | None:
    return cgroups.parse_limit(read_text(file))
