"""The sweep: start the host, ask which trial comes next, run it, keep it, until nothing is left to ask; conclude."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan, TrialRequest
from loadtune.describe.space import auto_workers
from loadtune.errors import UsageError
from loadtune.judge import strategy, verdict
from loadtune.judge.feasible import refusal
from loadtune.judge.memory_rows import overflow
from loadtune.judge.remedy import advice
from loadtune.judge.reopen import as_compared
from loadtune.judge.state import group_configs
from loadtune.judge.unique import counting_unique
from loadtune.record.environment import read_environment, resolve_limits
from loadtune.record.failure import FailureEvidence
from loadtune.record.limits import cpu_limits, least, read_process_limits
from loadtune.record.results import Environment, Probe, RunResult, TrialRecord
from loadtune.record.store import KeptRun, NullStore, RunHeader, Store
from loadtune.run.agreement import continued
from loadtune.run.building import build_seconds
from loadtune.run.events import Listener, Progress, SilentListener
from loadtune.run.page_cache import require_dropping
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

OVERRUN = 0.05
"""A trial that was expected to fit may overrun the time budget by this share, rather than be lost."""
WARM_SHARE = 0.25
"""Most of the time budget that the untimed pass may take, which fills the page cache or finds the files."""


class Runner(Protocol):
    """Runs trials: the supervisor, or a scripted one in tests."""

    @property
    def probe(self) -> Probe:
        """What the data set is like."""

    def run(self, request: TrialRequest, *, within_seconds: float) -> TrialRecord:
        """Run one trial, ended when its time is over; whatever becomes of it is the result."""


def run_sweep(
    plan: SweepPlan,
    *,
    listener: Listener | None = None,
    store: Store | None = None,
    command: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    pickle_path: str | None = None,
    kept: KeptRun | None = None,
    open_runner: Callable[[SweepPlan, str | None], AbstractContextManager[Runner]] | None = None,
    clock: Callable[[], float] = time.monotonic,
    interrupted: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Run a sweep and return its result.

    Args:
        plan: What to measure and how to choose; ``"auto"`` axes are decided on this machine.
        listener: Told of each thing as it happens.
        store: Keeps each trial when it is over; opened only when the target is there, closed by whoever made it.
        command: The command line, for the record.
        environ: Environment variables that limit processors and memory (SLURM, LOCAL_WORLD_SIZE).
        pickle_path: File with a pickled object to load from, in place of the plan's target.
        kept: The run to go on with; ``plan`` is its own, but for the time budget.
        open_runner: Starts what runs the trials; None is the trial host.
        clock: Gives seconds.
        interrupted: Asked between trials whether somebody has interrupted, since the exception may be lost on its way.

    Raises:
        UsageError: A target, limits or a page cache that cannot be had here, or a kept run of another machine or data
            set; nothing was measured or written.
        OutputError: What was measured cannot be kept; the trials before are.
        KeyboardInterrupt: Interrupted; what was measured is concluded from and kept.
    """
    strategy.require(plan.search)
    if plan.cache == "cold":
        require_dropping()
    listener, store = listener or SilentListener(), store or NullStore()
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    listener.preparing(plan)
    opened = open_runner(plan, pickle_path) if open_runner else open_supervisor(plan, pickle_path, environ)
    with opened as runner:
        header = header_of(plan, runner.probe, environ=environ, command=command, started_at=started_at)
        if kept is not None:
            header = continued(kept, header)
        resolved = resolve_plan(header.plan, header.probe, header.environment)
        loop = _Loop(header=header, resolved=resolved, runner=runner, kept=kept, clock=clock, interrupted=interrupted)
        if interrupted():
            raise KeyboardInterrupt
        store.open(header)
        listener.started(resolved, header.environment, header.probe, header.limits)
        cut = loop.run(listener, store)
        result = conclude(header, loop.records, elapsed_seconds=loop.elapsed(), finished=not cut)
    store.finish(result)
    if cut:
        raise KeyboardInterrupt
    listener.finished(result)
    return result


def header_of(
    plan: SweepPlan, probe: Probe, *, environ: Mapping[str, str] | None, command: Sequence[str], started_at: str
) -> RunHeader:
    """Return what is known before the first trial.

    Raises:
        UsageError: Limits or axes that cannot be used here.
    """
    accelerators = (probe.accelerator,) if probe.accelerator is not None else ()
    environment = read_environment(environ=environ, accelerators=accelerators)
    environment = replace(environment, packages={**environment.packages, "torch": probe.torch_version})
    limits = resolve_limits(
        plan.limits,
        environment=environment,
        accelerator_memory_bytes=probe.accelerator_memory_bytes,
        batch_size_is_swept=probe.batch_size_is_swept,
    )
    return RunHeader(
        target=plan.target,
        command=tuple(command),
        started_at=started_at,
        environment=environment,
        # The axes as they were asked for, so that what was left out can be told from what nobody asked for.
        plan=replace(resolve_plan(plan, probe, environment), space=plan.space),
        limits=limits,
        probe=probe,
    )


