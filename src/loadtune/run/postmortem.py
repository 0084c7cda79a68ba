"""What a trial said at its end: from exception, exit status and stderr to a first kind of failure and a sentence.

What was said is not always what happened: ``judge.cause`` holds it against the evidence.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Collection, Sequence

from loadtune.record.failure import Aftermath, Failure, FailureKind, ProcessEnd
from loadtune.run.stands import WITHOUT_A_WORD, Silence, Stand

_RAISED = r"^(?:Caught |[\w.]*\b)"
"""A line begins with the type that was raised: words that a message quotes decide nothing."""
_BELOW = r"\n(?: {4}.*\n)*"
"""Between the frame that raised and what it raised there is at most its source."""
_BY_TORCH = rf"(?:{_RAISED}(?:Runtime|Accelerator)Error: |^\s*what\(\):\s+)"
"""What raises there is torch, or C++ that ends the process; a data set has other types for its arguments."""
_DAEMONIC = rf"{_RAISED}AssertionError: daemonic processes are not allowed"
"""Said of whoever starts a process where none may be started: of the loader, or of a data set in its worker."""
_NOT_FORKED = (
    rf"(?:\A|, in (?:_launch|spawnv_passfds|_execute_child|_fork_exec){_BELOW})BlockingIOError: \[Errno 11\] Resource"
)
"""Where Python starts a process, the kernel lets no more of them be started; a lock on a file says the same."""

PATTERNS: tuple[tuple[FailureKind, str], ...] = (
    ("pin_memory", r"in pin memory thread|Pin memory thread exited unexpectedly"),
    (
        "shm_full",
        (
            r"unable to allocate shared memory|[Uu]nexpected bus error encountered in worker"
            rf"|{_RAISED}RuntimeError: DataLoader worker \(pid \d+\) is killed by signal: Bus error"
            r"|^Fatal Python error: Bus error"
            r"|No space left on device.*(/dev/shm/|\btorch_\d+_\d+)|torch_\d+_\d+.*No space left on device"
        ),
    ),
    ("open_files", r"Too many open files|received \d+ items of ancdata|unable to open shared memory object"),
    (
        "host_oom",
        (
            r"Cannot allocate memory|DefaultCPUAllocator: (can't|not enough)|Unable to allocate .* for an array"
            rf"|{_RAISED}(Array)?MemoryError\b|WinError 1455"
        ),
    ),
    (
        "device_oom",
        (
            rf"{_RAISED}OutOfMemoryError\b|{_RAISED}(Runtime|Accelerator)Error: "
            r"((CUDA|HIP|XPU|MPS backend) out of memory|(CUDA|HIP) error: out of memory"
            r"|(?=.*CU(BLAS|DNN)_STATUS_ALLOC_FAILED))"
        ),
    ),
    (
        "size_limit",
        rf"{_BY_TORCH}.*(\b(?i:cuda|hip).*invalid configuration argument|canUse32BitIndexMath|\bINT_MAX\b)",
    ),
    ("library", r"CUDNN_STATUS_(NOT_SUPPORTED|EXECUTION_FAILED|INTERNAL_ERROR)|[Uu]nable to find an engine"),
    ("last_batch", r"Expected more than 1 value per channel"),
    ("cuda_in_worker", r"Cannot re-initialize CUDA in forked subprocess"),
    ("main_guard", r"bootstrapping phase|freeze_support\(\)"),
    (
        "pickle",
        (
            r"[Cc]an't pickle|cannot pickle|Can't get (local )?(attribute|object)|Got pickle error"
            rf'|(?:\A|spawn\.py", line \d+, in _main{_BELOW})EOFError: Ran out of input'
        ),
    ),
    (
        "hung",
        (
            rf'(?:\A|dataloader\.py", line \d+, in _get_data{_BELOW})'
            r"RuntimeError: DataLoader timed out after [\d.]+ seconds"
        ),
    ),
    ("environment", _DAEMONIC),
    ("environment", rf"{_NOT_FORKED}|{_RAISED}RuntimeError: can't start new thread"),
    (
        "shards",
        (
            r"Too many dataloader workers: \d+ \(max is dataset\.(num_shards|n_shards)"
            r"|Length of IterableDataset .* was reported|a worker's share of it is empty"
        ),
    ),
    ("worker_error", r"in DataLoader worker process \d+"),
    ("worker_killed", rf"{_RAISED}RuntimeError: DataLoader worker \(pid \d+\) is killed by signal"),
    ("worker_error", rf"{_RAISED}RuntimeError: DataLoader worker \(pid(\(s\))? [\d, ]+\) exited unexpectedly"),
)
"""Kinds and what tells them, the first that matches wins: causes before the symptoms they lead to.

