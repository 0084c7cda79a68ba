"""What really ended a trial: what it said, held against what the machine and the kernel have seen of it.

A worker that was killed is out of host memory only where the kernel's counters or the limit say so; a library that
fails is out of device memory only where the device is full; whoever waits for ever for a batch has lost it where
/dev/shm is full. A failure of the host is never taken for a batch too large for the device.
"""

from __future__ import annotations

import re
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.record.failure import Alone, Failure, FailureEvidence, FailureKind, ProcessEnd
from loadtune.record.shared_memory import SHM
from loadtune.units import format_bytes

NEARLY_ALL = 0.95
"""Of a limit of host memory: a peak above it agrees with a kill for want of memory where no counter tells."""
FULL_SHM_SHARE = 0.05
"""Of /dev/shm free: it counts as full below this, or where the batch that came last would not fit any more."""
FULL_DEVICE_SHARE = 0.1
"""Of the device's memory free: less agrees with a library that fails for want of it."""
RISING_FILES = 16
"""Open files that a process must have more of at the last count than at the first, before they explain anything."""
TELLING_FILES_SHARE = 0.5
"""Of the limit: below it they explain no symptom. Between two counts there may be as many batches again."""
_OF_FILES: tuple[FailureKind, ...] = ("worker_killed", "worker_error", "user_error")
"""Kinds that a lack of descriptors may be taken for: what the main process sees is the end of a connection."""
_OF_KILLS: tuple[FailureKind, ...] = ("worker_error", "user_error", "hung")
"""Kinds that the death of another process may bring about: of one that serves samples, or of a pool."""
_ALLOCATING = re.compile(r"CU(BLAS|DNN)_STATUS_ALLOC_FAILED")


def confirmed(failure: Failure, evidence: FailureEvidence, config: LoaderConfig) -> Failure:
    """Return the failure with the kind that the evidence speaks for, and its figures in the reason."""
    if failure.kind is None:
        return failure
    return _open_files(_beside_a_kill(_by_machine(failure, evidence, config), evidence), evidence)


def _beside_a_kill(failure: Failure, evidence: FailureEvidence) -> Failure:
    """Add to a symptom that the kernel killed for want of memory: a process that the data set uses, most likely."""
    if failure.kind not in _OF_KILLS or not evidence.oom_kills:
        return failure
    s = "" if evidence.oom_kills == 1 else "es"
    words = f"meanwhile the kernel killed {evidence.oom_kills} process{s} for want of memory, {memory_words(evidence)}"
    return replace(failure, reason=f"{failure.reason}; {words}")


def _by_machine(failure: Failure, evidence: FailureEvidence, config: LoaderConfig) -> Failure:
    if failure.kind in ("worker_killed", "trial_killed"):
        return _killed(failure, evidence)
    if failure.kind == "shm_full" or (failure.hung and failure.kind == "hung"):
        return _shared_memory(failure, evidence, config)
    if failure.kind == "library" or (failure.kind == "device_oom" and _ALLOCATING.search(failure.reason)):
        return _library(failure, evidence)
    return failure


def _killed(failure: Failure, evidence: FailureEvidence) -> Failure:
    """SIGKILL: by the kernel where its counters moved, or where nothing counts and the limit was all but reached."""
    ended = (*evidence.workers, *([evidence.trial] if evidence.trial is not None else []))
    victim = next((end for end in ended if end.signal == "SIGKILL"), None)
    if victim is None:
        return failure
    if memory_ran_out(evidence):
        return replace(failure, kind="host_oom", reason=f"the kernel killed {victim.who} {memory_words(evidence)}")
    known = evidence.oom_kills is not None
    doubt = "the kernel counts no process killed for want of memory" if known else f"memory stood at {_used(evidence)}"
    return replace(failure, reason=f"{failure.reason}; {doubt}, so something else sent it")


def memory_words(evidence: FailureEvidence) -> str:
    """Return ``at 1.9 GiB of 2 GiB of memory (cgroup v1 /a memory.limit_in_bytes)``."""
    source = f" ({evidence.host_limit_source})" if evidence.host_limit_source else ""
    return f"at {_used(evidence)} of memory{source}"


def _used(evidence: FailureEvidence) -> str:
    return f"{format_bytes(evidence.host_peak_bytes)} of {format_bytes(evidence.host_limit_bytes)}"


def memory_ran_out(evidence: FailureEvidence) -> bool:
    """Return whether the kernel killed for want of host memory, by its counters; by the limit where it has none."""
    if evidence.oom_kills is not None:
        return evidence.oom_kills > 0
    peak, limit = evidence.host_peak_bytes, evidence.host_limit_bytes
    return peak is not None and limit is not None and peak >= NEARLY_ALL * limit


