"""``loadtune sweep --resume DIR``: go on with a run by its own plan, or say what on the command line differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from loadtune.cli import job
from loadtune.cli.consoles import console_for_people, note
from loadtune.cli.options import OutputOptions, SessionOptions
from loadtune.describe.plan import SweepPlan
from loadtune.errors import UsageError
from loadtune.record.store import KeptRun, RunStore
from loadtune.run.resume import is_object
from loadtune.show.outputs import Exports
from loadtune.units import Size, format_bytes, format_number, format_seconds, format_share

IN_THE_PLAN = {
    "target": "target",
    "arg": "target_args",
    "batch-size": "space.batch_size",
    "num-workers": "space.num_workers",
    "pin-memory": "space.pin_memory",
    "drop-last": "space.drop_last",
    "prefetch-factor": "space.prefetch_factor",
    "persistent-workers": "space.persistent_workers",
    "in-order": "space.in_order",
    "multiprocessing-context": "space.multiprocessing_context",
    "step-time": "consumer.step_seconds",
    "step": "consumer.step",
    "amp": "consumer.amp",
    "device": "consumer.device",
    "search": "search",
    "precision": "measurement.precision",
    "cache": "cache",
    "seed": "seed",
    "host-memory": "limits.host_memory",
    "gpu-memory": "limits.gpu_memory",
    "max-batch-size": "limits.max_batch_size",
    "trial-timeout": "trial_timeout_seconds",
}
"""Where the plan keeps what an option says; the time budget, which may be raised, is not among them."""


def resume(
    plan: SweepPlan,
    *,
    given: Collection[str],
    places: Mapping[str, str | None],
    output: OutputOptions,
    session: SessionOptions,
) -> int:
    """Go on with the run in the directory of ``--resume`` and return 0; where it is finished, only tell its result.

    Args:
        plan: What the options say.
        given: Names of the options that stand on the command line.
        places: Of the exports.
        output: Where results go.
        session: How the command behaves.

    Raises:
        UsageError: An option that contradicts the run, a run of a Python object, or another machine or data set.
        LoadtuneError: As ``job.sweep`` says.
    """
    if "output" in given:
        raise UsageError("--resume and --output contradict each other: a resumed run stays in its directory")
    exports = Exports(**places, interactive=False, force=output.force)
    exports.check()
    with RunStore.resume(str(session.resume)) as store:
        kept = store.kept
        assert kept is not None  # noqa: S101 - `resume` has read it
        goal = agreed(kept, plan, given)
        if kept.result is not None and kept.finished and goal == kept.header.plan:
            note("this run is finished, nothing is left to measure; a longer --time-budget would go on with it")
            console = console_for_people(color=session.color, to_stderr=exports.to_stdout)
            job.tell(kept.result, store.path, exports, console, session)
            return 0
        command = _with_budget(kept.header.command, goal, kept.header.plan)
        return job.measure(goal, store, exports=exports, session=session, command=command)


def agreed(kept: KeptRun, plan: SweepPlan, given: Collection[str]) -> SweepPlan:
    """Return the plan to go on with: that of the run, with the time budget of the command line where it is longer.

    Raises:
        UsageError: The run is of an object that no command line can name, or an option that is given says something
            else than the run's plan.
    """
    own = kept.header.plan
    if is_object(own.target):
        raise UsageError(
            f"the run in '{kept.path}' cannot be resumed: {own.target} was handed to loadtune.sweep by a program, "
            "and no command line can name it"
        )
    for option, was, is_now in _differences(own, plan, given):
        name = "TARGET" if option == "target" else f"--{option}"
        raise UsageError(
            f"the run in '{kept.path}' cannot be resumed with other options: {name} was {was} and is {is_now}",
            hint="leave it out to go on as the run began, or start a new run",
        )
    if "time-budget" not in given:
        return own
    if plan.time_budget_seconds < own.time_budget_seconds:
        was, is_now = format_seconds(own.time_budget_seconds), format_seconds(plan.time_budget_seconds)
        raise UsageError(
            f"the run in '{kept.path}' cannot be resumed with less time: --time-budget was {was} and is {is_now}"
        )
    return replace(own, time_budget_seconds=plan.time_budget_seconds)


def _differences(own: SweepPlan, plan: SweepPlan, given: Collection[str]) -> Iterator[tuple[str, str, str]]:
    for option, field in IN_THE_PLAN.items():
        was, is_now = attrgetter(field)(own), attrgetter(field)(plan)
        if option in given and was != is_now and not (option == "device" and _may_mean(is_now, was)):
            texts = _words(option, was), _words(option, is_now)
            yield option, *(texts if texts[0] != texts[1] else (str(was), str(is_now)))


def _may_mean(device: str, found: str) -> bool:
    """Whether a device as it is asked for may be the one that the run has found; the machine's own facts decide."""
    return device == "auto" or (device == "cuda" and found.startswith("cuda:"))


def _words(option: str, value: Any) -> str:  # noqa: PLR0911 - one line a kind of value
    """Return a value of the plan about as one would write it on the command line."""
    if value is None:
        return "not given"
    if isinstance(value, Size):
        return format_bytes(value.bytes) if value.bytes is not None else format_share(value.share)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items()) or "not given"
    if isinstance(value, tuple):
        names = {True: "on", False: "off", None: "Python's own"}
        return ",".join(names[item] if item is None or isinstance(item, bool) else str(item) for item in value)
    if option in ("step-time", "trial-timeout"):
        return format_seconds(value)
    if option == "precision":
        return format_share(value)
    return format_number(value) if isinstance(value, float) else str(value)


def _with_budget(command: tuple[str, ...], goal: SweepPlan, own: SweepPlan) -> tuple[str, ...]:
    """Return the command that makes the same run in one go: the one that began it, with the longer time budget."""
    if goal == own or command[:2] != ("loadtune", "sweep"):
        return command
    words = list(command)
    for place, word in enumerate(words):
        if word == "--time-budget":
            del words[place : place + 2]
            break
        if word.startswith("--time-budget="):
            del words[place]
            break
    return (*words, "--time-budget", f"{goal.time_budget_seconds:g}s")