Words that others say too are known by the frame above them, as far as there is one.
"""

_OURS = "DataEndedError"
"""What loadtune itself raises: its sentence needs no name."""
_OF_START: tuple[FailureKind, ...] = ("pickle", "main_guard", "hung", "last_batch", "shards")
"""What an exception of a sample cannot mean: its words are those of the data set, which reads pickles itself."""
_OF_WORKERS: tuple[FailureKind, ...] = ("pickle", "hung", "worker_killed", "worker_error")
"""What cannot be where there are no workers: nothing is sent to any, nor waited for."""
_LOGGED: tuple[FailureKind, ...] = ("shards",)
"""Said on standard error by loaders that run."""
_NOISE = re.compile(
    r"^Exception ignored in: .*\n(?:(?:Traceback|\s).*\n)*.*AssertionError: can only (?:join|test) a child process.*\n?"
    r"|^.*can only (?:join|test) a child process.*\n?|^.*Warning: .*\n?",
    re.MULTILINE,
)
"""What a dying loader's children say of each other, and warnings: they tell nothing of the end."""
_FRAMES = re.compile(r'^\s*File ".*", line \d+, in .*$', re.MULTILINE)
_PINNING_ENDED = re.compile(
    r"_get_data\(\)\n(?:\s*\^+\n)?ValueError: not enough values to unpack \(expected 2, got 0\)"
)
"""In torch's own line, the pinning thread has handed on nothing; anywhere else it is the data set's own mistake."""
_BROKEN_LINES = ("EOFError", "BrokenPipeError", "ConnectionRefusedError", "ConnectionResetError")
"""What the main process sees of a worker that could not hand its batch over; the worker has written why."""
_OF_ORPHANS: tuple[FailureKind, ...] = ("worker_killed", "worker_error")
"""What workers say on standard error when the process that they work for has died: their pipes broke."""


def explain_exception(
    type_name: str,
    message: str,
    *,
    traceback: str = "",
    stderr: str = "",
    aftermath: Aftermath | None = None,
    num_workers: int | None = None,
) -> Failure:
    """Return the failure that an exception in the measuring process stands for, as far as its words go.

    Args:
        type_name: What was raised.
        message: A worker's exception carries its traceback along.
        traceback: Of the measuring process.
        stderr: The end of what all processes of the trial wrote; heard where a worker left without a word to torch.
        aftermath: What was to be seen then.
        num_workers: How many there were to be; None where that is not known.
    """
    if aftermath is not None and aftermath.handed_on is not None:
        type_name, message = aftermath.handed_on.type_name, aftermath.handed_on.message
    # Lines of source say nothing about what happened.
    lines = [line for line in f"{type_name}: {message}".splitlines() if not line.startswith("    ")]
    said = "\n".join([*_FRAMES.findall(traceback)[-1:], *lines])
    reason = _reason(type_name, message)
    if aftermath is not None and aftermath.workers:
        return _worker_ended(aftermath.workers, stderr)
    if aftermath is not None and aftermath.sample is not None:
        reason = f"sample {aftermath.sample} raised {reason}"
    if _PINNING_ENDED.search(traceback):
        return Failure(kind="pin_memory", reason=reason)
    alone = _OF_WORKERS if num_workers == 0 else ()
    if type_name in _BROKEN_LINES and (kind := _kind(clean(stderr), without=(*_LOGGED, *alone))) is not None:
        return Failure(kind=kind, reason=f"{reason}; a worker's last words: {last_line(clean(stderr))}")
    of_a_sample = "in DataLoader worker process" in message or (aftermath is not None and aftermath.is_loading)
    without = (*alone, *(_OF_START if of_a_sample else ()), *([_DAEMONIC] if of_a_sample or alone else []))
    return Failure(kind=_kind(said, without=without) or "user_error", reason=reason)


def _reason(type_name: str, message: str) -> str:
    """Return the type and its words, once each, in a line; where it is a group, the group's own and not a part's."""
    own = re.findall(rf"^[ |]*(?:[\w.<>]*\.)?({re.escape(type_name)}\b.*)$", message, re.MULTILINE)
    last = own[-1][:400] if own and "Exception Group Traceback" in message else last_line(message) or "no message"
    last = re.sub(rf"^[\w.<>]*\.(?={re.escape(type_name)}\b)", "", last).removesuffix(":")
    return last if last.startswith(type_name) or type_name == _OURS else f"{type_name}: {last}"


