"""Whether a run can go on here: the machine and the data set must be what they were when it began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import msgspec

from loadtune.errors import UsageError
from loadtune.judge.reasons import label
from loadtune.record.results import Environment, Probe, Resume, RunResult
from loadtune.record.store import KeptRun, RunHeader
from loadtune.units import format_bytes

MEMORY_TOLERANCE = 0.01
"""A memory limit may differ by this share: what a kernel keeps for itself changes from boot to boot."""

START_ANEW = "what was measured there and what would be measured here cannot be compared: start a new run"


def continued(kept: KeptRun, now: RunHeader) -> RunHeader:
    """Return the header with which a kept run goes on.

    Environment, limits and probe stay those that its first trials were made with; the time budget is the new one.

    Args:
        kept: What there is.
        now: What a new run would begin with here and now.

    Raises:
        UsageError: The machine or the data set is another one; the sentence names the first fact that differs.
    """
    for fact, was, here in _facts(kept.header, now):
        if was != here:
            raise UsageError(
                f"the run in '{kept.path}' cannot be resumed here: {fact} was {was} and is {here}", hint=START_ANEW
            )
    longer = now.plan.time_budget_seconds > kept.header.plan.time_budget_seconds
    order = len(kept.journal.records)
    # A time at which it was taken up and nothing was measured is none.
    before = tuple(one for one in kept.header.resumes if one.order < order)
    dropped = any(one.more_time for one in kept.header.resumes if one.order >= order)
    again = Resume(order=order, pause_seconds=_pause(kept, now.started_at), more_time=longer or dropped)
    return msgspec.structs.replace(
        kept.header,
        command=now.command,
        plan=replace(kept.header.plan, time_budget_seconds=now.plan.time_budget_seconds),
        resumes=(*before, again) if order else (),
    )


def _pause(kept: KeptRun, now: str) -> float:
    """Return the seconds from the end of the last trial that is kept until now, by the clock on the wall."""
    if not kept.journal.records:
        return 0.0
    last = kept.journal.records[-1]
    passed = _moment(now) - _moment(last.started_at)
    return max(0.0, passed - last.seconds)


def _moment(text: str) -> float:
    # Python 3.10 does not read the Z that other writers put for UTC.
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _facts(kept: RunHeader, now: RunHeader) -> Iterator[tuple[str, str, str]]:
    """Yield each fact that must agree, as it was and as it is."""
    was, here = kept.environment, now.environment
    yield from machine_facts(was, here)
    yield "Python", was.python_version, here.python_version
    yield "torch", kept.probe.torch_version, now.probe.torch_version
    yield "loadtune", was.loadtune_version, here.loadtune_version
    yield from data_facts(kept.probe, now.probe)
    yield "the baseline", label(kept.probe.baseline), label(now.probe.baseline)
    yield "the baseline's id", kept.probe.baseline.config_id, now.probe.baseline.config_id


def machine_facts(was: Environment, here: Environment) -> Iterator[tuple[str, str, str]]:
    """Yield each fact of two machines that must agree for rates to be compared, as it was and as it is."""
    yield "the processor", was.cpu_model, here.cpu_model
    yield "the number of logical CPUs", str(was.logical_cpus), str(here.logical_cpus)
    yield "the number of usable CPUs", f"{was.usable_cpus:g}", f"{here.usable_cpus:g}"
    if abs(was.host_memory_limit_bytes - here.host_memory_limit_bytes) > MEMORY_TOLERANCE * was.host_memory_limit_bytes:
        yield "the limit of host memory", *_sizes(was.host_memory_limit_bytes, here.host_memory_limit_bytes)
    yield "the accelerator", ", ".join(was.accelerators) or "none", ", ".join(here.accelerators) or "none"


def data_facts(was: Probe, here: Probe) -> Iterator[tuple[str, str, str]]:
    """Yield the same of two data sets."""
    yield "the kind of the data set", was.dataset_kind, here.dataset_kind
    yield "the number of samples", _count(was.dataset_samples), _count(here.dataset_samples)
    yield "who forms the batches", _former(was.batch_size_is_swept), _former(here.batch_size_is_swept)


def incomparable(base: RunResult, new: RunResult) -> Iterator[tuple[str, str, str]]:
    """Yield each fact by which the rates of two runs cannot be compared, as it was in the one and is in the other."""
    facts = (
        *machine_facts(base.environment, new.environment),
        ("the data set", base.probe.name or base.target, new.probe.name or new.target),
        *data_facts(base.probe, new.probe),
        ("the step", base.plan.consumer.step_words, new.plan.consumer.step_words),
        ("where batches go", base.plan.consumer.device, new.plan.consumer.device),
        ("the page cache", base.plan.cache, new.plan.cache),
    )
    return (fact for fact in facts if fact[1] != fact[2])


def versions_apart(base: RunResult, new: RunResult) -> Iterator[tuple[str, str, str]]:
    """Yield each version that two runs do not share: often the very thing that is compared."""
    was = {"Python": base.environment.python_version, **base.environment.packages, "torch": base.probe.torch_version}
    here = {"Python": new.environment.python_version, **new.environment.packages, "torch": new.probe.torch_version}
    names = sorted({*was, *here}, key=str.lower)
    pairs = ((name, was.get(name) or "absent", here.get(name) or "absent") for name in names)
    yield from (pair for pair in pairs if pair[1] != pair[2])


def _sizes(was: int, here: int) -> tuple[str, str]:
    texts = format_bytes(was), format_bytes(here)
    return texts if texts[0] != texts[1] else (f"{was:,} B", f"{here:,} B")


def _count(samples: int | None) -> str:
    return "unknown" if samples is None else f"{samples:,}"


def _former(swept: bool) -> str:  # noqa: FBT001 - a predicate's value in words
    return "the loader" if swept else "the data set"
