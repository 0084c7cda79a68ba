"""A killed child is collected, but not waited for without end: where it waits for a disk it may never end."""

from __future__ import annotations

import os
import select
import time

LEFT_SECONDS = 30.0
"""A killed process that has not ended by then is left; who watches a trial from outside gives up long before."""
_APART_SECONDS = 0.005


def collect(pid: int, within_seconds: float = LEFT_SECONDS) -> int | None:
    """Return the status of a child as the kernel encodes it, once it has ended; None where it has not in time.

    Raises:
        ChildProcessError: It is no child of this process.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        sleep_until_it_ends(pid, left)


def sleep_until_it_ends(pid: int, most_seconds: float) -> None:
    """Return when the process has ended, or after a moment where the system cannot tell."""
    try:
        death = os.pidfd_open(pid)
    except (AttributeError, OSError):
        time.sleep(min(_APART_SECONDS, most_seconds))
        return
    ready = select.poll()
    ready.register(death, select.POLLIN)
    ready.poll(most_seconds * 1000)
    os.close(death)
