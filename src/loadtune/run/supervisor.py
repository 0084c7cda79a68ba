"""Runs trials in the trial host, looks at their memory from outside, ends those that do not end by themselves."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import TrialRequest
from loadtune.errors import LoadtuneError, TargetError, TrialHostError, UsageError
from loadtune.record import cgroups
from loadtune.record.results import MemoryMeasurement, Probe, Status, SteadyMeasurement, TrialRecord
from loadtune.run import memory, postmortem
from loadtune.run.gpu import DeviceMemory
from loadtune.run.page_cache import ColdFiles
from loadtune.run.postmortem import Failure
from loadtune.run.process import kill_group
from loadtune.run.protocol import (
    Channel,
    Ended,
    Look,
    Looked,
    Measured,
    Message,
    Raised,
    Ready,
    RunTrial,
    Setup,
    Started,
    Unusable,
)
from loadtune.run.scratch import Scratch

GLANCE_SECONDS = 0.1
"""How often the cheap figures are read: the use of /dev/shm and of the device."""
GROWTH_FLOOR_BYTES = 16 << 20
GROWTH_FLOOR_SHARE = 0.02
"""Growth over a trial below these is not told from the noise of allocators."""
_STDERR_KEPT = 4000


class TrialHost:
    """The process that holds the data set.

    Args:
        setup: What it loads from.

    Raises:
        TargetError: From ``start``: the target cannot be used.
        TrialHostError: From ``start``: the process died.
    """

    def __init__(self, setup: Setup) -> None:
        self._stderr: BinaryIO = tempfile.TemporaryFile(mode="w+b", buffering=0)  # noqa: SIM115 - closed in close()
        self._scratch = Scratch()
        self.channel, there = Channel.pair()
        with there:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "loadtune.run.trial_host", str(there.fileno()), str(os.getpid())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                start_new_session=True,
            )
        self.channel.send(setup)

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

    def stderr_tail(self) -> str:
        """Return the end of what the host and its trials have written since the last call."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_KEPT))
        text = self._stderr.read().decode(errors="replace")
        self._stderr.seek(0)
        self._stderr.truncate()
        return text

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
        self._stderr.close()
        self._scratch.close()

    def __enter__(self) -> TrialHost:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _given(probe: Probe | None) -> Probe:
    if probe is None:
        raise TrialHostError("the trial host did not look at the data set")
    return probe


