"""Which CPUs the processes of a trial may run on, against those of the sweep: a library may have narrowed them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from loadtune.record.cpu_lists import cpu_list
from loadtune.record.results import Affinity

Ask = Callable[[int], "set[int]"]
"""Gives the CPUs that a process may run on; 0 is this one."""
KERNEL: Ask | None = getattr(os, "sched_getaffinity", None)
"""None on macOS."""


def read(trial: int, workers: Sequence[int], ask: Ask | None = KERNEL) -> Affinity | None:
    """Return the masks of a trial's processes.

    None where all may run wherever this process may, where one of them is gone, or where the system does not tell.

    Args:
        trial: The process that takes the batches.
        workers: The workers, by their numbers.
        ask: Gives the mask of a process's first thread, which is the one that loads.
    """
    if ask is None:
        return None
    try:
        own, main, *others = (ask(pid) for pid in (0, trial, *workers))
    except OSError:
        return None
    if all(mask == own for mask in (main, *others)):
        return None
    return Affinity(sweep=cpu_list(own), trial=cpu_list(main), workers=tuple(cpu_list(mask) for mask in others))
