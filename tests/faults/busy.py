"""Data sets for the tests of faults; tests name them as ``busy.py:Busy``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset


class Writing(Dataset[Any]):
    """Writes a text to a file at each sample: stands in for a kernel that counts."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = Path(path), text

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        self.path.write_text(self.text)
        time.sleep(0.001)
        return torch.tensor(index)


class Busy(Dataset[Any]):
    """Computes for 2 ms of processor time a sample, however long that takes: only a CPU makes it faster."""

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        until = time.thread_time() + 0.002
        while time.thread_time() < until:
            pass
        return torch.tensor(index)
