"""A data set that sleeps and steps that sleep: what waits for what is arithmetic."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.data import Dataset

SAMPLE_SECONDS = 0.004
BATCH = 16


class Sleeping(Dataset[Any]):
    """4 ms a sample."""

    def __len__(self) -> int:
        return 4_096

    def __getitem__(self, index: int) -> Any:
        time.sleep(SAMPLE_SECONDS)
        return torch.tensor(float(index))


def sleeping() -> Sleeping:
    return Sleeping()


def step(batch: Any) -> None:
    """80 % of the time that one worker takes for a batch of 16."""
    time.sleep(0.8 * SAMPLE_SECONDS * len(batch))


def light(batch: Any) -> None:
    """20 % of it: a tenth of what is left when two workers load."""
    time.sleep(0.1 * SAMPLE_SECONDS * len(batch))
