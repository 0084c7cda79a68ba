"""Data sets and loaders that are hard to measure or to load; tests name them as ``hard_targets.py:name``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler, TensorDataset, get_worker_info

import loadtune

LAZY_SECONDS = 1.0
STRAGGLER_SECONDS, STRAGGLER_EVERY = 0.4, 160
TOO_BIG, KERNEL_LIMIT, UNLUCKY = 37, 64, 24
LONG_SAMPLE = 137
LEFT = "_77_77"
"""End of the name of what ``Leaving`` leaves in shared memory."""


class Clock:
    """Sleeps that take what they should in the mean: what one overshoots, the next is shorter."""

    def __init__(self) -> None:
        self.owed = 0.0

    def sleep(self, seconds: float) -> None:
        start = time.perf_counter()
        time.sleep(max(0.0, seconds - self.owed))
        self.owed = min(self.owed + time.perf_counter() - start - seconds, seconds)


class Timed(Dataset[Any]):
    """Sleeps for each sample as long as ``cost`` says."""

    def __init__(self, samples: int, seconds: float = 0.0) -> None:
        self.samples, self.seconds, self.clock = samples, seconds, Clock()

    def __len__(self) -> int:
        return self.samples

    def cost(self, index: int) -> float:
        return self.seconds

    def __getitem__(self, index: int) -> torch.Tensor:
        self.clock.sleep(self.cost(index))
        return torch.tensor(float(index))


class Stragglers(Timed):
    """One sample in 160 takes 400 ms, the others 5 ms."""

    def cost(self, index: int) -> float:
        return STRAGGLER_SECONDS if index % STRAGGLER_EVERY == 0 else self.seconds


class Growing(Timed):
    """A sample costs from 1 ms at the start of the data set to 9 ms at its end: 5 ms in the mean."""

    def cost(self, index: int) -> float:
        return 0.001 + 0.008 * index / self.samples


class Slowing(Timed):
    """After so many samples in a process, each costs twice as much."""

    def __init__(self, samples: int, seconds: float, after: int) -> None:
        super().__init__(samples, seconds)
        self.after, self.seen = after, 0

    def cost(self, index: int) -> float:
        self.seen += 1
        return self.seconds * (2 if self.seen > self.after else 1)


class Leaving(Timed):
    """A worker leaves a file of shared memory named as torch names those of tensors, as if killed before unlinking."""

    def __getitem__(self, index: int) -> torch.Tensor:
        if get_worker_info() is not None:
            Path(f"/dev/shm/torch_{os.getpid()}{LEFT}").touch()
        return super().__getitem__(index)


class Lazy(Timed):
    """Opens something at the first sample in each process, which takes a second."""

    opened_in = 0

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.opened_in != os.getpid():
            self.opened_in = os.getpid()
            time.sleep(LAZY_SECONDS)
        return super().__getitem__(index)


class Tiny(Dataset[Any]):
    """Seven tensors of a few bytes a sample."""

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        return [torch.full((4,), float(index)) for _ in range(7)]


class Packs(Dataset[Any]):
    """Hands out whole batches by a token budget, of 3, 5 or 7 samples; its length is a lie."""

    def __init__(self) -> None:
        self.clock = Clock()

    def __len__(self) -> int:
        return 1_000

    def __getitem__(self, index: int) -> torch.Tensor:
        size = (3, 5, 7)[index % 3]
        self.clock.sleep(0.004 * size)
        return torch.zeros(size, 8)


class Liar(Sampler[Any]):
    """Has 30 indices and says that it has one."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(30))

    def __len__(self) -> int:
        return 1


