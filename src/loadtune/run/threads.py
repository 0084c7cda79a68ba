"""Threads of a trial that run or wait for a CPU, counted from outside: seldom, so that no rate is the lower for it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtune.record.results import ThreadMeasurement

APART_SECONDS = 0.15
"""Between two counts at least; they come with the glances, so that a second of windows has four or five."""
COST_SHARE = 1 / 1000
"""A count that took t seconds of a CPU is the last for t divided by this, so that counting costs no more than it."""
MOST_WORKERS = 16
"""Workers that are looked at; more are taken to be like these."""
_STAT_BYTES = 512
"""Name and state stand at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """Threads of a process at one moment."""

    alive: int
    runnable: int
    """Those that ran or waited for a CPU."""


def parse_state(stat: bytes) -> str:
    """Return the state of a thread from its ``stat`` (proc(5)); its name, in brackets, may hold anything."""
    return stat.rpartition(b")")[2].split(maxsplit=1)[0].decode()


def read_threads(pid: int) -> Threads | None:
    """Return the threads of a process; None when it is gone, or the system does not tell."""
    try:
        with os.scandir(f"/proc/{pid}/task") as tasks:
            states = [state for task in tasks if (state := _state(task.path)) is not None]
    except OSError:
        return None
    return Threads(alive=len(states), runnable=states.count("R")) if states else None


def _state(task: str) -> str | None:
    """Return the state of a thread, None of one that ended just now; by system calls, at half the price of a Path."""
    try:
        file = os.open(f"{task}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return parse_state(os.read(file, _STAT_BYTES))
    except (OSError, IndexError):
        return None
    finally:
        os.close(file)


class ThreadCounter:
    """Counts the threads of a trial while its windows last.

    Args:
        clock: Gives seconds.
        read: Gives the threads of a process.
        cpu_clock: Gives the seconds that this thread has run: among more threads than CPUs, which is what is to be
            counted, a count mostly waits for its turn, and that costs nobody anything.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        read: Callable[[int], Threads | None] = read_threads,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._read = read
        self._trial: int | None = None
        self._workers: Sequence[int] = ()
        self._looked_at: Sequence[int] = ()
        self._not_before = 0.0
        self._counted: list[tuple[float, float, float]] = []

    def begin(self, trial: int, workers: Sequence[int]) -> None:
        """Count from now on: in the process that takes the batches, and in these workers."""
        self._trial, self._workers = trial, workers
        self._looked_at = workers[:: -(-len(workers) // MOST_WORKERS)] if workers else ()
        self._not_before = self._clock() + APART_SECONDS / 2

    def end(self) -> None:
        """Count no more."""
        self._trial = None

    def count(self) -> None:
        """Count, where it is time to."""
        began = self._clock()
        if self._trial is None or began < self._not_before:
            return
        cpu_began = self._cpu_clock()
        main = self._read(self._trial)
        loading = [self._read(pid) for pid in self._looked_at]
        self._not_before = began + max(APART_SECONDS, (self._cpu_clock() - cpu_began) / COST_SHARE)
        there = [seen for seen in loading if seen is not None]
        if main is None or len(there) < len(loading):
            return  # the windows are over
        each = there or [main]
        runnable_each = statistics.fmean(seen.runnable for seen in each)
        runnable = main.runnable + len(self._workers) * runnable_each if there else float(main.runnable)
        self._counted.append((runnable, runnable_each, statistics.fmean(seen.alive for seen in each)))

    def measured(self) -> ThreadMeasurement:
        """Return the means over all counts."""
        if not self._counted:
            return ThreadMeasurement()
        runnable, runnable_each, alive_each = (statistics.fmean(one) for one in zip(*self._counted, strict=True))
        return ThreadMeasurement(
            samples=len(self._counted), runnable=runnable, runnable_each=runnable_each, alive_each=alive_each
        )
