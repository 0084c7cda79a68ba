"""The trial host as the parent sees it: the process that holds the data set, and what it is told and says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import BinaryIO

import msgspec

from loadtune.errors import TargetError, TrialHostError, UsageError
from loadtune.record.results import Probe
from loadtune.run import memory, postmortem
from loadtune.run.leftovers import sweep_up
from loadtune.run.process import kill_group
from loadtune.run.protocol import Channel, Ready, Setup, Unusable
from loadtune.run.scratch import Scratch

_STDERR_KEPT = 4000
_BEATS_BYTES = 8


class TrialHost:
    """The process that holds the data set.

    Args:
        setup: What it loads from.

    Raises:
        TargetError: From ``ready``: the target cannot be used.
        TrialHostError: From ``ready``: the process died.
    """

    def __init__(self, setup: Setup) -> None:
        self._stderr: BinaryIO = tempfile.TemporaryFile(mode="w+b", buffering=0)  # noqa: SIM115 - closed in close()
        self._scratch = Scratch()
        self._beats = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed in close()
        self._beats.truncate(_BEATS_BYTES)
        self.channel, there = Channel.pair()
        with there:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "loadtune.run.trial_host", str(there.fileno()), str(os.getpid())],
                pass_fds=[there.fileno(), self._beats.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                start_new_session=True,
            )
        self.channel.send(msgspec.structs.replace(setup, beats=self._beats.fileno()))

    @property
    def scratch(self) -> str:
        """Directory for the trials' temporary files, removed with the host."""
        return str(self._scratch.path)

    @property
    def pid(self) -> int:
        """Process id of the host."""
        return self._process.pid

    def ready(self) -> Probe | None:
        """Wait until the data set is there; return what it is like, where that was asked for.

        Raises:
            UsageError: An option cannot be used, such as a device that is not there.
            TargetError: The target cannot be used, or the process died of it.
            TrialHostError: The process answered something else.
        """
        try:
            answer = self.channel.receive()
        except EOFError:
            ending = postmortem.ending(self.wait())
            raise TargetError(
                f"the process that builds the data set {ending}", hint=self.stderr_tail().strip() or None
            ) from None
        if isinstance(answer, Unusable):
            raise (TargetError if answer.about_target else UsageError)(answer.message, hint=answer.hint)
        if not isinstance(answer, Ready):
            raise TrialHostError(f"the trial host answered {type(answer).__name__} where it should be ready")
        return answer.probe

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def beats(self) -> int:
        """Return how many batches all its trials have taken."""
        return int.from_bytes(os.pread(self._beats.fileno(), _BEATS_BYTES, 0), sys.byteorder)

    def stderr_tail(self) -> str:
        """Return the end of what the host and its trials have written since the last call."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_KEPT))
        text = self._stderr.read().decode(errors="replace")
        self._stderr.seek(0)
        self._stderr.truncate()
        return text

    def tidy(self) -> None:
        """Remove what the processes of a trial that is over have left in shared memory."""
        sweep_up(self._scratch.path)

    def wait(self) -> int:
        """Wait for the end of the process and return its exit status as the kernel encodes it."""
        code = self._process.wait()
        return -code if code < 0 else code << 8

    def close(self) -> None:
        """End the process and everything below it."""
        self.channel.close()
        for pid in memory.descendants(self.pid):
            kill_group(pid)
        if self._process.poll() is None:
            kill_group(self.pid)
        self._process.wait()
        self.tidy()
        self._stderr.close()
        self._beats.close()
        self._scratch.close()

    def __enter__(self) -> TrialHost:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
