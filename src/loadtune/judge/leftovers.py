"""What trials left behind, as a finding."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.judge.reasons import counted, label
from loadtune.record.results import Finding, LeftBehind, TrialRecord
from loadtune.units import format_bytes


def finding(records: Sequence[TrialRecord]) -> Finding | None:
    """Return finding LT024 of a run's trials; None where nothing was left of any."""
    left = [(record, record.left_behind) for record in records if record.left_behind is not None]
    if not left:
        return None
    pids = [pid for _, what in left for pid in what.processes]
    files, size = sum(what.shm_files for _, what in left), sum(what.shm_bytes for _, what in left)
    parts = [f"{counted(len(pids), 'process', 'processes')} that no signal ends ({_some(pids)})"] if pids else []
    if files:
        parts.append(f"{counted(files, 'file')} in /dev/shm, {format_bytes(size)} ({_some(_names(left))})")
    return Finding(
        code="LT024",
        severity="warning",
        message=f"{counted(len(left), 'trial')} left {' and '.join(parts)}, first with {label(left[0][0].config)}",
        advice="look with ls -l /dev/shm and ps whether somebody uses them, and remove what nobody does; unlink shared "
        "memory in the data set",
        numbers={"trials": float(len(left)), "processes": float(len(pids)), "shm_files": float(files)}
        | {"shm_bytes": float(size)},
    )


def _names(left: Sequence[tuple[TrialRecord, LeftBehind]]) -> list[str]:
    return [name for _, what in left for name in what.shm_names]


def _some(things: Sequence[object], most: int = 3) -> str:
    """Return the first few, and that there are more."""
    return ", ".join(str(thing) for thing in things[:most]) + (", ..." if len(things) > most else "")
