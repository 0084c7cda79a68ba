"""Torch's handler of SIGCHLD raises wherever the main process happens to be when a worker dies by a signal.

That is how a death is heard of at once. It may be the second thing that is raised, where a broken pipe told of the same
death first, and it must not come between an exception and those who read it.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Once:
    """A handler of SIGCHLD that is gone when it has raised."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handler(number, frame)
        except BaseException:
            ignore()
            raise


def raise_once() -> None:
    """Have whatever handles SIGCHLD raise once at most from now on."""
    handler = signal.getsignal(signal.SIGCHLD)
    if callable(handler) and not isinstance(handler, _Once):
        signal.signal(signal.SIGCHLD, _Once(handler))


def ignore() -> Any:
    """Have no handler of SIGCHLD from now on; return the one that there was.

    What a handler raises meanwhile is dropped: who died is found out by asking for it.
    """
    while True:
        with contextlib.suppress(RuntimeError):
            return signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def settled(measure: Callable[[], _Result]) -> _Result:
    """Return what ``measure`` returns; when it raises, no handler does so any more.

    Raises:
        Exception: What ``measure`` raised, or the death of a worker where that was heard of just then.
    """
    try:
        return measure()
    except Exception:
        # Python lets a handler run at the start of a function: what it raises leaves through here, in place of what
        # was raised first. Torch's own, which is there until the iterator is made, may do so once more.
        try:
            ignore()
        except Exception:
            ignore()
            raise
        raise
