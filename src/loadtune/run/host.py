"""The trial host as the parent sees it: the process that holds the data set, and what it is told and says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import BinaryIO

import msgspec

from loadtune.errors import OutputError, TargetError, TrialHostError, UsageError
from loadtune.measure.witness import BEATS_BYTES
from loadtune.record.results import Probe
from loadtune.run import building, guardian
from loadtune.run.leftovers import names, sweep_up
from loadtune.run.process import kill_marked, kill_tree
from loadtune.run.protocol import Channel, Message, Ready, Setup, Started, Unusable
from loadtune.run.scene import Scene
from loadtune.run.scratch import Scratch

ABANDONED_SECONDS = 10.0
"""A process that has not ended so long after its trial waits in the kernel for a disk or a server, and may for ever."""
_LOOK_SECONDS = 1.0
"""How often it is looked whether a host that is building the data set still lives."""
_DEATH_SECONDS = 1.0
"""For the end of a guardian that has done what it can."""
_STDERR_KEPT = 4000
_MARK = "TRIAL_HOST_OF_LOADTUNE"
"""Environment variable that all of a host's processes inherit: by it they are found where nothing links them."""


def _temporary_file(size: int = 0) -> BinaryIO:
    """Return a file without a name, for as long as it is open.

    Raises:
        OutputError: There is no place for one.
    """
    try:
        file: BinaryIO = tempfile.TemporaryFile(mode="w+b", buffering=0)  # noqa: SIM115 - whoever asked closes it
        file.truncate(size)
    except OSError as error:
        raise OutputError(
            f"no temporary file can be made: {error.strerror or error}",
            hint="give a directory that can be written, and has room, as in TMPDIR=/var/tmp",
        ) from error
    return file


