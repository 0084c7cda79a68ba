"""Whether a batch fits, by the class of what was raised and by evidence: from scripted remains of a probe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtune.record.batch_size import Bound, StepMeasurement
from loadtune.run.protocol import Stepped
from loadtune.run.step_verdict import Evidence, Outcome, judge

GIB = 2**30
KILLED = 9
DEVICE = Bound(resource="device", limit_bytes=8 * GIB, source="--gpu-memory")
SPACE = Bound(resource="address_space", limit_bytes=6 * GIB, source="RLIMIT_AS")
EVIDENCE = Evidence(
    bounds=(DEVICE, SPACE),
    used={"device": GIB, "address_space": GIB},
    predicted={},
    killed=0,
    stderr="",
    seconds_per_sample=None,
    least_steps=3,
)
RAN = StepMeasurement(
    steps=4,
    step_seconds=1.0,
    evaluated=True,
    batch_bytes=1,
    resident_peak_bytes=GIB,
    address_peak_bytes=GIB,
    device_peak_bytes=GIB,
)


def outcome(stepped: Stepped, **evidence: Any) -> Outcome:
    return judge(stepped, replace(EVIDENCE, **evidence), batch_size=64, within_seconds=60.0)


def raised(name: str, message: str) -> Stepped:
    return Stepped(measured=replace(RAN, error_type=name, error_message=message))


def full(resource: str) -> dict[str, int]:
    limit = DEVICE if resource == "device" else SPACE
    return {**EVIDENCE.used, resource: int(0.97 * limit.limit_bytes)}


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", "device_oom"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "device_oom"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory", "host_oom"),
        ("RuntimeError", "DefaultCPUAllocator: not enough memory: you tried to allocate", "host_oom"),
        ("MemoryError", "Unable to allocate 3.00 GiB for an array", "host_oom"),
    ],
)
def test_words_of_memory_are_out_of_memory(name: str, message: str, kind: str) -> None:
    """What torch, cuBLAS and numpy say when memory is out is it, of the right kind."""
    seen = outcome(raised(name, message))
    assert (seen.fit, seen.kind) == ("out_of_memory", kind)


@pytest.mark.parametrize(
    ("name", "message", "resource"),
    [
        ("RuntimeError", "could not create a primitive", "address_space"),
        ("RuntimeError", "std::bad_alloc", "address_space"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", "device"),
    ],
)
def test_words_that_do_not_tell_need_evidence(name: str, message: str, resource: str) -> None:
    """What libraries say at other times too is out of memory only where a limit was nearly reached."""
    assert outcome(raised(name, message), used=full(resource)).fit == "out_of_memory"
    assert outcome(raised(name, message)).fit == "failed"


def test_a_killed_process_needs_the_kernels_word() -> None:
    """SIGKILL is out of memory where the kernel counts a kill for want of it, and else a failure."""
    assert outcome(Stepped(status=KILLED), killed=1).fit == "out_of_memory"
    assert outcome(Stepped(status=KILLED), killed=0).fit == "failed"


def test_an_allocator_that_gave_back_does_not_fit() -> None:
    """A batch that ran only since the allocator emptied its cache is over the limit."""
    seen = outcome(Stepped(measured=replace(RAN, device_retries=2)))
    assert (seen.fit, seen.kind) == ("over", "device_oom")


def test_a_step_that_spills_does_not_fit() -> None:
    """Three times slower a sample on a full device is spilling; on a half empty one it is just slow."""
    assert outcome(Stepped(measured=RAN), seconds_per_sample=0.001, used=full("device")).fit == "over"
    assert outcome(Stepped(measured=RAN), seconds_per_sample=0.001).fit == "fits"


def test_steps_that_did_not_run_are_a_failure() -> None:
    """A probe in which fewer steps ran than were asked for is no batch that fits."""
    assert outcome(Stepped(measured=replace(RAN, steps=0))).fit == "failed"


def test_over_a_limit_says_both_figures() -> None:
    """A batch that ran and took more than the limit is over it, with what it took and the limit's source."""
    seen = outcome(Stepped(measured=RAN), used={"device": 9 * GIB})
    assert seen.fit == "over"
    assert "9.0 GiB" in seen.reason
    assert "--gpu-memory is 8.0 GiB" in seen.reason


def test_late_is_a_failure() -> None:
    """A probe that was ended for its time is hung."""
    assert outcome(Stepped(is_late=True)).kind == "hung"
