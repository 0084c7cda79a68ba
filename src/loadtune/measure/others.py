"""Processor time that other work takes while a trial is measured: what the machine was busy with less what was ours."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

_IDLE = slice(4, 6)
"""Idle, and idle while a disk is waited for, in the first line of /proc/stat (proc(5)); the word ``cpu`` is before."""


class Moment(NamedTuple):
    """The clocks at one moment, in seconds."""

    wall: float
    idle: float
    """Time without work, summed over all CPUs; it comes from the kernel's own clock, not from counted ticks."""


def now() -> Moment | None:
    """Return the clocks now, in some 20 µs; None where the system does not tell."""
    try:
        with open("/proc/stat", "rb") as file:  # noqa: PTH123 - the least that can be done, beside windows
            first = file.readline()
    except OSError:
        return None
    return Moment(time.perf_counter(), parse_idle_ticks(first) / os.sysconf("SC_CLK_TCK"))


def parse_idle_ticks(line: bytes) -> int:
    """Return the ticks without work that the first line of /proc/stat says."""
    return sum(map(int, line.split()[_IDLE]))


def busy_seconds(before: Moment | None, after: Moment | None, own: float | None, cpus: int) -> float | None:
    """Return the processor time between two moments that was not ours; None where one of the figures is not known.

    Args:
        before: Where it begins.
        after: Where it ends.
        own: Our processor time between them.
        cpus: Of the whole machine.
    """
    if before is None or after is None or own is None:
        return None
    return max(0.0, cpus * (after.wall - before.wall) - (after.idle - before.idle) - own)
