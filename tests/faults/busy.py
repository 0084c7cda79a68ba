"""Data sets for the tests of faults; tests name them as ``busy.py:Busy``."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.data import Dataset


class Busy(Dataset[Any]):
    """Computes for 2 ms of processor time a sample, however long that takes: only a CPU makes it faster."""

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        until = time.thread_time() + 0.002
        while time.thread_time() < until:
            pass
        return torch.tensor(index)
