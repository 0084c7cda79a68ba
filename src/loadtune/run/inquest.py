"""The post-mortem of one trial, step by step: what it said, what the machine has seen, its samples loaded alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import TrialRequest
from loadtune.judge import cause
from loadtune.record.failure import Aftermath, Alone, Failure, FailureEvidence
from loadtune.run import postmortem
from loadtune.run.descriptors import OpenFiles
from loadtune.run.host import ABANDONED_SECONDS, TrialHost
from loadtune.run.process import kill_group
from loadtune.run.protocol import Ended, LoadAlone, LoadedAlone, Raised, Replay, Started, Trying
from loadtune.run.scene import Scene
from loadtune.run.stands import Silence, Stand

ALONE_SECONDS = 5.0
"""How long the samples at which a worker failed are loaded alone."""
_GRACE_SECONDS = 1.0
_TOLD_BY_ONE_SAMPLE = ("worker_error", "worker_killed")
"""Where a sample may be to blame; want of memory shows in no single sample, and trying would bring it about again."""


class Inquest:
    """Finds out what ended a trial.

    Args:
        host: Where it ran.
        scene: The machine around it.
        config: What was tried.
        files: Open files of the trial's processes.
    """

    def __init__(self, host: TrialHost, scene: Scene, config: LoaderConfig, files: OpenFiles) -> None:
        self._host = host
        self._scene = scene
        self._config = config
        self._files = files
        self._suspects = 0
        self._tried = 0
        self._trying: Trying | None = None
        self._until: float | None = None
        self._killed = False
        self._alone: Alone | None = None
        self.evidence: FailureEvidence | None = None
        """What there is to be known; None where nothing failed."""
        scene.begin()

    @property
    def is_open(self) -> bool:
        """Whether samples are being loaded alone."""
        return self._until is not None

    @property
    def traceback(self) -> str:
        """The true one, where loading alone gave one."""
        return self._alone.traceback if self._alone is not None else ""

    def glance(self) -> None:
        """See what is used right now."""
        self._scene.glance()

    def raised(self, message: Raised, stderr: str, *, now: float, left_seconds: float) -> Failure:
        """Return what an exception stands for, and have the samples at which a worker failed loaded alone."""
        said = postmortem.explain_exception(
            message.type_name,
            message.message,
            traceback=message.traceback_tail,
            stderr=stderr,
            aftermath=message.aftermath,
            num_workers=self._config.num_workers,
        )
        self.evidence = self._files.told(self._scene.evidence(None, message.aftermath))
        failure = cause.confirmed(said, self.evidence, self._config)
        if message.suspects:
            wanted = failure.kind in _TOLD_BY_ONE_SAMPLE
            seconds = max(0.0, min(ALONE_SECONDS, left_seconds)) if wanted else 0.0
            if seconds:
                self._suspects, self._until = message.suspects, now + seconds + _GRACE_SECONDS
            with contextlib.suppress(EOFError):  # the process is gone; what it raised is known
                self._host.channel.send(LoadAlone(seconds=seconds))
        return failure

    def hear(self, message: Trying | LoadedAlone) -> None:
        """Take note of what is loaded alone."""
        if isinstance(message, Trying):
            self._trying, self._tried = message, self._tried + (message.sample is not None)
        else:
            self._alone, self._until = message.alone, None

    def is_late(self, now: float) -> bool:
        """Return whether loading alone has to be ended; once."""
        if self._until is None or now <= self._until:
            return False
        self._killed, self._until = True, None
        return True

    def hung(self, seconds: float, *, stands: Sequence[Stand], silent: Sequence[Silence] = (), **seen: Any) -> Failure:
        """Return what it stands for that a trial did not go on; while its processes are there."""
        is_loading = _is_loading(stands, silent)
        self.evidence = replace(self._files.told(self._scene.evidence(None, Aftermath())), is_loading=is_loading)
        said = postmortem.hung(seconds, stderr=self._host.take_stderr(), stands=stands, silent=silent, **seen)
        return cause.confirmed(said, self.evidence, self._config)

    def replay(
        self,
        failure: Failure,
        request: TrialRequest,
        batch: int,
        clock: Callable[[], float],
        *,
        left_seconds: float,
    ) -> Failure:
        """Return the failure of a trial without workers that died, with the sample at which it does so again.

        Where it does not there is nothing to say: it may have been at another batch, or short of something.

        Raises:
            EOFError: The host is gone.
        """
        seconds = min(ALONE_SECONDS, left_seconds)
        if seconds <= 0:
            return failure
        self._host.channel.send(Replay(request=request, batch=batch, seconds=seconds))
        self._until = clock() + seconds + _GRACE_SECONDS
        alone = self._replayed(clock, self._until + ABANDONED_SECONDS)
        if alone is None or self.evidence is None or not (alone.raised or alone.died):
            return failure
        self._alone = alone
        self.evidence = replace(self.evidence, alone=replace(alone, traceback=""))
        return cause.with_alone(failure, alone, self._tried)

    def _replayed(self, clock: Callable[[], float], abandoned_at: float) -> Alone | None:
        """Hear a replay to its end, and return what came of it."""
        pid, message = None, None
        while not isinstance(message, Ended):
            now = clock()
            if self.is_late(now):
                kill_group(pid if pid is not None else self._host.pid)
            if now > abandoned_at:  # it does not end, and the host waits for it: the supervisor starts another
                kill_group(self._host.pid)
                self._host.wait(ABANDONED_SECONDS)
                return None
            message = self._host.receive(0.1)
            if isinstance(message, Started):
                pid = message.pid
            elif isinstance(message, (Trying, LoadedAlone)):
                self.hear(message)
        self._until = None
        return self._alone or self._unfinished(message.status)

    def close(self, failure: Failure, status: int) -> Failure:
        """Return the failure as it goes into the record, when the trial's process is gone.

        Args:
            failure: As far as it is known.
            status: Of the process, as the kernel encodes it.
        """
        if failure.kind is None:
            return failure
        if self.evidence is None:  # it left without a word
            self.evidence = self._scene.evidence(postmortem.process_end(status), Aftermath())
            return cause.confirmed(failure, self.evidence, self._config)
        if self._suspects and self._alone is None:
            self._alone = self._unfinished(status)
        if self._alone is None:
            return failure
        self.evidence = replace(self.evidence, alone=replace(self._alone, traceback=""))
        return cause.with_alone(failure, self._alone, self._suspects)

    def _unfinished(self, status: int) -> Alone | None:
        """Return what is known of loading alone where nothing was said of it at the end; None where none began.

        A process that ended before its first sample tells nothing of them.
        """
        if self._trying is None:
            return None
        died = "" if self._killed else postmortem.how_it_ended(status)
        sample = self._trying.sample
        return Alone(loaded=self._tried - (sample is not None), sample=sample, died=died)


def _is_loading(stands: Sequence[Stand], silent: Sequence[Silence]) -> bool | None:
    """Return whether a process was loading a sample; None where only one that did not answer can have been."""
    if any(stand.loading for stand in stands):
        return True
    return None if silent or not stands else False