def conclude(header: RunHeader, records: Sequence[TrialRecord], *, elapsed_seconds: float, finished: bool) -> RunResult:
    """Return the result of a run from what is kept of it, finished or not.

    Args:
        header: What was known before the first trial.
        records: Every trial.
        elapsed_seconds: What the sweep took.
        finished: Whether it came to its end by itself.

    Raises:
        UsageError: A header that does not fit itself: its axes leave nothing to measure.
    """
    resolved = resolve_plan(header.plan, header.probe, header.environment)
    return verdict.conclude(
        plan=header.plan,
        environment=header.environment,
        probe=header.probe,
        limits=header.limits,
        records=records,
        configs=grid(resolved, header.probe),
        command=header.command,
        started_at=header.started_at,
        elapsed_seconds=elapsed_seconds,
        finished=finished,
        resumes=header.resumes,
    )


def resolve_plan(plan: SweepPlan, probe: Probe, environment: Environment) -> SweepPlan:
    """Return the plan with everything that was left to the machine decided.

    Raises:
        UsageError: Pinned memory alone is asked for, and there is no accelerator to pin it for.
    """
    accelerated = probe.accelerator is not None
    if plan.space.pin_memory == (True,) and not accelerated:
        raise UsageError("--pin-memory on needs an accelerator: pinned memory serves nothing without one")
    space = plan.space.resolve(usable_cpus=environment.usable_cpus, has_accelerator=accelerated)
    device = probe.accelerator_device or "cpu"
    measurement = plan.measurement
    if plan.cache == "cold":
        # What a trial has read is cached: its windows end with the first pass, and an epoch behind them would be warm.
        measurement = replace(measurement, one_pass=True, real_epoch_seconds=0.0)
    return replace(plan, space=space, consumer=replace(plan.consumer, device=device), measurement=measurement)


def grid(plan: SweepPlan, probe: Probe) -> tuple[LoaderConfig, ...]:
    """Return the configurations to measure, within the largest batch size and as the data set forms its batches.

    Raises:
        UsageError: The largest batch size leaves none.
    """
    configs = _without_twins(plan.space.configs(), probe.dataset_samples)
    if not probe.batch_size_is_swept:
        own = (replace(config, batch_size=None, drop_last=False) for config in configs)
        return tuple(dict.fromkeys(own))
    most = plan.limits.max_batch_size
    within = tuple(config for config in configs if most is None or (config.batch_size or 0) <= most)
    if not within:
        smallest = min(plan.space.batch_size)
        raise UsageError(f"--max-batch-size {most} leaves no batch size to try: the smallest given is {smallest}")
    return within


def _without_twins(configs: Sequence[LoaderConfig], samples: int | None) -> tuple[LoaderConfig, ...]:
    """Return the configurations less those with ``drop_last`` where there is no remainder to drop."""
    there = set(configs)
    return tuple(
        config
        for config in configs
        if not (
            config.drop_last
            and config.batch_size is not None
            and samples is not None
            and samples % config.batch_size == 0
            and config.steady in there
        )
    )


def _worker_counts(plan: SweepPlan, environ: Mapping[str, str] | None) -> tuple[int, ...]:
    """Return the numbers of workers that the grid will have; where they are left open, twice the most as well."""
    if plan.space.num_workers != "auto":
        return plan.space.num_workers
    limits = cpu_limits(environ or {}, root=Path("/"), process=read_process_limits())
    counts = auto_workers(float(least(limits).amount))
    return (*counts, 2 * max(counts))


def open_supervisor(plan: SweepPlan, pickle_path: str | None, environ: Mapping[str, str] | None) -> Supervisor:
    """Return what runs the trials of a plan, to be entered: the host starts then, and looks at the data set."""
    setup = Setup(
        target=plan.target,
        arguments=plan.target_args,
        pickle_path=pickle_path,
        import_path=tuple(sys.path) if pickle_path is not None else None,
        device=plan.consumer.device,
        consumer=plan.consumer,
        seed=plan.seed,
        probe_timeout_seconds=plan.trial_timeout_seconds,
        build_timeout_seconds=build_seconds(plan.trial_timeout_seconds),
        start_methods=plan.space.multiprocessing_context,
        worker_counts=_worker_counts(plan, environ),
        warm_seconds=WARM_SHARE * plan.time_budget_seconds if plan.cache != "as-is" else 0.0,
    )
    return Supervisor(
        setup,
        trial_timeout_seconds=plan.trial_timeout_seconds,
        time_budget_seconds=plan.time_budget_seconds,
        cold=plan.cache == "cold",
    )


