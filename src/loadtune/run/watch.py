"""One trial from request to end as seen from outside: its memory, whether it goes on, and what became of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import TrialRequest
from loadtune.record.failure import Failure, FailureEvidence
from loadtune.record.results import (
    Affinity,
    LeftBehind,
    MemoryLook,
    MemoryMeasurement,
    Probe,
    Rung,
    SteadyMeasurement,
)
from loadtune.run import affinity, memory, postmortem, stands
from loadtune.run.descriptors import OpenFiles
from loadtune.run.gpu import DeviceMemory
from loadtune.run.host import ABANDONED_SECONDS, TrialHost
from loadtune.run.inquest import Inquest
from loadtune.run.leftovers import Leftovers
from loadtune.run.process import kill_group, kill_tree
from loadtune.run.protocol import (
    Begin,
    End,
    Ended,
    LoadedAlone,
    Look,
    Looked,
    Measured,
    Message,
    Raised,
    RunTrial,
    Started,
    Trying,
)
from loadtune.run.scene import Scene
from loadtune.run.threads import ThreadCounter

GLANCE_SECONDS = 0.1
"""How often the cheap figures are read: the use of /dev/shm and of the device, and threads where it is their turn."""
LONGEST_GAP_SECONDS = 1.0
"""Between two looks at the clock, far more than two glances lie apart: what goes beyond, this process did not run."""
STALL_SHARE = 1 / 3
"""Of the trial's timeout: when batches have come, none for longer is a stall."""
STALL_WAITS = 10
"""Nor is it a stall before so many times the longest wait for a batch in this trial, the first one's included."""
FIRST_BATCH_SHARE = 1 / 3
"""Of the time budget: a trial that hangs before its first batch leaves the others the rest."""
_STACKS_KEPT = 16_000


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a trial may take."""

    timeout_seconds: float
    within_seconds: float
    """What is left of the time budget."""
    first_batch_seconds: float = math.inf
    """Without a batch after this it hangs, whatever is left of the timeout."""

    @property
    def seconds(self) -> float:
        """What comes first."""
        return min(self.timeout_seconds, self.within_seconds)


def first_batch_seconds(request: TrialRequest, probe: Probe, budget_seconds: float) -> float:
    """Return how long a first batch may take: a share of the time budget, more where its samples explain that.

    All of the timeout have workers that are not forked, which import everything anew, and trials with a training step,
    which is timed by itself before the loader is started.
    """
    config = request.config
    each, method = probe.seconds_per_sample, config.multiprocessing_context or probe.default_start_method
    is_forked = method == "fork" and probe.isolation == "fork"
    if each is None or config.batch_size is None or not is_forked or request.consumer.step is not None:
        return math.inf
    return max(FIRST_BATCH_SHARE * budget_seconds, STALL_WAITS * config.batch_size * each)


class OwnTime:
    """Time in which this process ran: a sweep that was stopped, paused or frozen finds its trials as it left them.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen = clock()
        self._passed = 0.0

    def __call__(self) -> float:
        """Return the seconds since the start, of which no gap between two calls counts for more than the longest."""
        now = self._clock()
        self._passed += min(now - self._seen, LONGEST_GAP_SECONDS)
        self._seen = now
        return self._passed


class Pulse:
    """Whether a trial goes on: when its last batch came, and how long it ever waited for one."""

    def __init__(self, host: TrialHost, now: float) -> None:
        self._host = host
        self._before = self._seen = host.beats()
        self._since = now
        self._longest = 0.0

    @property
    def batches(self) -> int:
        """How many have come."""
        return self._seen - self._before

    def now(self) -> int:
        """Return how many have come by now."""
        return self._host.beats() - self._before

    def stalled_seconds(self, now: float, patience: Patience) -> float | None:
        """Return for how long no batch has come, where that is too long; the first one has all of the timeout."""
        seen, waited = self._host.beats(), now - self._since
        if seen != self._seen:
            self._seen, self._since, self._longest = seen, now, max(self._longest, waited)
            return None
        limit = max(STALL_SHARE * patience.timeout_seconds, STALL_WAITS * self._longest)
        return waited if self.batches and waited > limit else None


