"""Whether a batch size fits, from what its probe left: by the class of what was raised, and by evidence."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtune.record.batch_size import Bound, Fit, StepMeasurement
from loadtune.run import postmortem
from loadtune.run.protocol import Stepped
from loadtune.units import format_bytes, format_number, format_seconds

NEAR_LIMIT = 0.9
"""An error whose words do not tell is one of memory where so much of a limit was used."""
SLOWER = 3.0
"""A step that takes so many times longer a sample than one of a smaller batch did, with a full device, spills."""
FULL = 0.95
_UNTOLD = re.compile(
    r"bad_alloc|could not (create|allocate)|can't start new thread|Resource temporarily unavailable"
    r"|failed to map segment|Cannot allocate memory|std::length_error"
)
"""What libraries say when they get no memory, and at other times too."""
_IN_WORKER = "in DataLoader worker process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether it fits; where it does not, why."""

    fit: Fit
    kind: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is to judge by beside the words."""

    bounds: Sequence[Bound]
    used: Mapping[str, int]
    """Of each limited resource, as far as it came."""
    predicted: Mapping[str, int]
    killed: int | None
    """Processes that the kernel killed for want of memory meanwhile; None where nothing counts them."""
    stderr: str
    seconds_per_sample: float | None
    """Least time a sample took with smaller batches."""
    least_steps: int


def judge(stepped: Stepped, evidence: Evidence, *, batch_size: int, within_seconds: float) -> Outcome:
    """Return whether the batch fits."""
    if stepped.is_late:
        return Outcome(fit="late", kind="hung", reason=f"no end after {format_seconds(within_seconds)}; it was ended")
    if stepped.measured is None:
        return _died(stepped.status or 0, evidence)
    if stepped.measured.error_type is not None:
        return _raised(stepped.measured, evidence)
    return _ran(stepped.measured, evidence, batch_size)


def _died(status: int, evidence: Evidence) -> Outcome:
    failure = postmortem.explain_status(status, evidence.stderr)
    memory = Outcome(fit="out_of_memory", kind="host_oom", reason=failure.reason)
    if failure.kind in ("host_oom", "device_oom"):
        return Outcome(fit="out_of_memory", kind=failure.kind, reason=failure.reason)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        if evidence.killed:
            return memory
        if evidence.killed is None and _is_near("host", evidence.predicted, evidence.bounds):
            return memory
    elif _UNTOLD.search(evidence.stderr):
        return memory
    return Outcome(fit="failed", kind=failure.kind, reason=failure.reason)


def _raised(measured: StepMeasurement, evidence: Evidence) -> Outcome:
    message = measured.error_message
    failure = postmortem.explain_exception(measured.error_type or "", message, traceback=measured.error_traceback)
    if _IN_WORKER in message:
        return Outcome(
            fit="failed",
            kind=failure.kind,
            reason=f"{failure.reason}; it was raised in a worker of a loader, which tells nothing of the batch size",
        )
    if failure.kind in ("host_oom", "device_oom"):
        return Outcome(fit="out_of_memory", kind=failure.kind, reason=failure.reason)
    for resource, kind in (("address_space", "host_oom"), ("host", "host_oom"), ("device", "device_oom")):
        told = failure.kind == "library" or _UNTOLD.search(f"{measured.error_type}: {message}")
        seen = {**evidence.predicted, **evidence.used}
        if told and _is_near(resource, seen, evidence.bounds):
            reason = f"{failure.reason}, with {format_bytes(seen[resource])} in use"
            return Outcome(fit="out_of_memory", kind=kind, reason=reason)
    return Outcome(fit="failed", kind=failure.kind, reason=failure.reason)


def _ran(measured: StepMeasurement, evidence: Evidence, batch_size: int) -> Outcome:
    if measured.steps < evidence.least_steps:
        return Outcome(fit="failed", kind="user_error", reason=f"only {measured.steps} steps ran")
    for bound in evidence.bounds:
        used = evidence.used.get(bound.resource, 0)
        if used > bound.limit_bytes:
            limit = f"{bound.source} is {format_bytes(bound.limit_bytes)}"
            return Outcome(fit="over", kind=None, reason=f"it took {format_bytes(used)}, and {limit}")
    if measured.device_retries:
        return Outcome(fit="over", kind="device_oom", reason=f"the allocator ran full {measured.device_retries} times")
    each = (measured.step_seconds or 0.0) / batch_size
    before = evidence.seconds_per_sample
    if before is not None and each > SLOWER * before and _is_near("device", evidence.used, evidence.bounds, FULL):
        times = format_number(each / before)
        return Outcome(fit="over", kind="device_oom", reason=f"a sample takes {times} times longer: memory spills")
    return Outcome(fit="fits")


def _is_near(resource: str, used: Mapping[str, int], bounds: Sequence[Bound], share: float = NEAR_LIMIT) -> bool:
    return any(used.get(resource, 0) >= share * bound.limit_bytes for bound in bounds if bound.resource == resource)
