"""A look in a process of its own, so that what it does to the data set, or dies of, stays there."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from loadtune.measure.collect import collect, sleep_until_it_ends
from loadtune.measure.lifeline import die_with_parent
from loadtune.units import as_utf8

_LENGTH_BYTES = 8
"""Before an answer comes its length: a process that was started there may hold the line open behind it."""
LINE_CLOSED_CODE = 87
"""Exit code of a process whose line to whoever waits for it was closed by what it ran."""
_LOOK_SECONDS = 0.1
"""How often it is looked whether a process that says nothing still lives."""


class AsideError(Exception):
    """The process gave nothing; the message says why: it raised, where it is none of the errors below."""


class AsideLateError(AsideError):
    """It took too long."""


class AsideDiedError(AsideError):
    """It died.

    Args:
        status: Of the process, as the kernel encodes it.
    """

    def __init__(self, status: int) -> None:
        super().__init__("its process died")
        self.status = status


def aside(function: Callable[[], Any], *, within_seconds: float) -> Any:
    """Return what ``function`` returns in a forked child, which is killed with its whole group when it is over.

    Raises:
        AsideError: It gave nothing.
    """
    reader, writer = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        os.close(reader)
        _answer(function, writer, parent)
    os.close(writer)
    try:
        data = _read(reader, pid, time.monotonic() + within_seconds)
    finally:
        os.close(reader)
        status = _end(pid)
    if data is None:
        raise AsideDiedError(status)
    result = pickle.loads(data)  # noqa: S301 - from our own child
    if isinstance(result, AsideError):
        raise result
    return result


def _answer(function: Callable[[], Any], writer: int, parent: int) -> NoReturn:
    os.setsid()
    die_with_parent(parent)
    line = os.fstat(writer)
    try:
        data = pickle.dumps(function())
    except BaseException as error:  # noqa: BLE001 - a data set may raise whatever it likes
        said = as_utf8(" ".join(str(error).split())[:200])
        data = pickle.dumps(AsideError(f"{type(error).__name__}: {said}" if said else type(error).__name__))
    try:
        if not is_same(writer, line):
            os._exit(LINE_CLOSED_CODE)
        with os.fdopen(writer, "wb") as answer:
            answer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    finally:
        os._exit(0)


def is_same(descriptor: int, seen: os.stat_result) -> bool:
    """Return whether a descriptor is what it was: code that is run may close what is not its own."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), seen)
    return False


def _read(descriptor: int, pid: int, deadline: float) -> bytes | None:
    """Return the whole answer; None where the process died before it was there.

    Raises:
        AsideLateError: The deadline came first.
    """
    data = b""
    while len(data) < _LENGTH_BYTES or len(data) < _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise AsideLateError("its process took too long")
        has_ended = _has_ended(pid)
        if select.select([descriptor], [], [], min(left, _LOOK_SECONDS))[0]:
            piece = os.read(descriptor, 1 << 20)
            if not piece:  # it is dead, or has closed what is not its own: then its end will say so
                _await_end(pid, deadline)
                return None
            data += piece
        elif has_ended:
            return None
    return data[_LENGTH_BYTES:]


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _await_end(pid: int, deadline: float) -> None:
    while not _has_ended(pid):
        left = deadline - time.monotonic()
        if left <= 0:
            raise AsideLateError("its process took too long")
        sleep_until_it_ends(pid, left)


def _end(pid: int) -> int:
    """Kill a process with its group, and return its status: that of its own end where it came to one before."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # it may not lead a group yet
    status = collect(pid)
    return status if status is not None else int(signal.SIGKILL)  # it was sent, and waits in the kernel with it