class _Loop:
    """Asks the strategy, runs the trial, tells the listener, until there is nothing left to ask."""

    def __init__(
        self,
        *,
        header: RunHeader,
        resolved: SweepPlan,
        runner: Runner,
        kept: KeptRun | None,
        clock: Callable[[], float],
        interrupted: Callable[[], bool],
    ) -> None:
        self._plan = resolved
        self._probe = header.probe
        self._limits = header.limits
        self._environment = header.environment
        self._configs = grid(resolved, header.probe)
        self._workers_open_ended = header.plan.space.num_workers == "auto"
        self._runner = runner
        self._clock = clock
        self._interrupted = interrupted
        self._began = clock() - (kept.spent_seconds if kept is not None else 0.0)
        self._resumes = header.resumes
        self.records = list(kept.journal.records) if kept is not None else []

    def elapsed(self) -> float:
        """Return the seconds since the first trial could begin, without the time between an end and a resume."""
        return self._clock() - self._began

    def _left(self) -> float:
        return self._plan.time_budget_seconds - self.elapsed()

    def run(self, listener: Listener, store: Store) -> bool:
        """Run every trial that the strategy asks for; return whether somebody interrupted."""
        try:
            for step in self._grid_steps():
                refused = self._refused(self._request(step))
                if refused is not None:
                    self._keep(refused, listener, store)
            # Asked last: a decision imports what may drop the exception of an interrupt.
            while self._left() > 0 and (request := self._next_request()) is not None and not self._interrupted():
                record = self._refused(request)
                if record is None:
                    listener.trial_started(request, self._progress())
                    within = self._left() + OVERRUN * self._plan.time_budget_seconds
                    record = self._runner.run(request, within_seconds=within)
                self._keep(record, listener, store)
        except KeyboardInterrupt:
            # It may have come between a trial's end and its line in the journal.
            for record in self.records[store.count :]:
                store.append(record)
            return True
        return self._interrupted()

    def _keep(self, record: TrialRecord, listener: Listener, store: Store) -> None:
        self.records.append(record)
        store.append(record)
        (listener.measured if record.status == "ok" else listener.failed)(record, self._progress())

    def _grid_steps(self) -> list[strategy.Step]:
        """Return a first trial of everything in the grid that has none yet."""
        tried = {record.config for record in self.records}
        groups = group_configs(self._configs, self._probe.baseline)
        return [strategy.first_step(group, self._plan) for group in groups if group.config not in tried]

    def _refused(self, request: TrialRequest) -> TrialRecord | None:
        """Return the record of a trial that cannot run here, in place of running it; None where it may."""
        reason = refusal(request.config, probe=self._probe, environment=self._environment, limits=self._limits)
        reason = reason or overflow(request.config, self.records, probe=self._probe, environment=self._environment)
        if reason is None:
            return None
        return TrialRecord(
            order=request.order,
            block=request.block,
            phase=request.phase,
            config=request.config,
            drop_last=request.drop_last,
            status="refused",
            failure_kind=reason.kind,
            failure_reason=reason.reason,
            failure_advice=advice(reason.kind, request.config, self._probe, self._room(), reason=reason.reason),
            started_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            seconds=0.0,
            isolation=self._probe.isolation,
        )

    def _room(self) -> FailureEvidence:
        """Return what a refusal goes by."""
        total, free = self._environment.shm_total_bytes, self._environment.shm_free_bytes
        return FailureEvidence(
            shm_total_bytes=total,
            shm_free_bytes=free,
            shm_before_bytes=total - free if total is not None and free is not None else None,
            host_limit_bytes=self._limits.host_memory_bytes,
        )

    def _next_request(self) -> TrialRequest | None:
        step = strategy.next_step(
            self._plan,
            self._configs,
            counting_unique(as_compared(self.records, self._resumes), self._probe),
            self.elapsed(),
            probe=self._probe,
            limits=self._limits,
            workers_open_ended=self._workers_open_ended,
            usable_cpus=self._environment.usable_cpus,
            environment=self._environment,
        )
        return self._request(step) if step is not None else None

    def _request(self, step: strategy.Step) -> TrialRequest:
        return TrialRequest(
            order=len(self.records),
            block=step.block,
            phase=step.phase,
            config=step.config,
            drop_last=step.drop_last,
            measurement=step.measurement,
            consumer=self._plan.consumer,
            # All of a block draw the same samples; another block draws others.
            seed=(self._plan.seed * 1_000_003 + step.block) % 2**62,
            one_thread=step.one_thread,
            ladder=step.ladder,
        )

    def _progress(self) -> Progress:
        best = strategy.leader(counting_unique(self.records, self._probe))
        return Progress(
            elapsed_seconds=self.elapsed(),
            budget_seconds=self._plan.time_budget_seconds,
            trials_done=len(self.records),
            best=best[0] if best else None,
            best_samples_per_second=best[1] if best else None,
        )
