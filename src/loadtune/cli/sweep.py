"""``loadtune sweep``: its arguments. What it does is in ``job``, imported when there is something to do."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from loadtune.cli.options import (
    ConsumerOptions,
    LimitOptions,
    MeasurementOptions,
    OutputOptions,
    SessionOptions,
    SpaceOptions,
    build_plan,
    key_values,
    option,
)
from loadtune.describe.plan import SweepPlan
from loadtune.errors import UsageError

USAGE = "sweep [TARGET] [OPTIONS]"
HELP = (
    "Measures real DataLoaders for TARGET on this machine, picks a batch size and loader settings within the limits, "
    "and leaves a run directory with every number and a report."
)
NOTES = (
    'Each option may also stand in [tool.loadtune] of pyproject.toml (time-budget = "30s") or in the environment '
    "(LOADTUNE_TIME_BUDGET=30s); the command line wins over the environment, and the environment over the file. "
    "With --resume the options that the run began with hold, and those of environment and file are left aside; what "
    "stands on the command line must agree with them. "
    "Exit codes: 0 done, 1 a fault of loadtune, 2 something given cannot be used, 3 nothing meets the limits, "
    "4 too noisy (--strict), 130 interrupted: what was measured is kept, and the command to go on with is printed."
)
READS_SETTINGS = True

TARGET_HELP = "A built-in name (cifar10, images), package.module:name or file.py:name.  [default: cifar10]"


def run(
    target: Annotated[str, option("", TARGET_HELP)] = "cifar10",
    /,
    *,
    arg: Annotated[
        tuple[str, ...],
        option("KEY=VALUE", "Keyword argument for the target, given as text; may be repeated.", heading="Arguments"),
    ] = (),
    space: SpaceOptions = SpaceOptions(),  # noqa: B008 - frozen
    consumer: ConsumerOptions = ConsumerOptions(),  # noqa: B008 - frozen
    measurement: MeasurementOptions = MeasurementOptions(),  # noqa: B008 - frozen
    limits: LimitOptions = LimitOptions(),  # noqa: B008 - frozen
    output: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
    session: SessionOptions = SessionOptions(),  # noqa: B008 - frozen
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = (),
    given: Annotated[frozenset[str], Parameter(parse=False)] = frozenset(),
) -> int:
    """Check everything that can be checked, then measure."""
    if session.quiet and session.verbose:
        raise UsageError("--quiet and --verbose contradict each other: give one of them")
    plan = build_plan(target, key_values(arg), space=space, consumer=consumer, measurement=measurement, limits=limits)
    places = output.exports()
    if session.dry_run:
        return _dry_run(plan, session)
    # With --help nothing of this is needed: rich and the exporters cost more than the page.
    from loadtune.cli import job, resuming  # noqa: PLC0415

    if session.resume is not None:
        return resuming.resume(plan, given=given, places=places, output=output, session=session)
    return job.sweep(plan, places=places, output=output, session=session, command=command)


def _dry_run(plan: SweepPlan, session: SessionOptions) -> int:
    if session.resume is not None:
        raise UsageError("--dry-run and --resume contradict each other: a resumed run has its plan already")
    from loadtune.cli import dry_run  # noqa: PLC0415 - as in `run`

    return dry_run.tell(plan, session)
