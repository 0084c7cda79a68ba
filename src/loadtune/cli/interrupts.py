"""What ends the command early: Ctrl-C, SIGTERM and SIGHUP become a KeyboardInterrupt, and are remembered.

The exception of a signal is raised wherever Python happens to be, and what is there may drop it: the start of an
extension module that is being imported does, now and then. Whoever works in steps asks between them whether one came.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_came = False


def came() -> bool:
    """Return whether the command was interrupted since it began."""
    return _came


@contextmanager
def heard() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does: children ended, what was measured kept."""
    global _came  # noqa: PLW0603 - signals come to the process, not to an object
    _came = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Ignored stays ignored: under nohup it is to outlive its terminal, and behind & the terminal's Ctrl-C.
    before = {
        number: handler
        for number in _NUMBERS
        if (handler := signal.getsignal(number)) is not None and (handler != signal.SIG_IGN or number == signal.SIGTERM)
    }
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    global _came  # noqa: PLW0603 - as above
    _came = True
    if number not in (signal.SIGINT, signal.SIGTERM):
        # The kernel and the shell both send SIGHUP: the second must not disturb the keeping of what was measured.
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
