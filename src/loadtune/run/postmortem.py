"""What ended a trial: from exit status, exception and stderr to the kind of failure and a sentence."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.run.stands import Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial gave no numbers."""

    kind: str
    """A class of docs/failures.md."""
    reason: str


_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "shm_full",
        r"unable to allocate shared memory|[Bb]us error|SIGBUS|out of shared memory|No space left on device.*shm",
    ),
    ("open_files", r"Too many open files|received \d+ items of ancdata|unable to open shared memory object"),
    (
        "device_oom",
        (
            r"(CUDA|HIP|XPU|MPS backend) out of memory|OutOfMemoryError|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
            r"|CUDA error: out of memory"
        ),
    ),
    (
        "host_oom",
        (
            r"Cannot allocate memory|DefaultCPUAllocator: (can't|not enough)|Unable to allocate .* array|MemoryError"
            r"|WinError 1455"
        ),
    ),
    ("size_limit", r"invalid configuration argument|canUse32BitIndexMath|INT_MAX"),
    ("library", r"CUDNN_STATUS_(NOT_SUPPORTED|EXECUTION_FAILED|INTERNAL_ERROR)|[Uu]nable to find an engine"),
    ("last_batch", r"Expected more than 1 value per channel"),
    ("cuda_in_worker", r"Cannot re-initialize CUDA in forked subprocess"),
    ("pin_memory", r"in pin memory thread|Pin memory thread exited unexpectedly"),
    ("main_guard", r"bootstrapping phase|freeze_support\(\)"),
    (
        "pickle",
        r"[Cc]an't pickle|cannot pickle|Can't get (local )?(attribute|object)|Got pickle error|Ran out of input",
    ),
    ("hung", r"DataLoader timed out after"),
    ("worker_error", r"Caught \w+ in DataLoader worker process"),
    ("worker_killed", r"killed by (signal|SIG)|ConnectionResetError|EOFError"),
    ("worker_error", r"exited unexpectedly|ended with exit code"),
    (
        "environment",
        (
            r"daemonic processes are not allowed|BlockingIOError.*Resource temporarily unavailable"
            r"|can't start new thread"
        ),
    ),
)
"""Kinds and what tells them, the first that matches wins: causes before the symptoms they lead to."""

_OF_ORPHANS = ("worker_killed", "worker_error")
"""What workers say on standard error when the process that they work for has died: their pipes broke."""


def explain_exception(type_name: str, message: str) -> Failure:
    """Return the failure that an exception in the measuring process stands for."""
    # A worker's exception carries its traceback along, and lines of source say nothing about what happened.
    said = [line for line in f"{type_name}: {message}".splitlines() if not line.startswith("    ")]
    kind = _kind("\n".join(said)) or "user_error"
    last = _last_line(message) or "no message"
    return Failure(kind=kind, reason=last if last.startswith(type_name) else f"{type_name}: {last}")


def explain_status(status: int, stderr_tail: str) -> Failure:
    """Return the failure that the exit status of the measuring process stands for."""
    how = ending(status)
    said = _last_line(stderr_tail)
    return Failure(
        kind=_kind(stderr_tail, without=_OF_ORPHANS) or "trial_killed",
        reason=f"the measuring process {how}{f'; its last words: {said}' if said else ''}",
    )


def hung(seconds: float, *, stalled: bool, batches: int, stands: Sequence[Stand]) -> Failure:
    """Return the failure of a trial that did not go on, or was not over in time.

    Args:
        seconds: For how long no batch had come, where it was stalled; else what the trial took.
        stalled: Whether batches had come and then came no more.
        batches: How many had come.
        stands: Where its processes stood.
    """
    if stalled:
        what = f"no batch for {seconds:.0f} s after {batches} (a third of --trial-timeout, or ten of its longest waits)"
    elif batches:
        what = f"no result after {seconds:.0f} s (--trial-timeout), {batches} batches had come"
    else:
        what = f"no batch in {seconds:.0f} s (--trial-timeout)"
    return Failure(kind="hung", reason=f"{what}; it was killed{_where(stands)}")


def _where(stands: Sequence[Stand]) -> str:
    """Return where it stuck, as the end of a sentence: the processes that were loading a sample are the ones."""
    loading = [stand for stand in stands if stand.loading]
    if loading:
        others = f", {len(loading) - 1} more were loading too" if len(loading) > 1 else ""
        return f": {loading[0]}{others}"
    if stands:
        return f": no process was loading a sample, {stands[0]}"
    return ""


def out_of_time() -> Failure:
    """Return why a trial that the time budget cut short has no number; it says nothing against the configuration."""
    return Failure(kind="", reason="the time budget ended while it was measured")


def _kind(text: str, without: Sequence[str] = ()) -> str | None:
    return next((kind for kind, pattern in _PATTERNS if kind not in without and re.search(pattern, text)), None)


def ending(status: int) -> str:
    """Return how a process ended, from its status as the kernel encodes it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by {signal.Signals(number).name}"
    return f"ended with exit code {os.WEXITSTATUS(status)} and gave no result"


def _last_line(text: str) -> str:
    """Return the line that says what happened: the last one, where tracebacks put it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else ""