class RunningTrial:
    """Follows one trial from request to end."""

    def __init__(
        self,
        host: TrialHost,
        device: DeviceMemory,
        *,
        patience: Patience,
        clock: Callable[[], float],
        scene: Scene,
        config: LoaderConfig,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._host = host
        self._num_workers = config.num_workers
        self._files = OpenFiles()
        self._inquest = Inquest(host, scene, config, self._files)
        self._device = device
        self._clock = OwnTime(clock)
        self._began = self._clock()
        self._patience = patience
        self._pulse = Pulse(host, self._began)
        self._pid: int | None = None
        self._outcome: SteadyMeasurement | Failure | None = None
        self._status = 0
        self._shm_before = memory.shm_used_bytes()
        self._gpu_before = device.used_bytes()
        self._looks: list[tuple[int, memory.TreeMemory]] = []
        self._shm_peak = 0
        self._gpu_peak: int | None = None
        self._leftovers = Leftovers()
        self._workers: tuple[int, ...] = ()
        self._ended: tuple[int, ...] = ()
        self._settled: float | None = None
        """When it was known what became of it."""
        self.threads = ThreadCounter(self._clock, cpu_clock=cpu_clock)
        self.affinity: Affinity | None = None
        self.stderr_tail = ""
        self.left_behind: LeftBehind | None = None
        self.rungs: tuple[Rung, ...] = ()

    @property
    def evidence(self) -> FailureEvidence | None:
        """What there is to be known of a failure; None where there was none."""
        return self._inquest.evidence

    def follow(self, order: RunTrial) -> SteadyMeasurement | Failure:
        """Send the order and return what became of it."""
        self._host.drop_stderr()  # of the trial before, or of building the data set
        try:
            self._host.channel.send(order)
            while not self._is_over(message := self._host.receive(GLANCE_SECONDS), order):
                if self._outcome is None:
                    if message is None:  # what waits to be heard may be the result
                        self._watch()
                    continue
                if self._inquest.is_late(self._clock()):
                    self._kill()
                if self._is_abandoned():
                    self._abandon()
                    break
        except EOFError:
            self._status = self._host.wait(ABANDONED_SECONDS)
        self._host.tidy(self._leftovers.before)
        self.left_behind = self._leftovers.after(self._ended)
        tail = self._host.take_stderr()
        if isinstance(self._outcome, SteadyMeasurement):
            return self._outcome
        outcome = self._inquest.close(self._outcome or postmortem.explain_status(self._status, tail), self._status)
        if outcome.kind == "trial_killed" and order.fork and not order.request.config.num_workers:
            with contextlib.suppress(EOFError):
                outcome = self._inquest.replay(
                    outcome, order.request, self._pulse.now(), self._clock, left_seconds=self._left_seconds()
                )
        self.stderr_tail = self._inquest.traceback or self.stderr_tail or tail
        return outcome

    def _is_abandoned(self) -> bool:
        """Return whether the trial's processes have had their time to end, since it is known what became of it."""
        if self._inquest.is_open:
            return False
        now = self._clock()
        self._settled = now if self._settled is None else self._settled
        return now - self._settled > ABANDONED_SECONDS

    def _abandon(self) -> None:
        """End the host, which waits for what does not end; the supervisor starts another.

        The line to it is no sign of its end: what does not end may hold the other side of it.
        """
        self._ended = kill_tree(self._host.pid)
        self._status = self._host.wait(ABANDONED_SECONDS)

    def _is_over(self, message: Message | None, order: RunTrial) -> bool:
        if message is None:
            self._glance()
            self._files.glance(self._pid)
        elif isinstance(message, Ended):
            self._status, self._ended = message.status, message.pids
            return True
        else:
            self._hear(message)
        return not order.fork and isinstance(message, (Measured, Raised, LoadedAlone)) and not self._inquest.is_open

    def _hear(self, message: object) -> None:
        if isinstance(message, Started):
            self._pid = message.pid
        elif isinstance(message, Begin) and self._pid is not None:
            self._workers = message.workers
            self.threads.begin(self._pid, message.workers)
            self.affinity = affinity.read(self._pid, message.workers)
        elif isinstance(message, End):
            self.threads.end()
        elif isinstance(message, Look):
            self._look(message.batches)
            with contextlib.suppress(EOFError):
                self._host.channel.send(Looked())
        elif isinstance(message, Measured):
            self.threads.end()
            self._outcome, self.rungs = message.steady, message.rungs
        elif isinstance(message, Raised):
            heard = self._host.take_stderr()
            self.stderr_tail = "\n".join(part for part in (message.traceback_tail, heard) if part)
            left = self._left_seconds()
            self._outcome = self._inquest.raised(message, heard, now=self._clock(), left_seconds=left)
        elif isinstance(message, (Trying, LoadedAlone)):
            self._inquest.hear(message)

    def _left_seconds(self) -> float:
        """Return what is left of the time budget."""
        return self._patience.within_seconds - (self._clock() - self._began)

    def _glance(self) -> None:
        self.threads.count()
        self._inquest.glance()
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
        seen = memory.read_tree(
            self._host.pid,
            self._pid,
            self._shm_before,
            folder=Path(self._host.scratch),
            workers=self._num_workers,
        )
        if seen is not None:
            self._looks.append((batches, seen))

    def _watch(self) -> None:
        """End the trial where it does not go on, or takes too long."""
        now = self._clock()
        taken, stalled = now - self._began, self._pulse.stalled_seconds(now, self._patience)
        is_silent = self._pulse.batches == 0
        is_late = is_silent and taken > self._patience.first_batch_seconds
        if stalled is None and not is_late and taken <= self._patience.seconds:
            return
        if stalled is not None:
            self._outcome = self._hung(stalled, stalled=True)
        elif is_late or taken > self._patience.timeout_seconds:
            self._outcome = self._hung(taken, stalled=False)
        else:
            self._outcome = self._out_of_time(taken, is_silent=is_silent)
        self._kill()

    def _out_of_time(self, taken: float, *, is_silent: bool) -> Failure:
        """Return that the time was over; where no batch had come and it can be told why, that instead."""
        found = self._hung(taken, stalled=False) if is_silent else None
        return found if found is not None and found.kind != "hung" else postmortem.out_of_time()

    def _kill(self) -> None:
        if self._pid is None or self._pid == self._host.pid:  # who would end what is below it dies too
            self._ended = kill_tree(self._host.pid)
        else:
            kill_group(self._pid)

    def _hung(self, seconds: float, *, stalled: bool) -> Failure:
        """Return the failure with where its processes stand, which have to be alive for it."""
        pids = (self._pid, *memory.descendants(self._pid)) if self._pid is not None else ()
        folder = Path(self._host.scratch)
        seen = stands.ask(pids, folder, self._workers)
        silent = stands.silent(pids, folder, seen, self._workers) if pids else []
        told = sorted(seen, key=lambda stand: not stand.loading)
        self.stderr_tail = "\n\n".join(f"{stand}\n{stand.stack}" for stand in told)[:_STACKS_KEPT]
        return self._inquest.hung(seconds, stalled=stalled, batches=self._pulse.batches, stands=seen, silent=silent)

    def memory(self) -> MemoryMeasurement:
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
            samples=len(self._looks),
            looks=tuple(_look(batches, seen) for batches, seen in self._looks),
        )


def _look(batches: int, seen: memory.TreeMemory) -> MemoryLook:
    return MemoryLook(
        batches=batches,
        resident_bytes=seen.resident,
        shm_bytes=seen.shm,
        main_bytes=seen.main,
        workers_bytes=seen.workers,
        held_bytes=seen.held,
        shared_bytes=seen.shared,
        open_files=seen.open_files,
        main_free_bytes=seen.main_free,
        workers_free_bytes=seen.workers_free,
    )
