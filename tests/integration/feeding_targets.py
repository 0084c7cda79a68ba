"""A data set that sleeps and a step that sleeps: what waits for what is arithmetic."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.data import Dataset

SAMPLE_SECONDS = 0.004


class Sleeping(Dataset[Any]):
    """4 ms a sample."""

    def __len__(self) -> int:
        return 4_096

    def __getitem__(self, index: int) -> Any:
        time.sleep(SAMPLE_SECONDS)
        return torch.tensor(float(index))


def step(batch: Any) -> None:
    """A quarter of the time that one worker takes for a batch."""
    time.sleep(SAMPLE_SECONDS * len(batch) / 4)


def no_step() -> int:
    return 3