class Backwards(Sampler[int]):
    """A sampler of one's own: from the last to the first."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(319, -1, -1))

    def __len__(self) -> int:
        return 320


class Witnessed(Timed):
    """Notes which worker loaded which sample, and whether worker_init_fn had been there."""

    def __init__(self, folder: str) -> None:
        super().__init__(320, 0.002)
        self.folder, self.told = folder, "no"

    def __getitem__(self, index: int) -> torch.Tensor:
        info = get_worker_info()
        with open(f"{self.folder}/{info.id if info else 'main'}", "a", encoding="utf-8") as notes:  # noqa: PTH123
            notes.write(f"{index} {self.told} {info.seed - info.id if info else 0}\n")
        return super().__getitem__(index)


def tell(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.told = f"worker-{worker}"  # type: ignore[attr-defined]


def double(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples).repeat_interleave(2)


def limited(samples: list[torch.Tensor]) -> torch.Tensor:
    """Fail by the size of a batch, as training steps and collate functions do."""
    size = len(samples)
    if size > KERNEL_LIMIT:
        raise RuntimeError("CUDA error: invalid configuration argument")
    if size > TOO_BIG:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
        )
    if size == UNLUCKY:
        torch.empty(1 << 55)  # the allocator's own words
    return torch.stack(samples)


class Padded(Timed):
    """One sample of 200 is far longer than the others."""

    def __getitem__(self, index: int) -> torch.Tensor:
        super().__getitem__(index)
        return torch.zeros(1000 if index == LONG_SAMPLE else 10)


def pad(samples: list[torch.Tensor]) -> torch.Tensor:
    """Pad to the longest; what 16 samples of the longest need fits, and more does not."""
    longest = max(sample.shape[0] for sample in samples)
    if longest * len(samples) > 16_000:
        torch.empty(1 << 55)  # the allocator's own words
    return torch.zeros(len(samples), longest)


def constant() -> Timed:
    return Timed(160, 0.01)


def constant_quick() -> Timed:
    return Timed(4000, 0.025 / 8)


class InFiles(Timed):
    """Reads a file a sample, and takes 4 ms for it besides."""

    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).iterdir())
        super().__init__(len(self.paths), 0.004)

    def __getitem__(self, index: int) -> torch.Tensor:
        super().__getitem__(index)
        return torch.tensor(len(self.paths[index].read_bytes()))


def in_files(folder: str) -> InFiles:
    return InFiles(folder)


def leaving() -> Leaving:
    return Leaving(4000, 0.002)


def hundred() -> Timed:
    return Timed(100, 0.001)


def stragglers() -> Stragglers:
    return Stragglers(1600, 0.005)


def growing() -> Growing:
    return Growing(4000)


def sorted_by_cost() -> loadtune.Workload:
    return loadtune.Workload(dataset=Growing(4000), sampler=SequentialSampler(range(4000)))


def slowing() -> Slowing:
    return Slowing(100_000, 0.004, after=200)


def lazy() -> Lazy:
    return Lazy(320, 0.005)


def tiny() -> loadtune.Workload:
    return loadtune.Workload(dataset=Tiny(), collate_fn=list)


def packed() -> loadtune.Workload:
    return loadtune.Workload(dataset=Tiny(), collate_fn=lambda samples: torch.stack([torch.stack(s) for s in samples]))


def in_memory() -> TensorDataset:
    return TensorDataset(torch.zeros(20_000, 8), torch.zeros(20_000))


def packs() -> DataLoader[Any]:
    return DataLoader(Packs(), batch_size=None, sampler=Liar())


def rebuilt(folder: str) -> DataLoader[Any]:
    return DataLoader(
        Witnessed(folder),
        batch_size=8,
        num_workers=2,
        sampler=Backwards(),
        collate_fn=double,
        worker_init_fn=tell,
        timeout=30,
        generator=torch.Generator().manual_seed(1234),
        in_order=False,
        prefetch_factor=3,
        persistent_workers=True,
        drop_last=True,
    )


def by_size() -> loadtune.Workload:
    return loadtune.Workload(dataset=Timed(4000, 0.002), collate_fn=limited)


def one_long_sample() -> loadtune.Workload:
    return loadtune.Workload(dataset=Padded(200, 0.001), collate_fn=pad)


class PrivateLoader(DataLoader[Any]):
    """Keeps attributes of its own, which a loader that is rebuilt would lose."""

    def __init__(self, dataset: Dataset[Any], **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        self._epoch_seed = 7
        self.__hidden = len(self)

    def hidden(self) -> int:
        return self.__hidden


def private_loader() -> DataLoader[Any]:
    return PrivateLoader(Timed(100), batch_size=4)


def private_loader_built(config: loadtune.LoaderConfig) -> DataLoader[Any]:
    return PrivateLoader(Timed(1000, 0.002), **config.loader_kwargs())
