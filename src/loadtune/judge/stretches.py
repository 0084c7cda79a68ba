"""What happened between two looks at the memory of a trial: samples read, and bytes by which each part grew. Pure.

Each look gives three figures (``MemoryLook``): what the main process has allocated, what the workers have, and what
they hold together, a page that several share counted once. The last one grows with what is allocated and with each page
that a forked worker makes its own by writing to it; what is left of its growth is copies. What is allocated is in use,
or free in the hands of the allocator: by that two further figures rise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from loadtune.describe.config import LoaderConfig
from loadtune.record.results import MemoryLook, TrialRecord

Part = Literal["copies", "workers", "main", "shm", "allocator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What happened from one look of a trial to the next."""

    before_samples: float
    """Samples that workers have read since the start of the trial, those of their queue included."""
    after_samples: float
    grown: Mapping[Part, int]
    """Bytes by which each part grew."""
    processes: int = 1
    """Workers, or the main process alone."""
    batch_bytes: float = 0.0
    ahead_batches: int = 0
    """P: batches that each worker may have ready."""
    pinned_bytes: float = 0.0
    """Page-locked memory that the main process fills once with a queue, and keeps."""
    waiting_bytes: float = 0.0
    """Memory of the main process in batches that came before their turn."""
    batches: int = 0
    files: int = 0
    """Descriptors more, in the process that has most."""

    @property
    def samples(self) -> float:
        """Samples read."""
        return self.after_samples - self.before_samples


def reach(record: TrialRecord) -> float:
    """Return the samples that workers have read by the last look of a trial: they are P·W batches ahead by then."""
    size = record.steady.samples_per_batch if record.steady else 0.0
    last = record.memory.looks[-1].batches if record.memory.looks else 0
    return (last + record.config.batches_in_flight) * size


def stretches(record: TrialRecord) -> list[Stretch]:
    """Return the stretches between the looks of one trial."""
    looks, size = record.memory.looks, record.steady.samples_per_batch if record.steady else 0.0
    workers, batch_bytes = record.config.num_workers, record.steady.bytes_per_batch if record.steady else 0.0
    queue_bytes = round(record.config.batches_in_flight * batch_bytes)
    free = _Free(
        main=all(look.main_free_bytes is not None for look in looks),
        workers=all(look.workers_free_bytes is not None for look in looks),
    )
    places = [look.batches * size for look in looks[:-1]] + [reach(record)]
    return [
        Stretch(
            before_samples=start,
            after_samples=end,
            grown=_grown(before, after, queue_bytes if after is looks[-1] else 0, free),
            processes=max(1, workers),
            batch_bytes=batch_bytes,
            pinned_bytes=pinned_bytes(record.config, batch_bytes),
            waiting_bytes=_waiting_bytes(record, batch_bytes),
            ahead_batches=record.config.batches_in_flight // max(1, workers),
            batches=after.batches - before.batches,
            files=(after.open_files or 0) - (before.open_files or 0),
        )
        for (start, end), (before, after) in zip(itertools.pairwise(places), itertools.pairwise(looks), strict=True)
        if end > start
    ]


class _Free(NamedTuple):
    """Whether all looks of a trial tell what is free: else none is counted, or its stretches would not compare."""

    main: bool
    workers: bool


def _grown(before: MemoryLook, after: MemoryLook, queue_bytes: int, told: _Free) -> dict[Part, int]:
    main, workers = after.main_bytes - before.main_bytes, after.workers_bytes - before.workers_bytes
    main_free = _more_free(before.main_free_bytes, after.main_free_bytes, main) if told.main else 0
    workers_free = _more_free(before.workers_free_bytes, after.workers_free_bytes, workers) if told.workers else 0
    return {
        "main": main - main_free,
        "workers": workers - workers_free,
        "allocator": main_free + workers_free,
        "copies": after.held_bytes - before.held_bytes - main - workers,
        "shm": max(0, after.shm_bytes - queue_bytes - before.shm_bytes),
    }


def _more_free(before: int | None, after: int | None, grown: int) -> int:
    """Return the bytes more that are free, no more than the process took: others were there, or were given back."""
    return min((after or 0) - (before or 0), max(0, grown))


def pinned_bytes(config: LoaderConfig, batch_bytes: float) -> float:
    """Return what a full queue of pinned batches takes: torch keeps page-locked memory in blocks of powers of two."""
    if not config.pin_memory:
        return 0.0
    return float((config.batches_in_flight + 2) << max(0, int(batch_bytes) - 1).bit_length())


def _waiting_bytes(record: TrialRecord, batch_bytes: float) -> float:
    """Return what batches that wait for their turn take of the main process: nothing where they are shared memory."""
    config, looks = record.config, record.memory.looks
    if not config.in_order or any(look.shm_bytes >= batch_bytes for look in looks):
        return 0.0
    return batch_bytes * config.batches_in_flight * (1 - 1 / max(1, config.num_workers))


def coverage(passes: float, workers: int) -> float:
    """Return the share of the data set that one of so many workers has seen after so many shuffled passes.

    In each pass it reads one sample of W at random, of which it has not seen what earlier passes left out.
    """
    share, whole = 1 / max(1, workers), math.floor(passes)
    left = (1 - share) ** whole
    return 1 - left + (passes - whole) * share * left
