"""Data sets and training steps of known memory, that fail in known ways."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import torch
from torch.utils.data import Dataset

from loadtune import Workload

MIB = 2**20
PER_SAMPLE = 4 * MIB


class Numbers(Dataset[Any]):
    """Samples of one number and a label."""

    def __init__(self, count: int = 5_000) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), index % 2


class Lengths(Dataset[Any]):
    """Sequences of 10 numbers, one of them, the 300th of 400, of 1,000."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1_000 if index == 300 else 10)


def padded(samples: list[Any]) -> Any:
    return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)


def numbers() -> Workload:
    return Workload(dataset=Numbers(), model=small_model)


def small_model() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.BatchNorm1d(2))


def lengths() -> Workload:
    return Workload(dataset=Lengths(), collate_fn=padded)


def size_of(batch: Any) -> int:
    return len(batch[0]) if isinstance(batch, (list, tuple)) else len(batch)


def takes(batch: Any) -> None:
    """4 MiB a sample, written to."""
    torch.ones(size_of(batch) * PER_SAMPLE // 4)


def takes_space(batch: Any) -> None:
    """4 MiB of address space a sample, never touched."""
    torch.empty(size_of(batch) * PER_SAMPLE // 4)


def sleeps(batch: Any) -> None:
    """2 ms a sample, and next to no memory."""
    time.sleep(0.002 * size_of(batch))


def nothing(batch: Any) -> None:
    size_of(batch)


def out_of_memory() -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to")


def above_37(batch: Any) -> None:
    if size_of(batch) > 37:
        out_of_memory()


class AtStep3:
    """Out of memory above 40, only at the third step."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, batch: Any) -> None:
        self.steps += 1
        if self.steps >= 3 and size_of(batch) > 40:
            out_of_memory()


class InEvaluation:
    """Out of memory above 50, only where it is evaluated."""

    def __call__(self, batch: Any) -> None:
        size_of(batch)

    def evaluate(self, batch: Any) -> None:
        if size_of(batch) > 50:
            out_of_memory()


def hole(batch: Any) -> None:
    """Out of memory for 128 only."""
    if size_of(batch) == 128:
        out_of_memory()


def kernel_limit(batch: Any) -> None:
    if size_of(batch) > 1_000:
        raise RuntimeError("CUDA error: invalid configuration argument")


def worker_fault(batch: Any) -> None:
    if size_of(batch) > 100:
        raise RuntimeError(
            "Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback:\nMemoryError: Unable to allocate"
        )


def mistake(_batch: Any) -> None:
    raise ValueError("shapes do not match")


def never(_batch: Any) -> None:
    out_of_memory()


def on_longest(batch: Any) -> None:
    """Out of memory above 20,000 numbers in a batch, padded."""
    if batch.numel() > 20_000:
        out_of_memory()


def killed(batch: Any) -> None:
    if size_of(batch) > 100:
        os.kill(os.getpid(), signal.SIGKILL)


def one_is_too_few(batch: Any) -> None:
    if size_of(batch) == 1:
        raise ValueError("Expected more than 1 value per channel when training, got input size torch.Size([1, 2])")
