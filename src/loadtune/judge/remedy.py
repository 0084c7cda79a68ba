"""The next step after a failure, with numbers where there are any; the long remedies are on the page of its kind."""

from __future__ import annotations

import re
from collections.abc import Callable

from loadtune.describe.config import LoaderConfig
from loadtune.explain import pages
from loadtune.record.failure import FailureEvidence, ProcessEnd
from loadtune.record.results import Probe
from loadtune.record.shared_memory import SHM
from loadtune.units import format_bytes, format_count

_MIB = 2**20
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")
"""Signals that a process brings about by what it does, native code at that."""

_OF_CODE = re.compile(r"\((function|type|method)\b|local object|Can't get (local )?attribute|nested too deeply")
"""In the words on what cannot be pickled: a function or a class is at fault, or how parts hang together."""
_FAR_BELOW = 0.5
"""Of the machine's limit: where no more memory was ever in use, it is another limit that was met."""
_BY_WORDS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "worker_error",
        re.compile("daemonic processes are not allowed"),
        (
            "the data set starts processes inside of a worker, which may have none: use threads there "
            "(multiprocessing.pool.ThreadPool), or --num-workers 0"
        ),
    ),
    (
        "environment",
        re.compile("can't start new thread|Resource temporarily unavailable|processes and threads"),
        (
            "allow more processes and threads (ulimit -u, pids.max of the control group: docker run --pids-limit 4096),"
            " or start fewer: fewer workers, fewer threads in a sample"
        ),
    ),
)
"""Kinds with more than one cause, the words of the reason that tell which it is, and the step."""


def advice(kind: str, config: LoaderConfig, probe: Probe, evidence: FailureEvidence, *, reason: str = "") -> str:
    """Return the next step for a configuration that failed.

    Args:
        kind: A kind of failure; of one that has no page there is no advice.
        config: What failed.
        probe: What is known of the data set.
        evidence: What is known of the failure, as far as it goes.
        reason: What is said of it; of some kinds it alone tells the cause.
    """
    own = _WITH_NUMBERS.get(kind)
    step = next((step for one, words, step in _BY_WORDS if one == kind and words.search(reason)), None)
    step = step or (own(config, probe, evidence) if own is not None else None) or first_step(kind)
    return f"{step} (loadtune explain {kind})" if step else ""


def first_step(kind: str) -> str:
    """Return what the page of a kind says is to be done first; empty where it has no page."""
    try:
        page = pages.read(kind)
    except FileNotFoundError:
        return ""
    todo = dict(page.sections)["What to do"]
    first = re.split(r"^- ", todo, flags=re.MULTILINE)[1]
    return " ".join(first.partition("\n\n")[0].split()).rstrip(".")