def _worker_ended(workers: Sequence[ProcessEnd], stderr: str) -> Failure:
    """Return the failure of workers that ended by themselves: their signals tell, else what they wrote."""
    endings = ", ".join(map(str, workers))
    heard = clean(stderr)
    if any(end.signal == "SIGBUS" for end in workers):
        return Failure(kind="shm_full", reason=endings)
    if any(end.signal is not None for end in workers):
        return Failure(kind="worker_killed", reason=endings)
    words = last_line(heard)
    if not words and all(end.exit_code == 0 for end in workers):
        return Failure(kind="worker_error", reason=f"{endings} {WITHOUT_A_WORD}")
    return Failure(
        kind=_kind(heard, without=(*_LOGGED, _DAEMONIC)) or "worker_error",
        reason=f"{endings}{f'; its last words: {words}' if words else ''}",
    )


def explain_status(status: int, stderr_tail: str) -> Failure:
    """Return the failure that the exit status of the measuring process stands for."""
    heard = clean(stderr_tail)
    words = last_line(heard)
    return Failure(
        kind=_kind(heard, without=(*_LOGGED, *_OF_ORPHANS)) or "trial_killed",
        reason=f"the measuring process {ending(status)}{f'; its last words: {words}' if words else ''}",
    )


def hung(
    seconds: float,
    *,
    stalled: bool,
    batches: int,
    stands: Sequence[Stand],
    silent: Sequence[Silence] = (),
    stderr: str = "",
) -> Failure:
    """Return the failure of a trial that did not go on, or was not over in time.

    Args:
        seconds: For how long no batch had come, where it was stalled; else what the trial took.
        stalled: Whether batches had come and then came no more.
        batches: How many had come.
        stands: Where its processes stood.
        silent: Those that did not tell.
        stderr: The end of what they wrote: a batch that cannot be handed over is lost with a word there alone.
    """
    if stalled:
        what = f"no batch for {seconds:.0f} s after {batches} (a third of --trial-timeout, or ten of its longest waits)"
    elif batches:
        what = f"no result after {seconds:.0f} s (--trial-timeout), {batches} batches had come"
    else:
        what = f"no batch in {seconds:.0f} s (--trial-timeout, or a third of --time-budget)"
    lost = _lost(clean(stderr))
    words = f"; a worker lost its batch: {last_line(lost)}" if lost else ""
    kind = _kind(lost) if lost else None
    return Failure(kind=kind or "hung", reason=f"{what}; it was killed{_where(stands, silent)}{words}", hung=True)


def _lost(heard: str) -> str:
    """Return what the thread that hands a worker's batches over said when it could not."""
    found = re.search(
        r'File ".*multiprocessing/queues\.py", line \d+, in _feed\n(?:.*\n)*?^(\w[\w.]*: .*)$', heard, re.MULTILINE
    )
    return found[1] if found else ""


def _where(stands: Sequence[Stand], silent: Sequence[Silence]) -> str:
    """Return where it stuck, as the end of a sentence: the processes that were loading a sample are the ones."""
    loading = [stand for stand in stands if stand.loading]
    if loading:
        others = f", {len(loading) - 1} more were loading too" if len(loading) > 1 else ""
        return f": {loading[0]}{others}"
    if silent:
        others = f", and {len(silent) - 1} more like it" if len(silent) > 1 else ""
        return f": {silent[0]}{others}"
    if stands:
        return f": no process was loading a sample, {stands[0]}"
    return ""


def out_of_time() -> Failure:
    """Return why a trial that the time budget cut short has no number; it says nothing against the configuration."""
    return Failure(kind=None, reason="the time budget ended while it was measured")


def clean(text: str) -> str:
    """Return what was written without the lines that tell nothing of the end."""
    return _NOISE.sub("", text)


def _kind(text: str, without: Collection[str] = ()) -> FailureKind | None:
    """Return the kind that a text tells, but for those kinds, and those patterns, that it cannot mean."""
    left = ((kind, pattern) for kind, pattern in PATTERNS if kind not in without and pattern not in without)
    return next((kind for kind, pattern in left if re.search(pattern, text, re.MULTILINE)), None)


def ending(status: int) -> str:
    """Return how a process ended, from its status as the kernel encodes it."""
    words = how_it_ended(status)
    return words if os.WIFSIGNALED(status) else f"{words} and gave no result"


def how_it_ended(status: int) -> str:
    """Return ``was killed by SIGSEGV`` or ``ended with exit code 3``."""
    end = process_end(status)
    return str(end).removeprefix(f"{end.who} ")


def process_end(status: int) -> ProcessEnd:
    """Return how the measuring process ended, from its status as the kernel encodes it."""
    if os.WIFSIGNALED(status):
        return ProcessEnd(signal=signal.Signals(os.WTERMSIG(status)).name)
    return ProcessEnd(exit_code=os.WEXITSTATUS(status))


def last_line(text: str) -> str:
    """Return the line that says what happened: the last one, where tracebacks put it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith('File "')]
    return lines[-1][:400] if lines else ""
