"""Whether workers load what one process loads: fingerprints of the same samples, with 0 workers and with several.

What differs is loaded twice more in one process: a data set that is random there, or changes with time, is told nothing
from. Where an offset of a file that is inherited open has moved, the workers load again with offsets of their own. If
that cures it, the shared offset was the cause: one worker read where another had just moved it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from loadtune.describe.workload import Workload
from loadtune.measure import page_cache, witness
from loadtune.measure.aside import aside
from loadtune.measure.fetch import of_one
from loadtune.measure.fingerprints import Fingerprint, fingerprint, seed_all
from loadtune.measure.lifeline import WorkerStart
from loadtune.measure.open_files import OpenFile, offset, open_anew
from loadtune.record.contents import Checksums

WORKERS = 2
"""Enough for one to move an offset that another reads at."""
LOAD_SECONDS = 0.1
"""One process loads for about so long, and then each worker; what is loaded again comes on top."""
LEAST_SAMPLE_SECONDS = 4e-5
"""What a sample costs here at least, whatever it costs its data set."""
MOST_SAMPLES = 1000
"""That are compared, however fast they are."""
FEWEST_SAMPLES = 8
"""That are compared, however slow they are."""
SLOWEST_SAMPLE_SECONDS = 0.1
"""Where a sample takes longer nothing is compared."""
WITHIN_SECONDS = 10.0
"""For each process that loads alone."""
CURED = 0.1
"""The cause was found where no more than this share of the differences is left without it."""
_MEETING_SECONDS = 2.0
"""How long a worker waits for the others, so that they load at the same time."""
_PRIME = 1_000_003

_RAISED: Fingerprint = (-1,)
"""Stands for a sample that raised in a worker."""

Prints = dict[int, Fingerprint]
"""By the place of an index among those compared."""


class _Task(NamedTuple):
    """What is loaded."""

    workload: Workload
    indices: list[Any]
    seed: int
    """Of the random state that each sample finds."""
    passes: int
    """How often workers load all of it: the longer both are at it, the surer they meet."""


class ChangingError(Exception):
    """The data set gives other samples each time."""


def compare(workload: Workload, files: Sequence[OpenFile], *, seconds_per_sample: float, seed: int) -> Checksums:
    """Return whether two workers side by side load what one process loads.

    Args:
        workload: With a map-style data set.
        files: Open already, and inherited by workers that are forked.
        seconds_per_sample: Of one sample, in one process.
        seed: Of the random state that each sample finds.

    Raises:
        ChangingError: One process loads other samples each time.
        Exception: Whatever the data set raises.
    """
    task = _task(workload, seconds_per_sample, seed)
    # In a process of its own, which alone gets the files that are opened with the first sample.
    alone: Prints = aside(partial(_load, task, range(len(task.indices))), within_seconds=WITHIN_SECONDS)
    watched = _Watched(files)
    loaded = _by_workers(task, (), watched)
    differing = _differing(alone, loaded)
    if not differing:
        return Checksums(num_workers=WORKERS, samples=len(task.indices))
    again = aside(partial(_twice, task, differing), within_seconds=WITHIN_SECONDS)
    if any(once != {place: alone[place] for place in differing} for once in again):
        raise ChangingError
    if watched.moved:
        loaded = _by_workers(task, files, watched)
    if any(one == _RAISED for _, one in loaded):
        raise RuntimeError("in workers alone, which their trials will tell")
    return Checksums(
        num_workers=WORKERS,
        samples=len(task.indices),
        differing=len(differing),
        first_index=ascii(task.indices[differing[0]])[:80],
        cured=len(_differing(alone, loaded)) <= CURED * len(differing) if watched.moved else None,
    )


def _task(workload: Workload, seconds_per_sample: float, seed: int) -> _Task:
    count = min(MOST_SAMPLES, max(FEWEST_SAMPLES, int(LOAD_SECONDS / seconds_per_sample)))
    indices = _indices(workload, count)
    expected = len(indices) * max(seconds_per_sample, LEAST_SAMPLE_SECONDS)
    return _Task(workload, indices, seed, max(1, round(WORKERS * LOAD_SECONDS / expected)))


def _indices(workload: Workload, count: int) -> list[Any]:
    """Return indices as an epoch would draw them, else spread over the whole data set."""
    if workload.sampler is not None:
        return list(itertools.islice(workload.sampler, count))
    if workload.batch_sampler is not None:
        return list(itertools.islice(itertools.chain.from_iterable(workload.batch_sampler), count))
    samples = len(workload.dataset)
    return [int(index) for index in np.linspace(0, samples - 1, min(count, samples)).round()]


def _differing(alone: Prints, others: Sequence[tuple[int, Fingerprint]]) -> list[int]:
    return sorted({place for place, one in others if one != alone[place]})


def _load(task: _Task, places: Sequence[int]) -> Prints:
    return {place: _print_of(task, place) for place in places}


def _twice(task: _Task, places: Sequence[int]) -> tuple[Prints, Prints]:
    return _load(task, places), _load(task, places)


def _print_of(task: _Task, place: int) -> Fingerprint:
    seed_all(task.seed % _PRIME + place)
    dataset, index = task.workload.dataset, task.indices[place]
    return fingerprint(of_one(dataset, index))


class _Prints(Dataset[tuple[int, Fingerprint]]):
    """The fingerprints, loaded by workers that begin together."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._meeting: Any = get_context("fork").Barrier(WORKERS)
        self._met = False

    def __getitem__(self, place: int) -> tuple[int, Fingerprint]:
        if not self._met:
            self._met = True
            with contextlib.suppress(threading.BrokenBarrierError):  # then they are not side by side, and load the same
                self._meeting.wait(_MEETING_SECONDS)
        try:
            return place, _print_of(self._task, place)
        except Exception:  # noqa: BLE001 - what a reader makes of bytes from another place is often that
            return place, _RAISED


class _Watched:
    """Files whose offsets may move; the last sample read may well be where the last one was read before."""

    def __init__(self, files: Sequence[OpenFile]) -> None:
        self._files = files
        self._seen: set[tuple[int | None, ...]] = set()
        self.look()

    def look(self) -> None:
        """Note where the offsets are."""
        self._seen.add(tuple(offset(file) for file in self._files))

    @property
    def moved(self) -> bool:
        """Whether any was seen at two places."""
        return len(self._seen) > 1


def _by_workers(task: _Task, anew: Sequence[OpenFile], watched: _Watched) -> list[tuple[int, Fingerprint]]:
    """Return the fingerprint of each place as workers load it, once a pass.

    Args:
        task: What they load.
        anew: Files that each worker opens again for itself.
        watched: Files whose offsets are looked at now and then.
    """
    start = WorkerStart(task.workload.worker_init_fn, os.getpid(), notes=page_cache.place(), stands=witness.place())
    # Neighbours go to different workers: the first loads the even places, the second the odd ones, at one time. Each
    # has all of its places in one batch, so that it waits for nobody in between.
    shares = [list(range(worker, len(task.indices), WORKERS)) for worker in range(WORKERS)]
    loader = DataLoader(
        _Prints(task),
        batch_sampler=[share for share in shares if share] * task.passes,
        prefetch_factor=task.passes,
        num_workers=WORKERS,
        worker_init_fn=partial(_begin, tuple(anew), start),
        collate_fn=list,
        multiprocessing_context="fork",
    )
    loaded: list[tuple[int, Fingerprint]] = []
    for batch in loader:
        watched.look()
        loaded += batch
    return loaded


def _begin(anew: Sequence[OpenFile], start: WorkerStart, worker: int) -> None:
    open_anew(anew)
    start(worker)