def _shared_memory(config: LoaderConfig, probe: Probe, evidence: FailureEvidence) -> str | None:
    """(P·W + 1) batches have to fit, beside what others had there before."""
    total, others, batch = (
        evidence.shm_total_bytes,
        evidence.shm_before_bytes or 0,
        _batch_bytes(config, probe, evidence),
    )
    if total is None or not config.num_workers:
        return None
    needed, room = config.batches_at_once * batch, total - others
    size = _next_size(max(needed + others, total + 1))
    larger = f"give {SHM} {format_bytes(size)} (docker run --shm-size={size // _MIB}m, or --ipc=host)"
    if needed <= room:  # it ran full all the same: what is known of a batch's size is too little
        return f"{larger}, or need less: fewer workers, a smaller batch, --prefetch-factor 1"
    ahead = int(room // batch) - 1
    if ahead < 1:
        return (
            f"{larger}: not one batch of {format_bytes(batch)} ahead of the one in use fits into {format_bytes(room)}"
        )
    return f"{larger}, or keep prefetch_factor × num_workers at {format_count(ahead)} or less with this batch size"


def _batch_bytes(config: LoaderConfig, probe: Probe, evidence: FailureEvidence) -> float:
    expected = (probe.shared_bytes_per_sample or 0.0) * (config.batch_size or 0)
    return max(expected, evidence.batch_bytes or 0.0)


def _next_size(needed: float) -> int:
    """Return the next power of two of MiB."""
    return _MIB << max(0, int((needed - 1) // _MIB)).bit_length()


def _host_memory(config: LoaderConfig, _probe: Probe, evidence: FailureEvidence) -> str | None:
    limit = evidence.host_limit_bytes
    if _is_another_limit(evidence):
        return (
            "look for a limit of the process (ulimit -v, RLIMIT_AS), or for one allocation that is larger than what is "
            f"free: it is not the machine's memory, of which no more than {format_bytes(evidence.host_peak_bytes)} was "
            "seen in use"
        )
    fewer = [f"--num-workers {config.num_workers // 2}"] if config.num_workers else []
    fewer += [f"--batch-size {config.batch_size // 2}"] if config.batch_size and config.batch_size > 1 else []
    if not fewer:
        return None
    under = f", or raise the limit of {format_bytes(limit)}" if limit is not None else ""
    return f"need less: {' or '.join(fewer)}{under}"


def _is_another_limit(evidence: FailureEvidence) -> bool:
    """Return whether memory was refused though the machine, or the group, had plenty, and nothing was killed for it."""
    peak, limit = evidence.host_peak_bytes, evidence.host_limit_bytes
    return not evidence.oom_kills and peak is not None and limit is not None and peak < _FAR_BELOW * limit


def _open_files(_config: LoaderConfig, _probe: Probe, evidence: FailureEvidence) -> str | None:
    most, where = evidence.open_files_last, "one process"
    if most is None or most < (evidence.open_files or 0):
        most, where = evidence.open_files, "the process that takes the batches"
    if most is None or evidence.open_files_limit is None:
        return None
    return (
        f"raise the limit of open files (ulimit -Hn): {format_count(most)} of "
        f"{format_count(evidence.open_files_limit)} were open in {where}; or have fewer tensors in a batch"
    )


def _device_memory(config: LoaderConfig, _probe: Probe, _evidence: FailureEvidence) -> str | None:
    return f"try --batch-size {config.batch_size // 2}" if config.batch_size and config.batch_size > 1 else None


def _pickle(_config: LoaderConfig, probe: Probe, _evidence: FailureEvidence) -> str | None:
    """What is open, or is a lock, is made anew in each worker; functions and classes are what the page begins with."""
    told = probe.unpicklable
    if told is None or _OF_CODE.search(told):
        return None
    return (
        f"make {told.partition(' (')[0]} in the worker, at the first sample, and leave it out of the pickle: "
        "__getstate__"
    )


def _hung(_config: LoaderConfig, _probe: Probe, evidence: FailureEvidence) -> str | None:
    """The page begins with the sample that is named; where none was being loaded there is none to look at."""
    if evidence.is_loading is not False:
        return None
    return (
        "read the stacks under stderr_tail of this trial in trials.jsonl: no process was loading a sample, so it waits "
        "in a worker's start (imports, unpickling, worker_init_fn), in putting a batch together, or for a lock"
    )


def _process(_config: LoaderConfig, _probe: Probe, evidence: FailureEvidence) -> str | None:
    """By what its samples did alone, else by how the process ended."""
    alone, ended = evidence.alone, evidence.trial or next(iter(evidence.workers), None)
    if alone is not None and alone.together:
        return (
            "load the batch in one call, without a loader: dataset.__getitems__(INDICES), which failure_evidence lists"
        )
    if alone is not None and alone.sample is not None:
        return _by_itself(alone.sample)
    if alone is not None and alone.all_well:
        return "look at what only workers do: open files and clients in the worker, on first use"
    return _by_its_end(ended, evidence) if ended is not None else None


def _by_its_end(ended: ProcessEnd, evidence: FailureEvidence) -> str | None:
    """Return what to do about an end; None for SIGKILL that nobody counts, which the kinds' pages begin with."""
    if ended.signal is None:
        return f"find what ends {ended.who} with exit code {ended.exit_code}: the data set, or a library, calls exit"
    if ended.signal == "SIGKILL" and evidence.oom_kills is None:
        return None
    if ended.signal in _CRASHES:
        return (
            f"native code crashed ({ended.signal}): go through the data set without a loader under "
            "`python -X faulthandler`, which prints the line that it was called from"
        )
    return f"find out who sends {ended.signal}: a batch system at its limit, another program, or the data set itself"


def _of_the_data(_config: LoaderConfig, _probe: Probe, evidence: FailureEvidence) -> str | None:
    """Return how to see what a sample raises, where it is known which does."""
    return _by_itself(evidence.sample) if evidence.sample is not None else None


def _by_itself(sample: str) -> str:
    return f"load the sample by itself, without a loader: dataset[{sample}]"


_WITH_NUMBERS: dict[str, Callable[[LoaderConfig, Probe, FailureEvidence], str | None]] = {
    "shm_full": _shared_memory,
    "host_oom": _host_memory,
    "open_files": _open_files,
    "device_oom": _device_memory,
    "hung": _hung,
    "pickle": _pickle,
    "worker_error": _process,
    "worker_killed": _process,
    "trial_killed": _process,
    "user_error": _of_the_data,
}
