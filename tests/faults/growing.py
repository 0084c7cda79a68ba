"""Data sets whose memory grows by known amounts: by copies, by caches, by leaks, in workers and in the main process."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from loadtune.describe.workload import Workload

KEPT_BYTES = 64 * 1024
"""What a growing data set keeps of each sample; touched, and no part of what it returns."""
SECONDS = 0.001
COLLECTED_AFTER_SECONDS = 3.0
"""When a worker collects, from its first sample: a trial of 3 s has had its second look then, and is before its last.

However slow a machine is: a number of samples it may not get to.
"""


class Flat(Dataset[Any]):
    """Sleeps 1 ms a sample and keeps nothing."""

    def __init__(self, samples: int = 100_000) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(SECONDS)
        return torch.full((16,), float(index))


class Collected(Flat):
    """Holds 400,000 lists that no sample reads; each worker collects Python's garbage once, late in a trial."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[list[int]] = [[index] for index in range(400_000)]
        self.collects_at: float | None = None
        gc.disable()  # so that nothing but what is asked for collects

    def __getitem__(self, index: int) -> torch.Tensor:
        if get_worker_info() is not None:
            if self.collects_at is None:
                self.collects_at = time.monotonic() + COLLECTED_AFTER_SECONDS
            if time.monotonic() > self.collects_at:
                gc.collect()
                self.collects_at = math.inf
        return super().__getitem__(index)


class Caching(Flat):
    """Keeps a buffer for each sample, once: a cache of everything, in each worker."""

    def __init__(self, samples: int = 100_000) -> None:
        super().__init__(samples)
        self.kept: dict[int, bytearray] = {}

    def __getitem__(self, index: int) -> torch.Tensor:
        if index not in self.kept:
            self.kept[index] = bytearray(b"x") * KEPT_BYTES
        return super().__getitem__(index)


class Leaking(Flat):
    """Keeps a buffer for each call, for ever."""

    def __init__(self, samples: int = 100_000) -> None:
        super().__init__(samples)
        self.kept: list[bytearray] = []

    def __getitem__(self, index: int) -> torch.Tensor:
        self.kept.append(bytearray(b"x") * KEPT_BYTES)
        return super().__getitem__(index)


class LeakingInWorkers(Leaking):
    """Leaks in workers alone."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return super().__getitem__(index) if get_worker_info() else Flat.__getitem__(self, index)


class Dicts(Flat):
    """Holds a list of dicts, some MiB of Python objects, whose counts of references are written to by every reader.

    A sample reads some of them, as a data set of groups or of annotations does.
    """

    def __init__(self, samples: int = 4000, each: int = 100) -> None:
        super().__init__(samples)
        self.each = each
        self.items = [{"path": f"images/{number}.jpg", "label": number} for number in range(samples * each)]

    def __getitem__(self, index: int) -> torch.Tensor:
        total = 0
        for item in self.items[index * self.each : (index + 1) * self.each]:
            total += item["label"] + len(item["path"])
        return super().__getitem__(total % self.samples)

    def written_bytes(self, indices: Iterable[int]) -> int:
        """Return the size of the pages that a reader of these samples writes to: those with an object it refers to."""
        items = (item for index in indices for item in self.items[index * self.each : (index + 1) * self.each])
        return len({id(one) >> 12 for item in items for one in (item, item["path"], item["label"])}) << 12


class _KeepingSampler:
    """Draws indices in the main process, and keeps a buffer for each."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.kept: list[bytearray] = []

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        for index in range(self.samples):
            self.kept.append(bytearray(b"x") * KEPT_BYTES)
            yield index


def keeping_sampler() -> Workload:
    """Return a data set that is innocent, with a sampler that is not."""
    return Workload(dataset=Flat(), sampler=_KeepingSampler(100_000))


def _in_an_array(samples: list[torch.Tensor]) -> np.ndarray[Any, Any]:
    """Collates to an array of 8 MiB: no tensor, so that it waits in its worker's own memory, and slowly."""
    time.sleep(24 * SECONDS)  # the main process is to take them off faster than they come
    return np.full((len(samples), 2**20 // len(samples)), float(samples[0][0]))


def arrays() -> Workload:
    """Return a data set that keeps nothing, in batches of arrays."""
    return Workload(dataset=Flat(), collate_fn=_in_an_array)


class Fragmenting(Flat):
    """Samples of 1 MiB, each a new tensor, of which nothing is kept."""

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(SECONDS)
        return torch.full((2**18,), float(index))


class FragmentingLeak(Fragmenting):
    """The same, and 256 KiB kept of each beside it."""

    def __init__(self) -> None:
        super().__init__(samples=350)  # read several times, on a slow machine too
        self.kept: list[bytearray] = []

    def __getitem__(self, index: int) -> torch.Tensor:
        self.kept.append(bytearray(b"x") * (4 * KEPT_BYTES))
        return super().__getitem__(index)


def small_cache() -> Caching:
    """Return a cache of so few samples that a trial makes several passes over them."""
    return Caching(samples=700)


def small_leak() -> Leaking:
    """Return a leak in a data set that a trial makes several passes over."""
    return Leaking(samples=700)


def short_leak() -> Leaking:
    """Return a leak in a data set of 2,800 samples, which two workers read in two seconds or so."""
    return Leaking(samples=2800)


class _Kept:
    """Collates, and keeps every batch: in workers each holds the descriptor of its shared memory."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[torch.Tensor] = []
        self.seconds = seconds

    def __call__(self, samples: list[torch.Tensor]) -> torch.Tensor:
        time.sleep(self.seconds)
        self.batches.append(torch.utils.data.default_collate(samples))
        return self.batches[-1]


def kept_batches() -> Workload:
    """Return small batches that are never let go."""
    return Workload(dataset=Flat(), collate_fn=_Kept())


def slowly_kept_batches() -> Workload:
    """Return the same at 30 ms a batch: 256 descriptors last for seconds, in which a busy machine counts them twice."""
    return Workload(dataset=Flat(), collate_fn=_Kept(0.03))
