"""Data sets that leave something behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

MIB = 1 << 20


class Quick(Dataset[Any]):
    """2 ms a sample."""

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.002)
        return torch.zeros(4)


class Freezing(Quick):
    """In batches of 16, the second worker is frozen by its control group at its twentieth sample, as by a dead disk."""

    def __init__(self, group: str) -> None:
        self.group, self.seen = Path(group), 0

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        info = get_worker_info()
        self.seen += 1
        if info is not None and info.id == 1 and len(indices) == 16 and self.seen == 5:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))
            (self.group / "freezer.state").write_text("FROZEN")
        return [self[index] for index in indices]


class Leaving(Quick):
    """Each process that loads samples puts 2 MiB into shared memory, and leaves it there."""

    def __init__(self, name: str) -> None:
        self.name, self.there = name, False

    def __getitem__(self, index: int) -> torch.Tensor:
        if not self.there and get_worker_info() is not None:
            self.there = True
            Path(f"/dev/shm/{self.name}-{os.getpid()}").write_bytes(bytes(2 * MIB))
        return super().__getitem__(index)


def freezing(group: str) -> Freezing:
    return Freezing(group)


def leaving(name: str) -> Leaving:
    return Leaving(name)
