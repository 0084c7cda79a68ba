"""What the kernel counts when memory is out: processes that it killed, and how often a limit was hit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtune.record import cgroups
from loadtune.record.mounts import read_text

KILLS = "oom_kill"
"""The counter of killed processes; one that only tells of a limit that was hit moves for the page cache as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One number in one file."""

    file: Path
    label: str
    """For people, such as ``cgroup v1 /a memory.oom_control oom_kill``."""
    field: str | None
    """Its name among the lines of the file; None where the file is the number."""

    def read(self) -> int | None:
        """Return the count; None where it is not there, as in kernels before 4.13."""
        text = read_text(self.file) or ""
        name = f"{self.field} +" if self.field is not None else ""
        match = re.search(rf"^{name}([0-9]+)$", text, re.MULTILINE)
        return int(match[1]) if match else None


def counters(root: Path) -> tuple[Counter, ...]:
    """Return the counters that can be read: of each control group of this process, of the machine.

    Version 1 counts a kill in the group of the process that was killed, version 2 in all groups above it as well.
    """
    found: list[Counter] = []
    for group in cgroups.groups("memory", root=root):
        names: list[tuple[str, str | None]] = [("memory.oom_control", KILLS), ("memory.failcnt", None)]
        if group.version != 1:
            names = [("memory.events", KILLS)]
        found += [Counter(file=group.folder / n, label=_label(group.label(n), f), field=f) for n, f in names]
    found.append(Counter(file=root / "proc/vmstat", label=f"/proc/vmstat {KILLS}", field=KILLS))
    return tuple(counter for counter in found if counter.read() is not None)


def _label(file: str, name: str | None) -> str:
    return file if name is None else f"{file} {name}"


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the counters that went up, and by how much."""
    return {label: count - before[label] for label, count in after.items() if count > before.get(label, count)}


def killed(before: Mapping[str, int], after: Mapping[str, int]) -> int | None:
    """Return how many processes were killed for want of memory; None where nothing counts them.

    Told by the innermost group, where the kernel counts a kill whichever limit was hit, its own, an ancestor's or the
    machine's. Counters further out move for processes of others.
    """
    innermost = next((label for label in after if label.endswith(KILLS)), None)
    return None if innermost is None else max(0, after[innermost] - before.get(innermost, after[innermost]))
