"""Trial hosts that are forked from a process which has imported torch, in place of interpreters that import it anew.

Importing torch takes a processor 2 to 4 seconds, and some two hundred tests want a trial host of their own. A process
of the test run keeps one warm process, which imports what a host imports, builds nothing, computes nothing, and forks a
guardian whenever a host is asked for. Everything from there on is the program's own. How a host is really started is
left to the tests that type the command, and to those marked ``own_interpreter``: on memory that a host shares with
nobody, on what it reads as it starts, and on what it costs.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from loadtune.measure.lifeline import die_with_parent
from loadtune.run import guardian

_LARGEST_ORDER = 1 << 18
_PR_SET_CHILD_SUBREAPER = 36


class WarmPopen(subprocess.Popen[bytes]):
    """A child of this process like any other: only where it was forked from differs."""

    def __init__(self, descriptors: Sequence[int], output: BinaryIO, environment: Mapping[str, str]) -> None:
        self._order = (tuple(descriptors), output.fileno(), dict(environment))
        super().__init__([sys.executable])

    def _execute_child(self, *_: Any) -> None:
        self.pid = _Warm.of_this_process().fork(*self._order)
        self._child_created = True


class _Warm:
    """The warm process, as seen by whoever wants a host, one at a time."""

    _known: dict[int, _Warm] = {}  # noqa: RUF012 - by process: one that was forked off has none yet

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(there.fileno()), str(os.getpid())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @classmethod
    def of_this_process(cls) -> _Warm:
        if os.getpid() not in cls._known:
            cls._known[os.getpid()] = cls()
        return cls._known[os.getpid()]

    def fork(self, descriptors: tuple[int, ...], output: int, environment: dict[str, str]) -> int:
        """Return the process id of a new guardian, which is a child of this process."""
        order = {
            "environment": environment,
            "folder": str(Path.cwd()),
            "numbers": descriptors,
            "affinity": sorted(os.sched_getaffinity(0)),
        }
        passed = array.array("i", [output, *descriptors])
        # Its parent ends at once, and it becomes the child of the nearest ancestor that asks for orphans.
        with self._lock:
            _adopt_orphans(yes=True)
            try:
                self._line.sendmsg(
                    [json.dumps(order).encode("utf-8", "surrogateescape")],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)],
                )
                return int(self._line.recv(64))
            finally:
                _adopt_orphans(yes=False)


def _adopt_orphans(*, yes: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def _serve(line: socket.socket, parent: int) -> None:
    """Fork a guardian for each order, in processes that then know nothing of this loop."""
    while True:
        data, passed, _, _ = socket.recv_fds(line, _LARGEST_ORDER, 16)
        if not data:
            return
        here, there = os.pipe()
        between = os.fork()
        if between == 0:
            guardian = os.fork()
            if guardian:
                os.write(there, str(guardian).encode())
                os._exit(0)
            line.close()
            os.close(here)
            os.close(there)
            _wait_for_parent(parent)
            _become_a_guardian(json.loads(data), passed, parent)
            return
        os.waitpid(between, 0)
        os.close(there)
        number = os.read(here, 64)
        os.close(here)
        for descriptor in passed:
            os.close(descriptor)
        line.send(number)


def _wait_for_parent(parent: int) -> None:
    while os.getppid() != parent:
        os.kill(parent, 0)  # where it is gone, this ends too
        time.sleep(0.001)


def _become_a_guardian(order: dict[str, Any], passed: list[int], parent: int) -> None:
    """Do what a shell's ``python -m loadtune.run.guardian`` would have done by now, then that."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(passed[0], 1)
    os.dup2(passed[0], 2)
    # First out of the way of the numbers that they are to have.
    moved = [_above(descriptor) for descriptor in passed[1:]]
    for descriptor in passed:
        os.close(descriptor)
    for descriptor, number in zip(moved, order["numbers"], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    os.sched_setaffinity(0, order["affinity"])
    sys.path[0] = order["folder"]
    sys.modules["__main__"] = guardian  # what workers that are started anew import first
    guardian._start(order["numbers"][0], parent)


def _above(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 200)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    for name in ("torch.utils.data", "loadtune.measure.trial", "loadtune.run.trial_host"):
        importlib.import_module(name)
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
