"""The process between the sweep and its trial host: it outlives both, and leaves nothing of what they started.

Started as ``python -m loadtune.run.guardian FD PARENT`` by ``run.host``. It forks before much is imported; the child
becomes the trial host. A data set may start programs that know nothing of the sweep: a manager of ``multiprocessing``,
a server, a daemon in a session of its own. Whoever of them loses its parent becomes the guardian's child
(``PR_SET_CHILD_SUBREAPER``), so that it finds them all. When the sweep dies, the host ends, or SIGTERM asks for it, the
guardian kills whatever is below it until nothing is, and ends as the host did. It sleeps all that time, costs a trial
nothing, and holds some megabytes that are counted as nobody's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import NoReturn

from loadtune.run.process import adopt_orphans, children, wake_at_parents_end

HAS_GUARDIAN = sys.platform == "linux"
"""Elsewhere orphans cannot be adopted, and the process that is started is the trial host itself."""
GIVEN_UP_SECONDS = 60.0
"""What has not ended so long after it was killed waits in the kernel for a disk or a server, and is left."""
_LOOK_SECONDS = 1.0
"""How often the parent is looked after where no signal told of its end."""
_APART_SECONDS, _FURTHEST_APART_SECONDS = 0.01, 0.5
"""Between two rounds of killing: ever longer, where the kernel takes its time."""
END = signal.SIGTERM
"""Sent by the parent, and by nobody else, it has everything ended."""


def main(descriptor: int, parent: int) -> int:
    """Fork the trial host; return its parent's process id in it, and never in the guardian.

    Args:
        descriptor: The host's end of the line; where the guardian held it, the host's death would not show there.
        parent: Process id of the sweep.
    """
    # Blocked before the fork, so that none is lost; no Ctrl-C ends the guardian before its work is done.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody hears how a child ended
    wake_at_parents_end(signal.SIGHUP)
    adopt_orphans()
    guardian, host = os.getpid(), os.fork()
    if host:
        os.close(descriptor)
        _guard(host, parent)
    os.setsid()  # a group of its own, which can be killed without the guardian
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return guardian


def _guard(host: int, parent: int) -> NoReturn:
    status = _watch(host, parent)
    ended = _end_all()
    _end_as(ended.get(host, status if status is not None else int(signal.SIGKILL)))


def _watch(host: int, parent: int) -> int | None:
    """Wait until the host ends and return its status; None once the parent is dead, or asks for the end."""
    while os.getppid() == parent:
        heard = signal.sigtimedwait((signal.SIGCHLD, signal.SIGHUP, END), _LOOK_SECONDS)
        ended = _collect()
        if host in ended:
            return ended[host]
        if heard is not None and heard.si_signo == END and heard.si_pid == parent:
            return None
    return None


def _collect() -> dict[int, int]:
    """Collect the children that have ended; return their status by process id."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    return ended


def _end_all() -> dict[int, int]:
    """Kill and collect children until there are none: those of one that was killed become children in its place."""
    ended: dict[int, int] = {}
    deadline, apart = time.monotonic() + GIVEN_UP_SECONDS, _APART_SECONDS
    while (left := children()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended.update(_collect())
        signal.sigtimedwait((signal.SIGCHLD,), apart)
        apart = min(2 * apart, _FURTHEST_APART_SECONDS)
    return ended


def _end_as(status: int) -> NoReturn:
    """End this process as another ended, from its status as the kernel encodes it."""
    import resource  # noqa: PLC0415 - not on Windows

    if not os.WIFSIGNALED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the core that counts is the host's
    number = os.WTERMSIG(status)
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no other disposition
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os._exit(1)


def _start(descriptor: int, parent: int) -> None:
    if HAS_GUARDIAN:
        parent = main(descriptor, parent)
    from loadtune.run import trial_host  # noqa: PLC0415 - in the host alone: the guardian stays small

    trial_host.main(descriptor, parent)


if __name__ == "__main__":
    _start(int(sys.argv[1]), int(sys.argv[2]))
