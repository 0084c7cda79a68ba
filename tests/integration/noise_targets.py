"""Data and steps whose gradient noise is known."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

from loadtune import Workload

COUNT, DIMENSIONS = 6_000, 16


class Points(Dataset[Any]):
    """Normal points about 0.5 with a variance of 3 in each of 16 directions: the gradients of a model that is w·x."""

    def __init__(self) -> None:
        self.points = 0.5 + 3**0.5 * torch.randn(COUNT, DIMENSIONS, generator=torch.Generator().manual_seed(7))

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.points[index], 0.0


def dot() -> Any:
    return torch.nn.Linear(DIMENSIONS, 1, bias=False)


def mean(output: Any, _targets: Any) -> Any:
    return output.mean()


def points() -> Workload:
    return Workload(dataset=Points(), model=dot, loss=mean)


def nothing(batch: Any) -> None:
    len(batch[0])


class Choosy:
    """Learns from batches of the few samples that a probe repeats, and is out of memory with more of them."""

    def __init__(self) -> None:
        self.model = dot()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.seen: set[float] = set()

    def __call__(self, batch: Any) -> None:
        self.seen |= set(batch[0][:, 0].tolist())
        if len(self.seen) > 64:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        self.optimizer.zero_grad()
        self.model(batch[0]).mean().backward()
        self.optimizer.step()
