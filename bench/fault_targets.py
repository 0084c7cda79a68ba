"""A data set that misbehaves as a file tells it to, for ``faults.py``: one host serves many trials of many faults."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

FILLER = Path("/dev/shm/filler")
"""Takes all that is left of /dev/shm; ``faults.py`` removes it."""
QUIET_SAMPLES = 12
"""Samples that each worker loads well before its fault comes: batches have come by then."""


class Faulty(Dataset[Any]):
    """Sleeps 1 ms a sample; at the thirteenth of a worker it does what is written in ``file``, or goes on."""

    def __init__(self, file: str) -> None:
        self.file, self.seen = Path(file), 0

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        self.seen += 1
        if self.seen == QUIET_SAMPLES + 1 and get_worker_info() is not None:
            FAULTS.get(self.file.read_text(), lambda: None)()
        time.sleep(0.001)
        return torch.full((256,), float(index))


def _raise() -> None:
    raise ValueError("sample of bad luck")


def _hang() -> None:
    time.sleep(3600)


def _deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def _no_memory() -> None:
    torch.empty(1 << 55)


def _fill_shared_memory() -> None:
    with FILLER.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))


def _host() -> int:
    """Return the trial host: the parent of the trial, which is the parent of the worker."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])


FAULTS: dict[str, Callable[[], None]] = {
    "worker SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "worker SIGSEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "worker _exit(3)": lambda: os._exit(3),
    "worker raises": _raise,
    "worker hangs": _hang,
    "worker hangs, deaf to SIGTERM": _deaf,
    "worker cannot allocate": _no_memory,
    "/dev/shm filled": _fill_shared_memory,
    "trial SIGKILL": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "trial host SIGKILL": lambda: os.kill(_host(), signal.SIGKILL),
}


def faulty(file: str) -> Faulty:
    return Faulty(file)
