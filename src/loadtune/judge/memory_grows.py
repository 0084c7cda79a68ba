"""Finding LT018: memory grows, by how much and why, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.judge.choose import Choice
from loadtune.judge.evidence import by_group, group_of, measured
from loadtune.judge.growth import Growing, Kind, survey
from loadtune.judge.outlook import Outlook, outlook
from loadtune.judge.reasons import label
from loadtune.record.results import Environment, Finding, MemoryLimits, Probe, TrialRecord, TrialResult
from loadtune.units import format_bytes

_CAUSES: dict[Kind, str] = {
    "copy-on-write": "as forked workers write to pages of the data set that they share, be it to count "
    "references, and get copies of their own",
    "collection": "as Python's garbage collector, going through all objects for the first time, writes to pages that "
    "workers share",
    "cache": "by a cache that keeps samples",
    "leak": "by a leak: it goes on with samples that were read before",
    "cache or leak": "by a cache or a leak: not told apart, as no sample was read often enough",
    "kept batches": "as batches are never let go",
    "allocator": "which the C library's allocator keeps free for later: nothing is kept",
}
_ADVICE: dict[Kind, str] = {
    "copy-on-write": "hold what the data set knows of its samples in numpy or pyarrow arrays, which no reader writes "
    "to, instead of lists and dicts of Python objects",
    "collection": "call gc.freeze() once the data set is built, before a loader starts workers: the collector leaves "
    "alone what is there by then",
    "cache": "bound the cache (functools.lru_cache(maxsize=…) in each worker), or fill one in shared memory before the "
    "workers start",
    "leak": "find what keeps what was read (a list, a closure, an attribute of the data set); until then "
    "persistent_workers=False ends workers, and what they hold, with each epoch",
    "cache or leak": "bound what the data set keeps of its samples; to have the two told apart, sweep a part of it "
    "that is read several times in a trial",
    "kept batches": "let batches go: look for a list that the collate function, the data set or a sampler appends to, "
    "and keep copies (tensor.clone(), .item()) where something of a batch is needed",
    "allocator": "where that is too much, train and sweep with MALLOC_MMAP_THRESHOLD_=65536 in the environment, which "
    "gives large blocks back at once and costs some speed, or with another allocator, such as jemalloc",
}
_PLACES = {"workers": " in the workers", "main": " in the main process", "shm": " in shared memory"}
_OF_WORKERS = ("workers", "copies", "allocator")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    row: TrialResult
    ahead: Outlook
    size: float
    """Samples a batch."""


def finding(
    choice: Choice,
    records: Sequence[TrialRecord],
    *,
    probe: Probe,
    limits: MemoryLimits,
    environment: Environment,
) -> Finding | None:
    """Return how memory grows with the choice; where it does not, with the fastest that growth keeps from being it."""
    limit = limits.host_memory_bytes or environment.host_memory_limit_bytes
    subject = _subject(choice, records, probe, limit)
    if subject is None:
        return None
    ahead = subject.ahead
    over = (ahead.worst_bytes or 0) > limit
    kinds = [one.kind for one in ahead.growing]
    endless = "leak" in kinds or "kept batches" in kinds
    # What is kept goes before what is free.
    main = max(ahead.growing, key=lambda one: (one.kind != "allocator", one.bytes_per_sample))
    parts = "; ".join(_part(one, subject) for one in ahead.growing)
    return Finding(
        code="LT018",
        severity="warning" if over or endless else "info",
        message=f"memory grows with {label(subject.row.config)}: {parts}; {_end(subject, limit, environment)}",
        advice=_ADVICE[main.kind],
        numbers=_numbers(subject, limit),
    )


def _subject(choice: Choice, records: Sequence[TrialRecord], probe: Probe, limit: int) -> _Subject | None:
    found, groups = survey(records, probe), by_group(records)
    if not any(found.alike.values()):
        return None
    subjects = []
    for row in choice.rows:
        trials = measured(groups.get(group_of(row.config), []))
        if row.status != "ok" or not trials:
            continue
        ahead = outlook(row.config, trials, found, probe=probe, batches_per_epoch=row.batches_per_epoch)
        size = max(record.steady.samples_per_batch for record in trials if record.steady)
        if ahead.growing and (row.chosen or (row.within_limits is False and (ahead.worst_bytes or 0) > limit)):
            subjects.append(_Subject(row=row, ahead=ahead, size=size))
    return max(subjects, key=lambda one: (one.row.chosen, one.row.samples_per_second or 0.0), default=None)


def _part(one: Growing, subject: _Subject) -> str:
    if one.kind == "collection":
        return f"{format_bytes(one.once_bytes)} at once in each worker, {_CAUSES[one.kind]}"
    size, workers = one.bytes_per_sample * subject.size, subject.row.num_workers
    place = _PLACES.get(one.part, "")
    each = f", {format_bytes(size / workers)} by worker" if one.part in _OF_WORKERS and workers > 1 else ""
    each += "," if each and place else ""
    files = f" and {one.files_per_batch:.2g} open files more in one process" if one.files_per_batch else ""
    new = " of new samples" if one.kind == "cache" else ""
    return f"{format_bytes(size)} a batch{new}{each}{place}{files}, {_CAUSES[one.kind]}"


def _end(subject: _Subject, limit: int, environment: Environment) -> str:
    ahead = subject.ahead
    if ahead.epoch_bytes is None or not ahead.epoch_samples:
        return f"{format_bytes(ahead.now_bytes)} seen so far, and how long an epoch is, is not known"
    text = f"{format_bytes(ahead.epoch_bytes)} expected by the end of an epoch"
    reached = ahead.reached_samples(limit)
    if reached is not None:
        batch, last = int(reached / subject.size), int(ahead.epoch_samples / subject.size)
        text += f", above the limit of {format_bytes(limit)}, which is passed at batch {batch:,} of {last:,}"
    else:
        text += f" of {format_bytes(limit)} allowed"
    if ahead.most_bytes is None:
        text += ", and more with each further epoch" if _goes_on(ahead) else ", and maybe more in further ones"
    elif ahead.most_bytes > ahead.epoch_bytes:
        text += f", {format_bytes(ahead.most_bytes)} after several"
    return text + _files(subject, environment)


def _goes_on(ahead: Outlook) -> bool:
    return any(one.kind in ("leak", "kept batches") for one in ahead.growing)


def _files(subject: _Subject, environment: Environment) -> str:
    most, by_batch = environment.open_files_most, max(one.files_per_batch for one in subject.ahead.growing)
    if not by_batch or most is None:
        return ""
    return f"; the {most:,} open files that are allowed last for about {int(most / by_batch):,} batches"


def _slope(one: Growing, size: float) -> dict[str, float]:
    """Return a growth by batch with its 95 % interval, where there is one, and the trials that it is seen from."""
    if one.kind == "collection":
        return {"collection_bytes_by_worker": one.once_bytes, f"{one.part}_trials": float(one.trials)}
    name = f"{one.part}_bytes_per_batch"
    numbers = {name: one.bytes_per_sample * size, f"{one.part}_trials": float(one.trials)}
    if one.low is not None and one.high is not None:
        numbers |= {f"{name}_low": one.low * size, f"{name}_high": one.high * size}
    return numbers


def _numbers(subject: _Subject, limit: int) -> dict[str, float]:
    ahead = subject.ahead
    reached = ahead.reached_samples(limit)
    numbers = {name: value for one in ahead.growing for name, value in _slope(one, subject.size).items()}
    more: dict[str, float | None] = {
        "files_per_batch": max(one.files_per_batch for one in ahead.growing) or None,
        "seen_peak_bytes": ahead.now_bytes,
        "epoch_peak_bytes": ahead.epoch_bytes,
        "most_bytes": ahead.most_bytes,
        "limit_bytes": limit,
        "limit_at_batch": None if reached is None else int(reached / subject.size),
    }
    return numbers | {name: float(value) for name, value in more.items() if value is not None}
