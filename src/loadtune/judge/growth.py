"""Whether memory grows with the samples that are read, by how much, and how it will end. Pure.

Memory of a worker or of the main process that grows is a *leak* where it goes on with the samples read, and a *cache*
where it goes on with the samples that a worker has not seen before. The two are told apart where a data set is read
more than once within the looks. What grows without anything being allocated are *copies* of pages that a fork shared;
what is allocated and free, the *allocator* keeps. Copies that come at once are a *collection*: Python's garbage
collector, going through all objects for the first time, writes to each of them.
Batches in shared memory that are kept hold descriptors: both grow, and the second is what nobody else's use of it does.
"""

from __future__ import annotations

import itertools
import math
import statistics as plain
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import by_group, group_of, measured
from loadtune.judge.statistics import student_t
from loadtune.judge.stretches import Part, Stretch, coverage, stretches
from loadtune.record.results import Probe, TrialRecord

Kind = Literal["copy-on-write", "collection", "cache", "leak", "cache or leak", "kept batches", "allocator"]

LONE_BYTES = 16 << 20
"""Growth of a process over a trial that needs no second trial to be told from the noise of allocators."""
TELLING_BYTES = 4 << 20
"""Growth of a process over a trial below this is noise, however well trials agree: they settle in all of them alike."""
SETTLING_BATCHES = 2
"""To both comes what a process that makes batches may go on to hold without a leak: so many batches.

To a worker's come the P that it is ahead: batches of arrays or lists wait in its own memory, where tensors are shared.
To the main process's comes what pinning fills once: P·W batches and two, in page-locked blocks. And those batches of
its own memory that came before their turn: P·(W − 1), where they are arrays or lists.
"""
TELLING_FILES = 16
"""Descriptors that a process must have more of after each stretch, before batches are said to be kept."""
SLOWING = 0.8
"""The later part of the looks decides how it goes on, where it grows by less than this share of the whole."""
STOPPED = 0.1
"""Below this share of the whole the growth is over."""
ALIKE = 1.5
"""What workers copy at once differs by no more than this factor between trials: it is all their objects."""
UNLIKE = 1.3
"""A leak and a cache must differ by this factor between stretches before what was seen can tell them apart."""
BETTER = 4.0
"""The better of the two must leave so many times less unexplained, as a sum of squares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """One way in which memory grows."""

    part: Part
    kind: Kind
    bytes_per_sample: float
    """By sample read, all workers together, as it went on when last seen. Of a cache: by sample that is kept."""
    low: float | None
    """Ends of its 95 % interval; None where there was a single trial."""
    high: float | None
    trials: int
    """Trials that it is seen from."""
    files_per_batch: float = 0.0
    """Descriptors more in one process; 0 unless batches are kept."""
    once_bytes: float = 0.0
    """Of a collection: what one worker copies, and does not again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known of growth from all trials."""

    own: Mapping[LoaderConfig, tuple[Growing, ...]]
    """Of configurations that were looked at during a trial, not only at its end."""
    alike: Mapping[bool, tuple[Growing, ...]]
    """Of all with workers, and of all without."""

    def of(self, config: LoaderConfig) -> tuple[Growing, ...]:
        """Return how memory grows with ``config``; where it was not looked at, as with those like it."""
        return self.own.get(group_of(config), self.alike.get(bool(config.num_workers), ()))


def survey(records: Iterable[TrialRecord], probe: Probe) -> Survey:
    """Return what is known of growth; N is needed to tell a cache from a leak."""
    looked = {config: seen for config, trials in by_group(records).items() if (seen := _looked(trials))}
    alike: dict[bool, tuple[Growing, ...]] = {}
    own: dict[LoaderConfig, tuple[Growing, ...]] = {}
    for workers in (False, True):
        side = {config: trials for config, trials in looked.items() if bool(config.num_workers) is workers}
        together = tuple(found for part in get_args(Part) if (found := _together(part, side, probe.dataset_samples)))
        alike[workers] = together
        own |= {config: tuple(_own(one, trials) for one in together) for config, trials in side.items()}
    return Survey(own=own, alike=alike)


def _looked(trials: Sequence[TrialRecord]) -> list[list[Stretch]]:
    return [found for record in measured(trials) if len(record.memory.looks) > 1 and (found := stretches(record))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slope:
    bytes_per_sample: float
    standard_error: float | None
    trials: int

    def interval(self) -> tuple[float | None, float | None]:
        if self.standard_error is None:
            return None, None
        half = student_t(0.975, self.trials - 1) * self.standard_error
        return self.bytes_per_sample - half, self.bytes_per_sample + half


def slope(trials: Sequence[Sequence[Stretch]], part: Part) -> _Slope | None:
    """Return bytes by sample over all trials, a ratio estimate (Cochran, *Sampling Techniques*, ch. 6).

    None where it is not told from noise, or was over before the later part of the trials. Where it slowed down it is
    that of the later part, which overstates what is to come: growth that saturates slows down further.
    """
    whole = _ratio([(sum(s.samples for s in one), sum(s.grown[part] for s in one)) for one in trials])
    if whole is None or not _is_told(whole, trials, part):
        return None
    late = _ratio([(one[-1].samples, one[-1].grown[part]) for one in trials if len(one) > 1])
    if late is None or late.bytes_per_sample >= SLOWING * whole.bytes_per_sample:
        return whole
    return late if late.bytes_per_sample > STOPPED * whole.bytes_per_sample else None


def _ratio(pairs: Sequence[tuple[float, int]]) -> _Slope | None:
    samples = sum(count for count, _ in pairs)
    if samples <= 0:
        return None
    ratio, count = sum(size for _, size in pairs) / samples, len(pairs)
    error = None
    if count > 1:
        rest = sum((size - ratio * at) ** 2 for at, size in pairs)
        error = math.sqrt(rest * count / (count - 1)) / samples
    return _Slope(bytes_per_sample=ratio, standard_error=error, trials=count)


def _is_told(found: _Slope, trials: Sequence[Sequence[Stretch]], part: Part) -> bool:
    # What the main process holds is in no worker, however many there are.
    grown = [sum(one.grown[part] for one in trial) / (1 if part == "main" else trial[0].processes) for trial in trials]
    beyond = [size - _settling_bytes(trial[0], part) for size, trial in zip(grown, trials, strict=True)]
    if min(beyond) >= LONE_BYTES:
        return True
    low, _ = found.interval()
    return low is not None and low > 0 and plain.median(beyond) >= TELLING_BYTES


def _settling_bytes(one: Stretch, part: Part) -> float:
    if part == "copies":
        return 0.0
    if part == "allocator":
        return SETTLING_BATCHES * one.batch_bytes
    if part == "main":
        return SETTLING_BATCHES * one.batch_bytes + one.pinned_bytes + one.waiting_bytes
    return (SETTLING_BATCHES + one.ahead_batches) * one.batch_bytes


def _together(
    part: Part, side: Mapping[LoaderConfig, Sequence[Sequence[Stretch]]], samples: int | None
) -> Growing | None:
    """Return how a part grows over all configurations of a side."""
    if part == "shm":
        return _kept_batches([one for trials in side.values() for one in trials])
    every = [one for trials in side.values() for one in trials]
    found = slope(every, part)
    if found is None:
        return None
    if part == "copies" and (once := _copied_at_once(every)) is not None:
        return Growing(
            part=part,
            kind="collection",
            bytes_per_sample=0.0,
            low=None,
            high=None,
            trials=found.trials,
            once_bytes=once,
        )
    kind, kept = _kind(part, side, samples)
    low, high = found.interval()
    if kept is not None:
        low = high = None
    return Growing(
        part=part,
        kind=kind,
        bytes_per_sample=found.bytes_per_sample if kept is None else kept,
        low=low,
        high=high,
        trials=found.trials,
    )


def _copied_at_once(trials: Sequence[Sequence[Stretch]]) -> float | None:
    """Return what a worker copies at once, where nothing was copied before; None where copies come with the samples.

    Copies that reading makes come with the first samples more than with the later ones.
    """
    steps = []
    for one in trials:
        copied = [stretch.grown["copies"] / stretch.processes for stretch in one]
        if sum(copied) < TELLING_BYTES:
            continue
        if max(copied) < (1 - STOPPED) * sum(copied):
            return None
        steps.append((max(copied), copied.index(max(copied)) > 0))
    # What comes in the first stretch may as well be even growth that has ended by then.
    if not any(is_late for _, is_late in steps):
        return None
    sizes = [size for size, _ in steps]
    return plain.median(sizes) if max(sizes) <= ALIKE * min(sizes) else None


def _kept_batches(trials: Sequence[Sequence[Stretch]]) -> Growing | None:
    """Return the batches that are never let go: each tensor of theirs in shared memory holds a descriptor."""
    every = list(itertools.chain.from_iterable(trials))
    if not every or min(one.files for one in every) < TELLING_FILES:
        return None
    return Growing(
        part="shm",
        kind="kept batches",
        bytes_per_sample=sum(one.grown["shm"] for one in every) / sum(one.samples for one in every),
        low=None,
        high=None,
        trials=len(trials),
        files_per_batch=sum(one.files for one in every) / sum(one.batches for one in every),
    )


def _own(like: Growing, trials: Sequence[Sequence[Stretch]]) -> Growing:
    """Return the same with the slope of one configuration; what a cache keeps of a sample is the same for all."""
    found = slope(trials, like.part) if like.kind not in ("cache", "collection", "kept batches") else None
    if found is None:
        return like
    low, high = found.interval()
    return Growing(
        part=like.part,
        kind=like.kind,
        bytes_per_sample=found.bytes_per_sample,
        low=low,
        high=high,
        trials=found.trials,
    )


def _kind(
    part: Part, side: Mapping[LoaderConfig, Sequence[Sequence[Stretch]]], samples: int | None
) -> tuple[Kind, float | None]:
    """Return the kind of a growth, and of a cache what it keeps of a sample, in bytes."""
    if part == "copies":
        return "copy-on-write", None
    if part == "allocator":
        return "allocator", None
    if samples is None:
        return "cache or leak", None
    read: list[tuple[float, int]] = []
    new: list[tuple[float, int]] = []
    for config, trials in side.items():
        fresh = _fresh(samples, config.num_workers if part == "workers" else 1)
        for one in itertools.chain.from_iterable(trials):
            read.append((one.samples, one.grown[part]))
            new.append((fresh(one), one.grown[part]))
    ratios = [some / every for (some, _), (every, _) in zip(new, read, strict=True)]
    if min(ratios) * UNLIKE > max(ratios):
        return "cache or leak", None
    (leak, unlike_leak), (kept, unlike_cache) = _fit(read), _fit(new)
    if unlike_cache * BETTER < unlike_leak:
        return "cache", kept
    return ("leak", None) if unlike_leak * BETTER < unlike_cache and leak > 0 else ("cache or leak", None)


def _fresh(samples: int, workers: int) -> Callable[[Stretch], float]:
    """Return what counts the samples of a stretch that the worker which read them had not seen before."""

    def count(one: Stretch) -> float:
        before, after = (coverage(at / samples, workers) for at in (one.before_samples, one.after_samples))
        return samples * max(1, workers) * (after - before)

    return count


def _fit(pairs: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Return the factor of least squares through zero, and the sum of squares that it leaves."""
    square = sum(at * at for at, _ in pairs)
    factor = sum(at * size for at, size in pairs) / square if square else 0.0
    return factor, sum((size - factor * at) ** 2 for at, size in pairs)
