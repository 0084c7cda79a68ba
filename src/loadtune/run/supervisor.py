"""Runs trials one after another in the trial host, and starts it again where one has killed it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import msgspec

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import TrialRequest
from loadtune.errors import LoadtuneError, TrialHostError
from loadtune.judge.remedy import advice
from loadtune.record import cgroups
from loadtune.record.failure import Failure, FailureEvidence
from loadtune.record.results import MemoryMeasurement, Probe, Status, SteadyMeasurement, ThreadMeasurement, TrialRecord
from loadtune.run import memory
from loadtune.run.gpu import DeviceMemory
from loadtune.run.host import TrialHost
from loadtune.run.page_cache import ColdFiles
from loadtune.run.protocol import RunTrial, Setup
from loadtune.run.scene import Scene
from loadtune.run.watch import Patience, RunningTrial, first_batch_seconds


def _given(probe: Probe | None) -> Probe:
    if probe is None:
        raise TrialHostError("the trial host did not look at the data set")
    return probe


class Supervisor:
    """Runs trials one after another.

    Args:
        setup: What they load from.
        trial_timeout_seconds: After this a trial is killed.
        time_budget_seconds: Of the sweep; one that hangs before its first batch takes no more than a share of it.
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
        time_budget_seconds: float = math.inf,
        cold: bool = False,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
    ) -> None:
        self._cold = ColdFiles(clock) if cold else None
        if self._cold is not None:
            setup = msgspec.structs.replace(setup, notes=self._cold.notes)
        # A host that is started again finds a data set that was looked at, and a page cache that was filled.
        self._again = msgspec.structs.replace(setup, probe=False, warm_seconds=0.0)
        self._timeout, self._budget = trial_timeout_seconds, time_budget_seconds
        self._clock = clock
        self._root = root
        self._scene = Scene(root)
        self._host = TrialHost(setup)
        try:
            probe = _given(self._host.ready())
            held = memory.read_process(self._host.pid)
            self.probe = replace(probe, resident_bytes=held.pss if held is not None else None)
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
        throttling = cgroups.throttling(self._root)
        outcome, trial = self._outcome(request, began + within_seconds)
        failure = outcome if isinstance(outcome, Failure) else None
        status: Status = "ok"
        if failure is not None:
            status = "interrupted" if failure.kind is None else "hung" if failure.hung else "failed"
        evidence = trial.evidence if trial is not None else None
        return TrialRecord(
            order=request.order,
            block=request.block,
            phase=request.phase,
            config=request.config,
            drop_last=request.drop_last,
            status=status,
            failure_kind=failure.kind if failure else None,
            failure_reason=failure.reason if failure else None,
            failure_evidence=evidence,
            failure_advice=self._advice(failure, request.config, evidence),
            started_at=started_at,
            seconds=self._clock() - began,
            steady=outcome if isinstance(outcome, SteadyMeasurement) else None,
            rungs=trial.rungs if trial else (),
            memory=trial.memory() if trial else MemoryMeasurement(),
            isolation=self.probe.isolation,
            throttled_seconds=cgroups.throttled_between(throttling, cgroups.throttling(self._root)),
            stderr_tail=trial.stderr_tail if trial else "",
            left_behind=trial.left_behind if trial else None,
            one_thread=request.one_thread,
            threads=trial.threads.measured() if trial else ThreadMeasurement(),
            affinity=trial.affinity if trial else None,
        )

    def _outcome(self, request: TrialRequest, ends: float) -> tuple[SteadyMeasurement | Failure, RunningTrial | None]:
        """Run the trial in the host, or in one of its own where a fork would not be safe."""
        if self.probe.isolation == "fork":
            if not self._host.is_alive():  # it was killed between two trials, by no fault of this one
                self._restart()
            trial = self._trial(self._host, request, ends)
            outcome = trial.follow(RunTrial(request=request, fork=True))
            if not self._host.is_alive():
                # What was measured is kept first, whatever comes of this: the next trial tries again, and says so.
                with contextlib.suppress(LoadtuneError):
                    self._restart()
            return outcome, trial
        try:
            with TrialHost(self._again) as host:
                host.ready()
                trial = self._trial(host, request, ends)
                return trial.follow(RunTrial(request=request, fork=False)), trial
        except LoadtuneError as error:
            return Failure(kind="user_error", reason=str(error)), None

    def _trial(self, host: TrialHost, request: TrialRequest, ends: float) -> RunningTrial:
        """Begin to follow a trial: what its host took to be there is no time of its own, and is gone of the budget."""
        first = first_batch_seconds(request, self.probe, self._budget)
        patience = Patience(self._timeout, ends - self._clock(), first)
        return RunningTrial(
            host, self._device, patience=patience, clock=self._clock, scene=self._scene, config=request.config
        )

    def _advice(self, failure: Failure | None, config: LoaderConfig, evidence: FailureEvidence | None) -> str | None:
        if failure is None or failure.kind is None:
            return None
        known = evidence or FailureEvidence()
        return advice(failure.kind, config, self.probe, known, reason=failure.reason) or None

    def _restart(self) -> None:
        """Start another host.

        Raises:
            TargetError: The data set cannot be built any more.
            TrialHostError: The process answered something else.
        """
        self._host.close()
        self._host = TrialHost(self._again)
        try:
            self._host.ready()
        except LoadtuneError:
            self._host.close()  # so that it is not taken for alive while it ends
            raise

    def close(self) -> None:
        """End the host."""
        self._host.close()
        if self._cold is not None:
            self._cold.close()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
