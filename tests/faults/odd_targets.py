"""A data set that ends its processes, or stops them, in ways that say nothing; each batch size has its own."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from loadtune.measure import witness

LATE = 20
"""The sample of a process at which it happens: batches have come before."""


def _stop() -> None:
    if get_worker_info() is not None:
        os.kill(os.getpid(), signal.SIGSTOP)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _end() -> None:
    next(iter(()))


def _deaf() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    time.sleep(3600)


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _exit() -> None:
    os._exit(7)


def _fork() -> None:
    os.fork()  # both go on, and give the sample


def _clear() -> None:
    folder = witness.place()
    assert folder is not None
    shutil.rmtree(folder, ignore_errors=True)


DEEDS: dict[int, Callable[[], None]] = {
    2: _stop, 3: _interrupt, 4: _end, 5: _deaf, 6: _terminate, 7: _exit, 9: _fork, 10: _clear,
}  # fmt: skip


class Odd(Dataset[Any]):
    def __init__(self) -> None:
        self.seen = 0

    def __len__(self) -> int:
        return 4000

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        return [self.sample(index, len(indices)) for index in indices]

    def sample(self, index: int, together: int) -> torch.Tensor:
        time.sleep(0.002)
        self.seen += 1
        if self.seen == LATE and together in DEEDS:
            DEEDS[together]()
        return torch.tensor(index)


def odd() -> Odd:
    return Odd()


class Once(IterableDataset[Any]):
    """Goes on with an iterator that it has, and so ends for good."""

    def __init__(self) -> None:
        self.left = iter(range(100))

    def __iter__(self) -> Iterator[torch.Tensor]:
        return map(torch.tensor, self.left)


def once() -> Once:
    return Once()


class Samples(Dataset[Any]):
    """Plain ones."""

    def __len__(self) -> int:
        return 2000

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.zeros(3)}


class Unsendable(Samples):
    """Samples that no worker can hand over."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.zeros(3), "f": lambda: index}


def unsendable() -> DataLoader[Any]:
    return DataLoader(Unsendable(), batch_size=16, collate_fn=list)


def waiting_at_start() -> DataLoader[Any]:
    return DataLoader(Samples(), batch_size=16, worker_init_fn=lambda _: time.sleep(600))
