"""What Linux offers to keep a tree of processes together; elsewhere these do nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path

from loadtune.measure.collect import collect

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MOST_OPEN_FILES = 1 << 20
"""Some programs go through every number that a descriptor could have."""
_ROUNDS = 20
"""Of killing: one that is about to be killed may start another."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent died, so that they can be ended and reaped here."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def wake_at_parents_end(number: int) -> None:
    """Have the kernel send this process a signal when its parent dies, or the thread of it that started this one."""
    _prctl(_PR_SET_PDEATHSIG, number)


def children() -> list[int]:
    """Return the process ids of this process's children, those that have ended and are not collected included."""
    try:
        return [
            int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        ]
    except OSError:
        import psutil  # noqa: PLC0415 - the guardian has no use for it elsewhere

        return [child.pid for child in psutil.Process().children()]


def end_orphans(keep: Collection[int]) -> list[int]:
    """Kill and collect the children of this process that are not among ``keep``, until there are none; return them.

    One that does not end is left after a while.
    """
    ended: list[int] = []
    left = set(keep)
    while orphans := set(children()) - left:
        ended += orphans
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                left.update([pid] if collect(pid) is None else [])
    return ended


def raise_open_files() -> None:
    """Raise the soft limit of open files as far as it goes: a trial is not to fail for a default of the shell."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def native_threads() -> int:
    """Return the number of threads of this process, those of libraries included; 1 where it cannot be read."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return 1


def kill_group(leader: int) -> None:
    """Kill a process and its whole group, whatever it does about signals."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(leader, signal.SIGKILL)


def kill_tree(root: int) -> tuple[int, ...]:
    """Kill a process with its group, and all below it with theirs; return their process ids."""
    from loadtune.run.memory import descendants  # noqa: PLC0415 - as above

    below = tuple(descendants(root))
    for pid in (root, *below):
        kill_group(pid)
    return (root, *below)


def kill_marked(entry: str) -> None:
    """Kill every process whose environment began with this entry, as those below one that was started with it have.

    Args:
        entry: As in ``NAME=value``. A process that changed its own environment since keeps what it began with.
    """
    wanted, own = entry.encode(), os.getpid()
    for _ in range(_ROUNDS):
        found = [pid for pid in _processes() if pid != own and wanted in _environment(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    return []


def _environment(pid: int) -> list[bytes]:
    """Return what the environment of a process was when it began; nothing of one that has ended, or is another's."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
