"""Sets of CPUs as the kernel and ``taskset`` write them: ``0-3,8``."""

from __future__ import annotations

from collections.abc import Iterable


def cpu_list(cpus: Iterable[int]) -> str:
    """Return the list of these CPUs, ranges joined."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def cpus_in(text: str) -> frozenset[int]:
    """Return the CPUs of a list.

    Raises:
        ValueError: It is no such list.
    """
    ranges = (part.partition("-") for part in text.split(",") if part)
    return frozenset(cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1))
