"""Data sets whose truth is known, for the benches."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset, TensorDataset, default_collate, get_worker_info

import loadtune


class TimedSleeping(Dataset[Any]):
    """Sleeps for each sample, and notes in a file a worker how long each batch took in it, collate included."""

    def __init__(self, seconds: float, folder: str) -> None:
        self.seconds, self.folder = seconds, Path(folder)
        self._notes: Any = None
        self._began = 0.0

    def __len__(self) -> int:
        return 50_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(self.seconds)
        return torch.zeros(8), index

    def __getitems__(self, indices: list[int]) -> list[tuple[torch.Tensor, int]]:
        self._began = time.perf_counter()
        return [self[index] for index in indices]

    def collate(self, samples: list[tuple[torch.Tensor, int]]) -> Any:
        batch = default_collate(samples)
        self._note(time.perf_counter() - self._began)
        return batch

    def _note(self, seconds: float) -> None:
        if self._notes is None:
            info = get_worker_info()
            self._notes = (self.folder / f"{info.id if info else 'main'}.txt").open("a", buffering=1)
        self._notes.write(f"{seconds}\n")


def sleeping(seconds: str, folder: str) -> loadtune.Workload:
    dataset = TimedSleeping(float(seconds), folder)
    return loadtune.Workload(dataset=dataset, collate_fn=dataset.collate)


class Storage(Dataset[Any]):
    """Each sample is waited for, as for a far disk; times may vary from sample to sample, with a heavy tail."""

    def __init__(self, seconds: float, variation: float) -> None:
        spread = math.log(1 + variation**2)
        draw = torch.Generator().manual_seed(0)
        normal = torch.randn(4096, generator=draw) * math.sqrt(spread) - spread / 2
        self.seconds = (seconds * normal.exp()).tolist()

    def __len__(self) -> int:
        return 50_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(self.seconds[index % len(self.seconds)])
        return torch.zeros(256), index


def storage(seconds: str, variation: str = "0") -> loadtune.Workload:
    return loadtune.Workload(dataset=Storage(float(seconds), float(variation)))


def in_memory() -> loadtune.Workload:
    return loadtune.Workload(dataset=TensorDataset(torch.zeros(20_000, 3, 32, 32), torch.zeros(20_000)))


def crops() -> loadtune.Workload:
    """Return the built-in images, decoded and cut to 64 pixels: much decoding for few bytes."""
    from torchvision import transforms  # noqa: PLC0415 - only this target needs it

    from loadtune.workloads import images  # noqa: PLC0415

    cut = transforms.Compose([transforms.RandomResizedCrop(64), transforms.ToTensor()])
    return loadtune.Workload(dataset=images.dataset(transform=cut))


class Sentences(Dataset[Any]):
    """Sentences of 8 to some 400 words, split and looked up in Python; most are short."""

    def __init__(self, count: int = 20_000) -> None:
        draw = torch.Generator().manual_seed(0)
        lengths = (torch.randn(count, generator=draw) * 0.8 + 3.6).exp().clamp(8, 400).int().tolist()
        self._words = [f"word{number}" for number in range(5_000)]
        self._ids = {word: number for number, word in enumerate(self._words)}
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        text = " ".join(self._words[(index * 31 + at * 17) % len(self._words)] for at in range(self._lengths[index]))
        return torch.tensor([self._ids[word] for word in text.lower().split()]), index % 4


def padded(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    words = torch.nn.utils.rnn.pad_sequence([words for words, _ in samples], batch_first=True)
    return words, torch.tensor([label for _, label in samples])


def text() -> loadtune.Workload:
    return loadtune.Workload(dataset=Sentences(), collate_fn=padded)


def short() -> loadtune.Workload:
    """Return 300 samples of 4 ms: an epoch is over after a few rounds."""
    return loadtune.Workload(dataset=Subset(Storage(0.004, 0.0), range(300)))
