"""Data sets that start threads of their own, or narrow where they may run; tests name them as ``crowded.py:name``."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from busy import Busy
from torch.utils.data import DataLoader, Dataset

import loadtune


class Multiplying(Dataset[Any]):
    """Multiplies matrices for a sample: BLAS takes as many threads as there are cores, and none of Python's.

    A matrix is large, so that the thread that hands a batch over, some ms of its own, is seldom there to be counted.
    """

    def __init__(self, side: int = 512) -> None:
        self.side = side

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        matrix = np.full((self.side, self.side), 1.0)
        return torch.tensor(float((matrix @ matrix)[0, 0]))


def multiplying_loader(num_workers: str) -> DataLoader[Any]:
    """Return a loader of it, so that the baseline is what is swept."""
    return DataLoader(Multiplying(), batch_size=8, num_workers=int(num_workers))


def pin_to_first(_worker: int) -> None:
    """Do what OMP_PROC_BIND makes a library do: each worker on the first CPU."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def pinned() -> loadtune.Workload:
    """Return a data set whose workers all run on the first CPU."""
    return loadtune.Workload(dataset=Busy(), worker_init_fn=pin_to_first)


def narrowing() -> Busy:
    """Return a data set that narrows the process it is built in, as an import of a library may."""
    pin_to_first(0)
    return Busy()
