"""Data sets that break in known ways at a known sample; tests name them as ``broken.py:name``."""

from __future__ import annotations

import ctypes
import mmap
import pickle
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

import loadtune

MIB = 2**20


def being_looked_at() -> bool:
    """Return whether this is the look at the data set before any trial."""
    return any(frame.filename.endswith("probe.py") for frame in traceback.extract_stack())


class Broken(Dataset[Any]):
    """Does its deed at one sample: in workers alone, or in every process but the one that looks at it first."""

    def __init__(self, deed: str, *, at: int, samples: int, only_in_workers: bool = False) -> None:
        self.deed, self.at, self.samples, self.only_in_workers = deed, at, samples, only_in_workers

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self.at and not (self.only_in_workers and get_worker_info() is None) and not being_looked_at():
            self.misbehave()
        return torch.full((4,), index)

    def misbehave(self) -> None:
        if self.deed == "segfault":
            ctypes.string_at(0)
        elif self.deed == "bus":  # a file that is shorter than what is mapped of it
            with tempfile.TemporaryFile() as file:
                file.truncate(mmap.PAGESIZE)
                mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)
                file.truncate(0)
                mapped[0] = 1
        elif self.deed == "cut":
            pickle.loads(b"")  # noqa: S301 - our own
        elif self.deed == "mute":
            raise MuteError(37)
        elif self.deed == "two arguments":
            raise PairError("a broken", "pair")
        elif self.deed == "newlines":
            raise ValueError("\n\n")
        raise ValueError("a broken picture")


class MuteError(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class PairError(Exception):
    """Cannot be made of one text, as torch tries to."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def in_a_worker(deed: str) -> Broken:
    """Sample 37 of 400, in workers alone."""
    return Broken(deed, at=37, samples=400, only_in_workers=True)


def anywhere(deed: str) -> Broken:
    """Sample 37 of 400, in whichever process."""
    return Broken(deed, at=37, samples=400)


def at_the_last() -> Broken:
    """The last of 10,000."""
    return Broken("raise", at=9_999, samples=10_000)


class Swelling(Dataset[Any]):
    """Samples of 1 MiB, in workers alone: whoever looks at them elsewhere sees 4 bytes."""

    def __len__(self) -> int:
        return 2000

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.001)
        return torch.zeros(MIB // 4 if get_worker_info() is not None else 1)


class Hoarding(Dataset[Any]):
    """Keeps what it makes, 32 MiB a sample, in workers alone."""

    def __init__(self, *, everywhere: bool = False) -> None:
        self.everywhere = everywhere
        self.kept: list[bytearray] = []

    def __len__(self) -> int:
        return 2000

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.everywhere or get_worker_info() is not None:
            self.kept.append(bytearray(b"x") * (32 * MIB))
        return torch.zeros(4)


def stacked() -> Swelling:
    return Swelling()


def in_a_list() -> loadtune.Workload:
    return loadtune.Workload(dataset=Swelling(), collate_fn=list)


def hoarding() -> Hoarding:
    return Hoarding()


def hoarding_everywhere() -> Hoarding:
    return Hoarding(everywhere=True)


def hoarding_when_built() -> Hoarding:
    """Take 3 GiB before there is a data set."""
    whole = Hoarding(everywhere=True)
    for index in range(96):
        _ = whole[index]
    return whole


class OpensAtFirst(Dataset[Any]):
    """Opens its file at the first sample, as data sets for spawned workers are advised to."""

    file: Any = None

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.file is None:
            self.file = Path(__file__).open("rb")  # noqa: SIM115 - that it stays open is the point
        return torch.full((4,), float(index))


def opens_at_first() -> OpensAtFirst:
    return OpensAtFirst()


def opens_when_built() -> OpensAtFirst:
    made = OpensAtFirst()
    _ = made[0]
    return made


class StuckAtStart(Dataset[Any]):
    """A worker that unpickles it waits for ever."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((4,), float(index))

    def __getstate__(self) -> dict[str, Any]:
        return {"stuck": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        time.sleep(600)


def stuck_at_start() -> StuckAtStart:
    return StuckAtStart()
