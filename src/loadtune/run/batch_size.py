"""The search for the largest and the best batch: ask what is next, probe it in the host, keep it, until it is found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import msgspec

from loadtune.describe.plan import Limits
from loadtune.errors import TargetError
from loadtune.judge import batch_memory, batch_notes, batch_rate
from loadtune.judge.batch_notes import Accumulation
from loadtune.judge.batch_search import Ask, Found, Search
from loadtune.record import oom
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, Bound, StepProbe, StepRequest
from loadtune.record.results import Probe
from loadtune.run.building import build_seconds
from loadtune.run.host import ABANDONED_SECONDS, TrialHost
from loadtune.run.noise_scale import Gauge
from loadtune.run.protocol import RunStep, Setup, Stepped
from loadtune.run.step_bounds import bounds as bounds_of
from loadtune.run.step_verdict import Evidence, Outcome, judge
from loadtune.units import format_share

GRACE_SECONDS = 10.0
"""Beyond its own time a host has so long to say that a probe is late."""
_LOOK_SECONDS = 0.5
SEARCHING = 0.7
"""Of the time budget is for the search where the gradient noise scale is measured after it."""


class Stepper(Protocol):
    """Runs what is asked of the training step in a process of its own."""

    @property
    def probe(self) -> Probe:
        """What the data set is like."""

    def step(self, request: StepRequest, *, within_seconds: float) -> tuple[Stepped, str]:
        """Run it; return what became of it, and what was written on standard error."""


class HostStepper:
    """Runs each probe in a child of a trial host, or in a host of its own where a fork is not safe.

    Args:
        setup: What is loaded from.
    """

    def __init__(self, setup: Setup) -> None:
        # A host that is started again finds a data set that was looked at.
        self._again = msgspec.structs.replace(setup, probe=False)
        self._host = TrialHost(setup)
        try:
            found = self._host.ready()
        except BaseException:
            self._host.close()
            raise
        if found is None:
            raise TargetError("the data set was not looked at")
        self.probe: Probe = found

    def step(self, request: StepRequest, *, within_seconds: float) -> tuple[Stepped, str]:
        """Run one probe."""
        fork = self.probe.isolation == "fork"
        if not fork or not self._host.is_alive():
            self._restart()
        self._host.drop_stderr()
        order = RunStep(request=request, fork=fork, within_seconds=within_seconds)
        try:
            self._host.channel.send(order)
            answer = self._answer(within_seconds + GRACE_SECONDS)
        except EOFError:
            answer = Stepped(status=self._host.wait(ABANDONED_SECONDS))
        heard = self._host.take_stderr()
        if answer is None:
            self._host.close()
        return answer or Stepped(is_late=True), heard

    def _answer(self, within_seconds: float) -> Stepped | None:
        """Return the host's answer; None where none comes in time."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            message = self._host.receive(_LOOK_SECONDS)
            if isinstance(message, Stepped):
                return message
        return None

    def _restart(self) -> None:
        self._host.close()
        self._host = TrialHost(self._again)
        self._host.ready()

    def __enter__(self) -> HostStepper:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # closed when it gave no answer
            self._host.close()


def setup_of(plan: BatchSizePlan, *, arguments: Mapping[str, str], pickle_path: str | None) -> Setup:
    """Return what the host is told to load from."""
    return Setup(
        target=plan.target,
        arguments=dict(arguments),
        pickle_path=pickle_path,
        import_path=tuple(sys.path),
        device=plan.consumer.device,
        seed=plan.seed,
        warm_seconds=0.0,
        probe_timeout_seconds=plan.probe_timeout_seconds,
        build_timeout_seconds=build_seconds(plan.probe_timeout_seconds),
    )


