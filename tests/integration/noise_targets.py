"""Data and steps whose gradient noise is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from loadtune import Workload

COUNT, DIMENSIONS = 2_000, 16


class Points(Dataset[Any]):
    """Normal points about 0.5 with a variance of 3 in each of 16 directions: the gradients of a model that is w·x."""

    def __init__(self) -> None:
        # By NumPy: torch would start threads for it, beside which no probe is forked.
        points = 0.5 + 3**0.5 * np.random.default_rng(7).standard_normal((COUNT, DIMENSIONS))
        self.points = torch.from_numpy(points.astype(np.float32))

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
