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

from loadtune.measure.lifeline import die_with_parent


class AsideError(Exception):
    """The process raised, died or took too long; the message says which."""


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
        with os.fdopen(reader, "rb") as answer:
            data = _read(answer.fileno(), time.monotonic() + within_seconds)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may not lead a group yet
        os.waitpid(pid, 0)
    if not data:
        raise AsideError("its process died or took too long")
    result = pickle.loads(data)  # noqa: S301 - from our own child
    if isinstance(result, AsideError):
        raise result
    return result


def _answer(function: Callable[[], Any], writer: int, parent: int) -> NoReturn:
    os.setsid()
    die_with_parent(parent)
    try:
        result: Any = function()
    except BaseException as error:  # noqa: BLE001 - a data set may raise whatever it likes
        result = AsideError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    with os.fdopen(writer, "wb") as answer:
        answer.write(pickle.dumps(result))
    os._exit(0)


def _read(descriptor: int, deadline: float) -> bytes:
    """Return everything up to the end; nothing where the deadline came first."""
    data = b""
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            return data
        data += piece
    return b""