def start(descriptors: Sequence[int], output: BinaryIO, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a guardian, which starts the host.

    Args:
        descriptors: What the host inherits; the first is its end of the line.
        output: Takes what both write.
        environment: Theirs, in full.
    """
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "loadtune.run.guardian", str(descriptors[0]), str(os.getpid())],
        pass_fds=descriptors,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


class TrialHost:
    """The process that holds the data set.

    Args:
        setup: What it loads from.

    Raises:
        OutputError: There is no place for temporary files.
    """

    def __init__(self, setup: Setup) -> None:
        self._stderr = _temporary_file()
        self._told = 0
        """So many bytes of it were told."""
        self._abandoned = False
        self._pid: int | None = None
        """Of the host, a child of the process that was started here; see ``run.guardian``."""
        self._scratch = Scratch()
        self._scene = Scene()
        self._in_shm_before = names()
        self._beats = _temporary_file(BEATS_BYTES)
        self.channel, there = Channel.pair()
        with there:
            environment = {**os.environ, _MARK: self.scratch}
            self._process = start((there.fileno(), self._beats.fileno()), self._stderr, environment)
        self.channel.send(msgspec.structs.replace(setup, beats=self._beats.fileno(), scratch=self.scratch))
        self._patience_seconds = building.patience_seconds(setup)

    @property
    def scratch(self) -> str:
        """Directory for the temporary files of what runs in the host, removed with it."""
        return str(self._scratch.path)

    @property
    def pid(self) -> int:
        """Process id of the host itself; until it has told it, of the process that starts it."""
        return self._pid if self._pid is not None else self._process.pid

    def ready(self) -> Probe | None:
        """Wait until the data set is there; return what it is like, where that was asked for.

        Raises:
            UsageError: An option cannot be used, such as a device that is not there.
            TargetError: The target cannot be used, or the process died of it.
            TrialHostError: The process answered something else.
        """
        try:
            answer = self._answer()
        except EOFError:
            status = self.wait(ABANDONED_SECONDS)
            what = building.LINE_CLOSED if building.closed_its_line(status) else self._scene.ending(status)
            raise TargetError(
                f"the process that builds the data set {what}", hint=self.take_stderr().strip() or None
            ) from None
        if isinstance(answer, Unusable):
            raise (TargetError if answer.about_target else UsageError)(answer.message, hint=answer.hint)
        if not isinstance(answer, Ready):
            raise TrialHostError(f"the trial host answered {type(answer).__name__} where it should be ready")
        self.tidy(self._in_shm_before)  # a worker may have been killed while the data set was looked at
        return answer.probe

    def _answer(self) -> Message:
        """Return what the host says when it is there, or cannot be.

        Raises:
            EOFError: It is gone.
            TargetError: It took too long.
        """
        deadline = time.monotonic() + building.LEAST_BUILD_SECONDS  # the import of torch is nobody's fault
        while time.monotonic() < deadline:
            answer = self.receive(_LOOK_SECONDS)
            if isinstance(answer, Started):
                self._pid, deadline = answer.pid, time.monotonic() + self._patience_seconds
            elif answer is not None:
                return answer
        raise building.too_late(self._patience_seconds, self.pid, self.take_stderr)

    def is_alive(self) -> bool:
        """Return whether the host runs, and was not given up."""
        return not self._abandoned and self._process.poll() is None and self._is_there()

    def _is_there(self) -> bool:
        """Return whether there is a process under the host's number: its guardian collects it as soon as it ends."""
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return True

    def receive(self, timeout: float) -> Message | None:
        """Return what the host or its trial says next, or None when that is nothing within ``timeout`` seconds.

        Raises:
            EOFError: The host is gone. A process that the data set started may hold its end of the line for ever.
        """
        lived = self.is_alive()
        message = self.channel.receive(timeout)
        if message is None and not lived:
            raise EOFError("the host is gone")
        return message

    def beats(self) -> int:
        """Return how many batches all its trials have taken."""
        return int.from_bytes(os.pread(self._beats.fileno(), BEATS_BYTES, 0), sys.byteorder)

    def take_stderr(self) -> str:
        """Return the end of what the host and its trials have written since the last call; nothing is told twice.

        Whoever writes shares one offset in the file, which stays theirs: it is neither read from nor moved here.
        """
        size = os.fstat(self._stderr.fileno()).st_size
        start, self._told = max(self._told, size - _STDERR_KEPT), max(self._told, size)
        text = os.pread(self._stderr.fileno(), max(0, size - start), start)
        return text.lstrip(b"\0").decode(errors="replace")

    def drop_stderr(self) -> None:
        """Forget what was written so far: it is no evidence of what comes."""
        self._told = max(self._told, os.fstat(self._stderr.fileno()).st_size)
        self._stderr.truncate(0)  # those who write go on behind a hole, so that their places keep their numbers

    def tidy(self, keep: Collection[str]) -> None:
        """Remove what processes that are over have left in shared memory: of a trial, or of a look at the data set.

        Args:
            keep: Names that were there before them.
        """
        sweep_up(self._scratch.path, keep=keep)
        self._scratch.renew()

    def wait(self, within_seconds: float) -> int:
        """Wait for the end of the process and return its exit status as the kernel encodes it.

        Args:
            within_seconds: After these it is given up, and is said to be killed: by then it is, and does not end.
        """
        try:
            code = self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self._abandoned = True
            return int(signal.SIGKILL)
        return -code if code < 0 else code << 8

    def close(self) -> None:
        """End the process and everything below it; what the kernel does not end is left."""
        self.channel.close()
        self._end()
        self.tidy(self._in_shm_before)
        self._stderr.close()
        self._beats.close()
        self._scratch.close()

    def _end(self) -> None:
        """Have the guardian end everything; where there is none, or it does not answer, do so from here."""
        if guardian.HAS_GUARDIAN and not self._abandoned and not self._has_ended():
            self._process.send_signal(guardian.END)
            self.wait(ABANDONED_SECONDS)
        if not self._has_ended():  # the number of one that was waited for may be another's by now
            kill_tree(self._process.pid)
            self.wait(_DEATH_SECONDS if self._abandoned else ABANDONED_SECONDS)
        if self._process.returncode in (None, -signal.SIGKILL):  # it may have been the guardian that was killed
            kill_marked(f"{_MARK}={self.scratch}")

    def _has_ended(self) -> bool:
        return self._process.poll() is not None

    def __enter__(self) -> TrialHost:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
