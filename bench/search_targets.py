"""Data sets that the bench of the search runs on, beside the built-in ones and those of ``targets``.

They are made without torch's parallel operations: these leave threads behind, and trials would not be forked.
"""

from __future__ import annotations

import random
import time
from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset
from torchvision import transforms

import loadtune
from loadtune.workloads.images import dataset


def small_images() -> Any:
    """Return the pictures of ``images``, cropped to 64 pixels: decoding is all there is to do."""
    crop = transforms.Compose([transforms.RandomResizedCrop(64), transforms.ToTensor()])
    return dataset(transform=crop)


class Texts(Dataset[Any]):
    """Token numbers of variable length, made of characters by plain Python as a tokenizer does."""

    def __init__(self, count: int) -> None:
        draw = random.Random(0)
        self._lengths = [min(2000, int(draw.lognormvariate(5, 0.8)) + 8) for _ in range(count)]

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([(index * 31 + place * 17) % 30_000 for place in range(self._lengths[index])])


def padded(samples: list[torch.Tensor]) -> torch.Tensor:
    batch = torch.zeros(len(samples), max(map(len, samples)), dtype=torch.int64)
    for row, sample in zip(batch, samples, strict=True):
        row[: len(sample)] = sample
    return batch


def texts() -> loadtune.Workload:
    return loadtune.Workload(dataset=Texts(20_000), collate_fn=padded)


class Waiting(Dataset[Any]):
    """Each sample is waited for, as for a far disk; with a tail a few are waited for much longer."""

    def __init__(self, seconds: float, tail: float, count: int) -> None:
        draw = random.Random(0)
        self._seconds = [seconds * (draw.paretovariate(tail) * (tail - 1) / tail if tail else 1.0) for _ in range(4096)]
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(self._seconds[index % len(self._seconds)])
        return torch.zeros(256), index


def storage(seconds: str, tail: str = "0", samples: str = "50000") -> Any:
    return Waiting(float(seconds), float(tail), int(samples))


def in_memory() -> Any:
    return TensorDataset(torch.empty(20_000, 3, 32, 32), torch.empty(20_000))
