"""What a sweep would do: the data set is looked at, the rest is played through; nothing is measured or written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone

from loadtune.describe.plan import SweepPlan
from loadtune.judge import strategy
from loadtune.judge.rehearsal import Rehearsal, rehearse
from loadtune.record.store import RunHeader
from loadtune.run.page_cache import require_dropping
from loadtune.run.sweep import Runner, grid, header_of, open_supervisor, resolve_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """The plan of a sweep on this machine, and what it is expected to do."""

    header: RunHeader
    resolved: SweepPlan
    """Every axis decided."""
    workers_open_ended: bool
    """Whether the number of workers was left to the sweep, so that it may go beyond the axis."""
    rehearsal: Rehearsal


def dry_run(
    plan: SweepPlan,
    *,
    environ: Mapping[str, str] | None = None,
    open_runner: Callable[[SweepPlan, str | None], AbstractContextManager[Runner]] | None = None,
) -> DryRun:
    """Return what ``run_sweep`` with these arguments would do; only the probe is run.

    Raises:
        UsageError: As ``run_sweep`` says.
    """
    strategy.require(plan.search)
    if plan.cache == "cold":
        require_dropping()
    opened = open_runner(plan, None) if open_runner else open_supervisor(plan, None, environ)
    with opened as runner:
        probe = runner.probe
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    header = header_of(plan, probe, environ=environ, command=(), started_at=started_at)
    resolved = resolve_plan(header.plan, probe, header.environment)
    open_ended = plan.space.num_workers == "auto"
    expected = rehearse(
        resolved,
        grid(resolved, probe),
        probe=probe,
        environment=header.environment,
        limits=header.limits,
        workers_open_ended=open_ended,
    )
    return DryRun(header=header, resolved=resolved, workers_open_ended=open_ended, rehearsal=expected)