class Supervisor:
    """Runs trials one after another.

    Args:
        setup: What they load from.
        trial_timeout_seconds: After this a trial is killed.
        cold: Whether what was read is taken out of the page cache before each trial.
        clock: Gives seconds; a scripted one in tests.
        root: Root of the file tree whose ``proc`` and ``sys`` tell of throttling.

    Raises:
        TargetError: The target cannot be used.
        TrialHostError: The process that builds the data set died.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        trial_timeout_seconds: float,
        cold: bool = False,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
    ) -> None:
        self._cold = ColdFiles(clock) if cold else None
        if self._cold is not None:
            setup = msgspec.structs.replace(setup, notes=self._cold.notes)
        # A host that is started again finds a data set that was looked at, and a page cache that was filled.
        self._again = msgspec.structs.replace(setup, probe=False, warm_seconds=0.0)
        self._timeout = trial_timeout_seconds
        self._clock = clock
        self._root = root
        self._host = TrialHost(setup)
        try:
            self.probe = _given(self._host.ready())
        except BaseException:
            self.close()
            raise
        self._device = DeviceMemory(self.probe.accelerator_uuid)

    def run(self, request: TrialRequest, *, within_seconds: float = math.inf) -> TrialRecord:
        """Run one trial; whatever becomes of it is the result.

        Args:
            request: What to measure.
            within_seconds: What is left of the time budget; a trial that outlasts it is ended and is no failure.
        """
        if self._cold is None:
            return self._run(request, within_seconds)
        drop = self._cold.drop(within_seconds=within_seconds)
        record = self._run(request, within_seconds - drop.seconds)
        return replace(record, cache=self._cold.account(drop))

    def _run(self, request: TrialRequest, within_seconds: float) -> TrialRecord:
        began = self._clock()
        started_at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        limit = min(self._timeout, within_seconds)
        throttling = cgroups.throttling(self._root)
        outcome, trial = self._outcome(request, began + limit)
        failure = outcome if isinstance(outcome, Failure) else None
        status: Status = "ok"
        if failure is not None:
            status = "failed" if failure.kind != "hung" else "hung"
            if failure.kind == "hung" and within_seconds < self._timeout:
                status, failure = "interrupted", postmortem.out_of_time()
        return TrialRecord(
            order=request.order,
            block=request.block,
            phase=request.phase,
            config=request.config,
            drop_last=request.drop_last,
            status=status,
            failure_kind=failure.kind or None if failure else None,
            failure_reason=failure.reason if failure else None,
            started_at=started_at,
            seconds=self._clock() - began,
            steady=outcome if isinstance(outcome, SteadyMeasurement) else None,
            memory=trial.memory(request.config) if trial else MemoryMeasurement(),
            isolation=self.probe.isolation,
            throttled_seconds=cgroups.throttled_between(throttling, cgroups.throttling(self._root)),
            stderr_tail=trial.stderr_tail if trial else "",
        )

    def _outcome(
        self, request: TrialRequest, deadline: float
    ) -> tuple[SteadyMeasurement | Failure, _RunningTrial | None]:
        """Run the trial in the host, or in one of its own where a fork would not be safe."""
        if self.probe.isolation == "fork":
            if not self._host.is_alive():  # it was killed between two trials, by no fault of this one
                self._restart()
            trial = _RunningTrial(self._host, self._device, deadline=deadline, clock=self._clock)
            outcome = trial.follow(RunTrial(request=request, scratch=self._host.scratch, fork=True))
            if not self._host.is_alive():
                self._restart()
            return outcome, trial
        try:
            with TrialHost(self._again) as host:
                host.ready()
                trial = _RunningTrial(host, self._device, deadline=deadline, clock=self._clock)
                return trial.follow(RunTrial(request=request, scratch=host.scratch, fork=False)), trial
        except LoadtuneError as error:
            return Failure(kind="user_error", reason=str(error)), None

    def _restart(self) -> None:
        self._host.close()
        self._host = TrialHost(self._again)
        self._host.ready()

    def close(self) -> None:
        """End the host."""
        self._host.close()
        if self._cold is not None:
            self._cold.close()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _RunningTrial:
    """Follows one trial from request to end."""

    def __init__(self, host: TrialHost, device: DeviceMemory, *, deadline: float, clock: Callable[[], float]) -> None:
        self._host = host
        self._device = device
        self._began = clock()
        self._deadline = deadline
        self._clock = clock
        self._pid: int | None = None
        self._outcome: SteadyMeasurement | Failure | None = None
        self._status = 0
        self._shm_before = memory.shm_used_bytes()
        self._gpu_before = device.used_bytes()
        self._looks: list[tuple[int, memory.TreeMemory]] = []
        self._shm_peak = 0
        self._gpu_peak: int | None = None
        self.stderr_tail = ""

    def follow(self, order: RunTrial) -> SteadyMeasurement | Failure:
        """Send the order and return what became of it."""
        try:
            self._host.channel.send(order)
            while not self._is_over(self._host.channel.receive(timeout=GLANCE_SECONDS), order):
                if self._clock() > self._deadline and not isinstance(self._outcome, Failure):
                    self._give_up()
        except EOFError:
            self._status = self._host.wait()
        tail = self._host.stderr_tail()
        self.stderr_tail = self.stderr_tail or (tail if not isinstance(self._outcome, SteadyMeasurement) else "")
        return self._outcome or postmortem.explain_status(self._status, tail)

    def _is_over(self, message: Message | None, order: RunTrial) -> bool:
        if message is None:
            self._glance()
        elif isinstance(message, Ended):
            self._status = message.status
            return True
        else:
            self._hear(message)
        return not order.fork and isinstance(message, (Measured, Raised))

    def _hear(self, message: object) -> None:
        if isinstance(message, Started):
            self._pid = message.pid
        elif isinstance(message, Look):
            self._look(message.batches)
            with contextlib.suppress(EOFError):
                self._host.channel.send(Looked())
        elif isinstance(message, Measured):
            self._outcome = message.steady
        elif isinstance(message, Raised):
            self._outcome = postmortem.explain_exception(message.type_name, message.message)
            self.stderr_tail = message.traceback_tail

    def _glance(self) -> None:
        used = memory.shm_used_bytes()
        if used is not None and self._shm_before is not None:
            self._shm_peak = max(self._shm_peak, used - self._shm_before)
        device = self._device.used_bytes()
        if device is not None and self._gpu_before is not None:
            self._gpu_peak = max(self._gpu_peak or 0, device - self._gpu_before)

    def _look(self, batches: int) -> None:
        self._glance()
        if self._pid is None:
            return
        seen = memory.read_tree(self._host.pid, self._pid, self._shm_before)
        if seen is not None:
            self._looks.append((batches, seen))

    def _give_up(self) -> None:
        self._outcome = postmortem.hung(self._deadline - self._began)
        kill_group(self._pid if self._pid is not None else self._host.pid)

    def memory(self, config: LoaderConfig) -> MemoryMeasurement:
        """Return what the looks and glances have seen."""
        gpu_peak = self._gpu_peak
        if not self._looks:
            return MemoryMeasurement(gpu_peak_bytes=gpu_peak)
        peak = max(seen.resident for _, seen in self._looks)
        shm = max(self._shm_peak, *(seen.shm for _, seen in self._looks)) if self._shm_before is not None else None
        return MemoryMeasurement(
            host_peak_bytes=peak,
            private_peak_bytes=max(seen.resident - seen.shm for _, seen in self._looks),
            shm_peak_bytes=shm,
            gpu_peak_bytes=gpu_peak,
            growth_bytes_per_batch=growth(self._looks, pinned_bytes=self._pinned_bytes(config)),
            samples=len(self._looks),
        )

    def _pinned_bytes(self, config: LoaderConfig) -> int:
        """Return the page-locked memory that fills up with the queue: torch keeps it in blocks of powers of two."""
        if not config.pin_memory or not isinstance(self._outcome, SteadyMeasurement):
            return 0
        block = 1 << max(0, int(self._outcome.bytes_per_batch) - 1).bit_length()
        return (config.batches_in_flight + 2) * block


def growth(looks: list[tuple[int, memory.TreeMemory]], *, pinned_bytes: int = 0) -> float | None:
    """Return how much resident memory, batches in shared memory left out, grew a batch between first and last look.

    None where it is no more than the noise of allocators, 16 MiB or 2 % of what was resident, and the pinned memory
    that a queue fills once.
    """
    (first_batch, first), (last_batch, last) = looks[0], looks[-1]
    before, after = first.resident - first.shm, last.resident - last.shm
    floor = max(GROWTH_FLOOR_BYTES, GROWTH_FLOOR_SHARE * before) + pinned_bytes
    if last_batch <= first_batch or after - before < floor:
        return None
    return (after - before) / (last_batch - first_batch)
