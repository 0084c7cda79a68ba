"""What Linux offers to end a process with its parent; elsewhere these do nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from loadtune.measure import page_cache

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, so that nothing runs on after a killed sweep.

    Args:
        parent: Process id that the parent had; if this process has another one by now, the parent is dead already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """A ``worker_init_fn`` that ties the worker to the trial, then does what the user's own does.

    A worker stuck in a sample never looks whether its parent lives.
    """

    inner: Callable[[int], None] | None
    forked_by: int | None
    """Process id of the trial where it forks the workers itself; None where another process starts them."""
    notes: str | None = None
    """Where the worker notes the files that it opens; None is nowhere."""
    stands: str | None = None
    """The folder where the worker tells where it stands, when it is asked; None is nowhere."""
    one_thread: bool = False
    """Whether libraries are held to one thread here, those included that the user's own function imports."""

    def __call__(self, worker: int) -> None:
        """Run in the worker, before its first sample."""
        # Imports torch, which takes seconds: a trial host that is starting has to be tied to its parent before.
        from loadtune.measure import threads, witness  # noqa: PLC0415

        die_with_parent(self.forked_by if self.forked_by is not None else os.getppid())
        witness.begin(self.stands)
        page_cache.begin(self.notes)
        if self.inner is not None:
            self.inner(worker)
        if self.one_thread:
            threads.hold_to_one()