def find_batch_size(
    plan: BatchSizePlan,
    limits: Limits,
    stepper: Stepper,
    *,
    environ: Mapping[str, str],
    step_path: str | None = None,
    bounds: Sequence[Bound] | None = None,
    tell: Callable[[StepProbe], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    root: Path = Path("/"),
) -> BatchSizeResult:
    """Return the largest and the best batch size for a training step.

    Args:
        plan: What is searched for.
        limits: What the user allows.
        stepper: Runs the probes.
        environ: Environment variables that limit memory.
        step_path: File with a pickled step, in place of the one that the plan names.
        bounds: The limits in bytes, where they are known already.
        tell: Told each probe when it is over.
        clock: Gives seconds.
        root: Root of the file tree that holds ``proc`` and ``sys``.

    Raises:
        TargetError: The step cannot be had, or raises at the first batch for a reason that is not memory.
    """
    probe = stepper.probe
    device = probe.accelerator_device or "cpu"
    plan = replace(plan, consumer=replace(plan.consumer, device=device))
    if bounds is None:
        bounds = bounds_of(limits, probe, environ=environ, root=root)
    finder = _Finder(plan, bounds, stepper, step_path=step_path, tell=tell, clock=clock, root=root)
    return finder.find()


class _Finder:
    def __init__(
        self,
        plan: BatchSizePlan,
        bounds: Sequence[Bound],
        stepper: Stepper,
        *,
        step_path: str | None,
        tell: Callable[[StepProbe], None],
        clock: Callable[[], float],
        root: Path,
    ) -> None:
        self._plan = plan
        self._bounds = tuple(bounds)
        self._stepper = stepper
        self._step_path = step_path
        self._gauge = Gauge(
            plan=plan, probe=stepper.probe, step_path=step_path, run=lambda request: self._judged(request, {})[:2]
        )
        self._tell = tell
        self._clock = clock
        self._counters = oom.counters(root)
        self._began = clock()
        self._probes: list[StepProbe] = []
        self._samples = stepper.probe.dataset_samples

    def find(self) -> BatchSizeResult:
        self._gauge.check()
        found = self._largest()
        if self._plan.find_best and found.largest is not None:
            while (size := batch_rate.next_rate(self._plan, found.largest, self._probes)) and not self._is_late():
                self._probe(
                    Ask(batch_size=size, purpose="rate", why="its rate, against the larger ones", predicted_bytes={})
                )
        best, fastest = batch_rate.best_and_fastest(self._plan, self._probes) if self._plan.find_best else (None, None)
        size = best if best is not None else found.largest
        result = BatchSizeResult(
            plan=self._plan,
            bounds=self._bounds,
            samples=self._samples,
            largest=found.largest,
            exact=found.exact,
            because=found.because,
            best=best,
            fastest=fastest,
            notes=batch_notes.notes(
                size,
                baseline=self._stepper.probe.baseline.batch_size,
                samples=self._samples,
                probes=self._probes,
                accumulation=self._accumulation(found.largest),
            ),
            probes=tuple(self._probes),
        )
        result = self._gauge.added(result, seconds_left=self._seconds_left)
        return replace(result, seconds=self._clock() - self._began)

    def _accumulation(self, largest: int | None) -> Accumulation | None:
        """Return the global batch that was asked for, or that of a given loader which does not fit."""
        probe = self._stepper.probe
        given = probe.baseline.batch_size if probe.baseline_is_given else None
        asked = self._plan.global_batch or given
        if largest is None or asked is None or (self._plan.global_batch is None and asked <= largest):
            return None
        return Accumulation(global_batch=asked, largest=largest, multiple_of=self._plan.multiple_of)

    def _largest(self) -> Found:
        while True:
            search = Search(self._plan, self._bounds, self._samples, self._probes)
            answer = search.next()
            if isinstance(answer, Found):
                return answer
            if self._is_late():
                return search.given_up(self._late_words())
            self._probe(answer)

    def _is_late(self) -> bool:
        kept = (1 - SEARCHING) * self._plan.time_budget_seconds if self._plan.noise_scale == "measure" else 0.0
        return self._seconds_left() < kept and bool(self._probes)

    def _late_words(self) -> str:
        words = f"the time of {self._plan.time_budget_seconds:g} s (--time-budget) was over"
        if self._plan.noise_scale != "measure":
            return words
        return f"{words}, but for the {format_share(1 - SEARCHING, 0)} that are kept for the noise scale"

    def _seconds_left(self) -> float:
        return self._plan.time_budget_seconds - (self._clock() - self._began)

    def _probe(self, ask: Ask) -> None:
        row = self._refused(ask) if ask.refusal is not None else self._run(ask)
        self._probes.append(row)
        self._tell(row)
        if row.fit == "failed" and not self._may_be_size(row):
            raise TargetError(
                f"the step failed with a batch of {row.batch_size}: {row.reason}",
                hint=row.measured.error_traceback if row.measured is not None else None,
            )

    def _may_be_size(self, row: StepProbe) -> bool:
        """Return whether a failure may come from the size: another size ran, or BatchNorm had a batch of one."""
        ran = any(probe.fit == "fits" for probe in self._probes)
        return (
            ran
            or row.kind in ("size_limit", "last_batch")
            or any(probe.fit == "out_of_memory" for probe in self._probes)
        )

    def _refused(self, ask: Ask) -> StepProbe:
        return self._row(ask, Outcome(fit="refused", kind="host_oom", reason=ask.refusal or ""), None, 0.0)

    def _run(self, ask: Ask) -> StepProbe:
        request = StepRequest(
            batch_size=ask.batch_size, consumer=self._plan.consumer, step_path=self._step_path, seed=self._plan.seed
        )
        began = self._clock()
        stepped, outcome, used = self._judged(request, ask.predicted_bytes)
        if stepped.unusable is not None:
            raise TargetError(stepped.unusable)
        return replace(self._row(ask, outcome, stepped, self._clock() - began), used_bytes=used)

    def _judged(self, request: StepRequest, predicted: Mapping[str, int]) -> tuple[Stepped, Outcome, dict[str, int]]:
        """Run what is asked of the step; return what it gave, whether it kept to the limits, and what it took."""
        within, before = self._plan.probe_timeout_seconds, self._counts()
        stepped, stderr = self._stepper.step(request, within_seconds=within)
        loader = self._plan.loader
        used = batch_memory.used(stepped.measured, self._bounds, loader) if stepped.measured is not None else {}
        evidence = Evidence(
            bounds=self._bounds,
            used=used,
            predicted=predicted,
            killed=oom.killed(before, self._counts()),
            stderr=stderr,
            seconds_per_sample=self._seconds_per_sample(),
            least_steps=request.steps + 1 if request.gradients is None else 0,
        )
        return stepped, judge(stepped, evidence, batch_size=request.batch_size, within_seconds=within), used

    def _row(self, ask: Ask, outcome: Outcome, stepped: Stepped | None, seconds: float) -> StepProbe:
        return StepProbe(
            order=len(self._probes),
            batch_size=ask.batch_size,
            purpose=ask.purpose,
            why=ask.why,
            fit=outcome.fit,
            kind=outcome.kind,
            reason=outcome.reason,
            seconds=seconds,
            measured=stepped.measured if stepped is not None else None,
            predicted_bytes=ask.predicted_bytes,
        )

    def _seconds_per_sample(self) -> float | None:
        rates = [rate for probe in self._probes if (rate := probe.samples_per_second) is not None]
        return 1 / max(rates) if rates else None

    def _counts(self) -> dict[str, int]:
        return {one.label: count for one in self._counters if (count := one.read()) is not None}