def _shared_memory(failure: Failure, evidence: FailureEvidence, config: LoaderConfig) -> Failure:
    if failure.kind == "hung":
        if not config.num_workers or not shm_is_full(evidence):
            return failure
        lost = f"{failure.reason}; {SHM} is full, so that a batch was lost on its way"
        return replace(failure, kind="shm_full", reason=f"{lost}: {shm_words(evidence, config)}")
    by_signal = _by_bus_error(evidence)
    if by_signal is not None and evidence.shm_free_bytes is not None and not shm_is_full(evidence):
        free = f"{SHM} had {format_bytes(evidence.shm_free_bytes)} free, so it is another file that fell short"
        kind: FailureKind = "trial_killed" if by_signal.worker is None else "worker_killed"
        return Failure(kind=kind, reason=f"{failure.reason}; {free}")
    words = shm_words(evidence, config)
    return replace(failure, reason=f"{failure.reason}; {words}") if words else failure


def _by_bus_error(evidence: FailureEvidence) -> ProcessEnd | None:
    ended = (*evidence.workers, *([evidence.trial] if evidence.trial is not None else []))
    return next((end for end in ended if end.signal == "SIGBUS"), None)


def shm_is_full(evidence: FailureEvidence) -> bool:
    """Return whether /dev/shm had no room for another batch; no where that is not known."""
    free, total = evidence.shm_free_bytes, evidence.shm_total_bytes
    if free is None or total is None:
        return False
    return free < max(FULL_SHM_SHARE * total, evidence.batch_bytes or 0.0)


def shm_words(evidence: FailureEvidence, config: LoaderConfig) -> str:
    """Return what was needed and what there was: ``9 batches of 12 MiB need 108 MiB, /dev/shm has 64 MiB``."""
    total, free, batch = evidence.shm_total_bytes, evidence.shm_free_bytes, evidence.batch_bytes
    if total is None:
        return ""
    has = f"{SHM} has {format_bytes(total)}, {format_bytes(free)} of it free at the least"
    count = config.batches_at_once
    if batch and count * batch > total:
        return f"{count} batches like the last one, of {format_bytes(batch)}, need {format_bytes(count * batch)}, {has}"
    return has


def _library(failure: Failure, evidence: FailureEvidence) -> Failure:
    free, total = evidence.device_free_bytes, evidence.device_total_bytes
    if free is None or total is None:
        return failure
    words = f"{failure.reason}; the device had {format_bytes(free)} free of {format_bytes(total)}"
    return replace(failure, kind="device_oom" if free < FULL_DEVICE_SHARE * total else "library", reason=words)


def _open_files(failure: Failure, evidence: FailureEvidence) -> Failure:
    """Put a symptom down to descriptors where they rose to the limit; where that is known, add the counts."""
    first, last, limit = evidence.open_files_first, evidence.open_files_last, evidence.open_files_limit
    if first is None or last is None or last - first < RISING_FILES:
        return failure
    is_near = limit is not None and last >= TELLING_FILES_SHARE * limit
    if failure.kind != "open_files" and not (failure.kind in _OF_FILES and is_near):
        return failure
    of = f" of {limit:,} allowed" if limit is not None else ""
    return replace(
        failure,
        kind="open_files",
        reason=f"a process had {last:,} files open{of} when last seen, and {first:,} at first: batches, or what is "
        f"opened for them, are kept ({failure.reason})",
    )


def with_alone(failure: Failure, alone: Alone, samples: int) -> Failure:
    """Return the failure with what its samples did when they were loaded one by one in one process."""
    words = _together_words(failure.reason, alone) if alone.together else _alone_words(failure.reason, alone, samples)
    return replace(failure, reason=words)


def _together_words(reason: str, alone: Alone) -> str:
    same = ", in a worker and in one process" if alone.raised == reason else f"; in one process: {alone.raised}"
    return f"the samples load one by one, but not together: {reason}{same}"


def _alone_words(reason: str, alone: Alone, samples: int) -> str:
    what = f"sample {alone.sample}" if alone.sample is not None else "putting the batch together"
    if alone.raised == reason:
        return f"{what} raises {reason}, in a worker and alone in one process"
    if alone.raised:
        return f"{reason}; alone in one process {what} raises {alone.raised}"
    if alone.died:
        return f"{reason}; alone in one process {what} ends it: it {alone.died}"
    if alone.all_well:
        its = f"the {samples} samples given to it" if samples > 1 else "the sample given to it"
        s = "" if samples > 1 else "s"
        return f"{reason}; {its} load{s} alone without error: the fault shows only in a worker"
    if alone.sample is not None:
        return f"{reason}; alone in one process {what} did not come to an end"
    return f"{reason}; {alone.loaded} of {samples} samples loaded alone without error in the time for it"
