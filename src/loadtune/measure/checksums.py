"""Whether workers load what one process loads: fingerprints of the same samples, with 0 workers and with several.

What differs is loaded twice more in one process: a data set that is random there, or changes with time, is told nothing
from. Where files are inherited open, the workers load again with file offsets of their own. If that cures it, the
shared offset was the cause: one worker read where another had just moved it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from loadtune.describe.workload import Workload
from loadtune.measure import page_cache
from loadtune.measure.aside import aside
from loadtune.measure.fingerprints import Fingerprint, fingerprint, seed_all
from loadtune.measure.lifeline import WorkerStart
from loadtune.measure.open_files import OpenFile, open_anew
from loadtune.record.contents import Checksums

WORKERS = 2
LOAD_SECONDS = 0.1
"""One process loads for about so long; workers, and what is loaded again, come on top."""
MOST_SAMPLES = 1000
FEWEST_SAMPLES = 8
SLOWEST_SAMPLE_SECONDS = 0.1
BATCH = 8
WITHIN_SECONDS = 10.0
CURED = 0.1
"""The cause was found where no more than this share of the differences is left without it."""
_MEETING_SECONDS = 2.0
_PRIME = 1_000_003

_RAISED: Fingerprint = (-1,)
"""Stands for a sample that raised in a worker."""

Prints = dict[int, Fingerprint]
"""By the place of an index among those compared."""


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
    indices = _indices(workload, min(MOST_SAMPLES, max(FEWEST_SAMPLES, int(LOAD_SECONDS / seconds_per_sample))))
    # In a process of its own, which alone gets the files that are opened with the first sample.
    alone: Prints = aside(partial(_load, workload, indices, seed, range(len(indices))), within_seconds=WITHIN_SECONDS)
    others = _by_workers(workload, indices, seed, ())
    differing = _differing(alone, others)
    if not differing:
        return Checksums(num_workers=WORKERS, samples=len(indices))
    again = aside(partial(_twice, workload, indices, seed, differing), within_seconds=WITHIN_SECONDS)
    if any(once != {place: alone[place] for place in differing} for once in again):
        raise ChangingError
    anew = _by_workers(workload, indices, seed, files) if files else others
    left = _differing(alone, anew)
    if _RAISED in anew.values():
        raise RuntimeError("in workers alone, which their trials will tell")
    return Checksums(
        num_workers=WORKERS,
        samples=len(indices),
        differing=len(differing),
        first_index=ascii(indices[differing[0]])[:80],
        cured=len(left) <= CURED * len(differing) if files else None,
    )


def _indices(workload: Workload, count: int) -> list[Any]:
    """Return indices as an epoch would draw them, else spread over the whole data set."""
    if workload.sampler is not None:
        return list(itertools.islice(workload.sampler, count))
    if workload.batch_sampler is not None:
        return list(itertools.islice(itertools.chain.from_iterable(workload.batch_sampler), count))
    samples = len(workload.dataset)
    return [int(index) for index in np.linspace(0, samples - 1, min(count, samples)).round()]


def _differing(alone: Prints, others: Prints) -> list[int]:
    return [place for place in alone if others[place] != alone[place]]


def _load(workload: Workload, indices: Sequence[Any], seed: int, places: Sequence[int]) -> Prints:
    return {place: _print_of(workload, indices, seed, place) for place in places}


def _twice(workload: Workload, indices: Sequence[Any], seed: int, places: Sequence[int]) -> tuple[Prints, Prints]:
    return _load(workload, indices, seed, places), _load(workload, indices, seed, places)


def _print_of(workload: Workload, indices: Sequence[Any], seed: int, place: int) -> Fingerprint:
    seed_all(seed % _PRIME + place)
    together = getattr(workload.dataset, "__getitems__", None)
    index = indices[place]
    return fingerprint(together([index])[0] if together is not None else workload.dataset[index])


class _Prints(Dataset[tuple[int, Fingerprint]]):
    """The fingerprints, loaded by workers that begin together."""

    def __init__(self, workload: Workload, indices: Sequence[Any], seed: int) -> None:
        self._workload, self._indices, self._seed = workload, indices, seed
        self._meeting: Any = get_context("fork").Barrier(WORKERS)
        self._met = False

    def __getitem__(self, place: int) -> tuple[int, Fingerprint]:
        if not self._met:
            self._met = True
            with contextlib.suppress(threading.BrokenBarrierError):  # then they are not side by side, and load the same
                self._meeting.wait(_MEETING_SECONDS)
        try:
            return place, _print_of(self._workload, self._indices, self._seed, place)
        except Exception:  # noqa: BLE001 - what a reader makes of bytes from another place is often that
            return place, _RAISED


def _by_workers(workload: Workload, indices: Sequence[Any], seed: int, anew: Sequence[OpenFile]) -> Prints:
    start = WorkerStart(workload.worker_init_fn, os.getpid(), notes=page_cache.place())
    # Neighbours go to different workers: the first loads the even places, the second the odd ones, at one time.
    shares = [range(worker, len(indices), WORKERS) for worker in range(WORKERS)]
    batches = [list(share[begin : begin + BATCH]) for begin in range(0, len(shares[0]), BATCH) for share in shares]
    loader = DataLoader(
        _Prints(workload, indices, seed),
        batch_sampler=[batch for batch in batches if batch],
        num_workers=WORKERS,
        worker_init_fn=partial(_begin, tuple(anew), start),
        collate_fn=list,
        multiprocessing_context="fork",
    )
    return {place: one for batch in loader for place, one in batch}


def _begin(anew: Sequence[OpenFile], start: WorkerStart, worker: int) -> None:
    open_anew(anew)
    start(worker)
