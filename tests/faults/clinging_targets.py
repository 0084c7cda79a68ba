"""Data sets that start programs of their own, which know nothing of a sweep and outlive whoever started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from multiprocessing import Manager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset


class Clinging(Dataset[Any]):
    """Holds a manager, a program and a daemon in a session of its own; their process ids are in a file.

    Args:
        notes: The file.
        in_trial: Whether each trial starts its own, at its first sample; otherwise the building of the data set does.
    """

    def __init__(self, notes: str, *, in_trial: bool) -> None:
        self.notes, self.held = Path(notes), None
        if not in_trial:
            self.held = cling(self.notes)

    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.held is None:
            self.held = cling(self.notes)
        time.sleep(0.001)
        return torch.tensor(index)


def cling(notes: Path) -> list[Any]:
    """Start all three; return what has to be held."""
    manager = Manager()
    program = subprocess.Popen(["sleep", "3000"])
    daemon = daemonised()
    with notes.open("a") as file:
        file.write(f"{manager._process.pid}\n{program.pid}\n{daemon}\n")
    return [manager, manager.list(), program]


def daemonised() -> int:
    """Start a daemon as daemons are made, forked twice with a session between; return its process id."""
    script = (
        "import os, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "pid = os.fork()\n"
        "if pid: print(pid, flush=True); os._exit(0)\n"
        "os.close(1); os.close(2); time.sleep(3000)"
    )
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)


def building(notes: str) -> Clinging:
    return Clinging(notes, in_trial=False)


def in_trial(notes: str) -> Clinging:
    return Clinging(notes, in_trial=True)


def hanging(seconds: str) -> Dataset[Any]:
    """Hang as a factory that waits for a server."""
    time.sleep(float(seconds))
    return Clinging(os.devnull, in_trial=False)


class Closing(Dataset[Any]):
    """Closes what is not its own at each sample."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> int:
        os.closerange(3, 1024)
        return index


def closing_at_samples() -> Dataset[Any]:
    return Closing()


def closing() -> Dataset[Any]:
    """Close what is not its own, as programs do that want to be daemons."""
    os.closerange(3, 1024)
    return Clinging(os.devnull, in_trial=True)
