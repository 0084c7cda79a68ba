"""Data sets whose samples are delivered twice, not as claimed, or wrong, and their likes that are in order."""

from __future__ import annotations

import functools
import itertools
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

import loadtune

SLEEP_SECONDS = 0.002
RECORD = 64


def place() -> tuple[int, int]:
    """Return the number of this worker and how many there are."""
    info = get_worker_info()
    return (info.id, info.num_workers) if info is not None else (0, 1)


class Numbers(IterableDataset[Any]):
    """Yields what a function of the number of samples yields, each after a sleep, in the type of a sample."""

    def __init__(self, draw: Callable[[int], Any], samples: int, sleep: float = SLEEP_SECONDS) -> None:
        self.draw, self.samples, self.sleep = draw, samples, sleep

    def __iter__(self) -> Iterator[Any]:
        for number in self.draw(self.samples):
            time.sleep(self.sleep)
            yield torch.tensor([number, number + 0.5]) if isinstance(number, int) else number


class Sized(Numbers):
    def __init__(self, draw: Callable[[int], Any], samples: int, claimed: int, sleep: float = SLEEP_SECONDS) -> None:
        super().__init__(draw, samples, sleep)
        self.claimed = claimed

    def __len__(self) -> int:
        return self.claimed


def by_stride(samples: int) -> Any:
    worker, workers = place()
    return itertools.islice(range(samples), worker, None, workers)


def by_block(samples: int) -> Any:
    worker, workers = place()
    size = -(-samples // workers)
    return range(worker * size, min(samples, (worker + 1) * size))


def by_file(samples: int, files: int = 2) -> Any:
    worker, workers = place()
    size = samples // files
    return itertools.chain.from_iterable(range(one * size, (one + 1) * size) for one in range(worker, files, workers))


def padded(samples: int) -> Any:
    worker, workers = place()
    return (number % samples for number in range(worker, -(-samples // workers) * workers, workers))


def shuffled(samples: int) -> list[int]:
    order = list(range(samples))
    random.shuffle(order)
    return order


def shuffled_then_divided(samples: int) -> Any:
    worker, workers = place()
    order = list(range(samples))
    random.Random(7).shuffle(order)  # noqa: S311 - an order
    return order[worker::workers]


def shuffled_by_the_common_seed(samples: int) -> Any:
    info = get_worker_info()
    if info is None:
        return range(samples)
    order = list(range(samples))
    random.Random(info.seed - info.id).shuffle(order)  # noqa: S311 - an order
    return order[info.id :: info.num_workers]


def augmented(samples: int) -> Any:
    return ((torch.rand(3) + number, number % 10) for number in range(samples))


def augmented_without_labels(samples: int) -> Any:
    return (torch.rand(3) + number for number in range(samples))


def augmented_by_stride(samples: int) -> Any:
    return ((torch.rand(3) + number, number % 10) for number in by_stride(samples))


def synthetic(_: int) -> Any:
    return (np.random.standard_normal(3) for _ in itertools.count())  # noqa: NPY002 - the state that workers have


def constant(samples: int) -> Any:
    return (torch.zeros(3) for _ in range(samples))


def constant_by_stride(samples: int) -> Any:
    return (torch.zeros(3) for _ in by_stride(samples))


def whole(samples: int) -> Any:
    return range(samples)


def endless(samples: int) -> Any:
    return (number % samples for number in itertools.count())


def endless_by_stride(_: int) -> Any:
    worker, workers = place()
    return itertools.count(worker, workers)


def iterable(draw: str = "whole", samples: str = "60", sleep: str = str(SLEEP_SECONDS)) -> Numbers:
    return Numbers(globals()[draw], int(samples), float(sleep))


def sized(draw: str = "whole", samples: str = "60", claimed: str = "60", sleep: str = str(SLEEP_SECONDS)) -> Sized:
    return Sized(globals()[draw], int(samples), int(claimed), float(sleep))


class Span(IterableDataset[Any]):
    """As torch's documentation divides one: worker_init_fn sets the part of each worker's copy."""

    def __init__(self) -> None:
        self.start, self.end = 0, 60

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.end))


def take_a_part(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    size = -(-60 // info.num_workers)
    info.dataset.start, info.dataset.end = worker * size, min(60, (worker + 1) * size)


def by_init() -> loadtune.Workload:
    return loadtune.Workload(dataset=Span(), worker_init_fn=take_a_part)


class Records(Dataset[Any]):
    """Fixed records of a file, each of its own bytes, read in one of several ways."""

    def __init__(self, way: str, records: int = 400) -> None:
        self.way, self.records = way, records
        self.path = record_file(records)
        self.file: Any = open(self.path, "rb", buffering=-1 if way == "buffered" else 0)  # noqa: PTH123, SIM115
        if way == "lazy":
            self.file.close()
            self.file = None

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()

    def __len__(self) -> int:
        return self.records

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        if self.file is None:
            self.file = open(self.path, "rb", buffering=0)  # noqa: PTH123, SIM115
        if self.way == "pread":
            return np.frombuffer(os.pread(self.file.fileno(), RECORD, index * RECORD), np.uint8)
        self.file.seek(index * RECORD)
        time.sleep(0.0005)  # what makes it sure that another worker moves the offset now and then
        read = self.file.read(RECORD)
        if self.way == "checked" and int.from_bytes(read[:2], "little") != index:
            raise ValueError(f"this is not record {index}")
        return np.frombuffer(read.ljust(RECORD), np.uint8)


class Stream(IterableDataset[Any]):
    """Records of a file that is open already, read on from where it stands."""

    def __init__(self) -> None:
        self.file = open(record_file(400), "rb", buffering=0)  # noqa: PTH123, SIM115

    def __del__(self) -> None:
        self.file.close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(RECORD), b"")


@functools.cache
def record_file(records: int) -> str:
    with tempfile.NamedTemporaryFile(delete=False, prefix="loadtune-records-") as made:
        noise = np.random.default_rng(0).integers(0, 256, (records, RECORD), np.uint8)
        noise[:, 0], noise[:, 1] = np.arange(records) % 256, np.arange(records) // 256
        made.write(noise.tobytes())
    return made.name


def records(way: str = "seek") -> Records:
    return Records(way)


class Indexed(Dataset[Any]):
    """Samples that depend on more than their index, in a way of their own."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int) -> Any:
        ways: dict[str, Callable[[], Any]] = {
            "plain": lambda: index,
            "augmented": lambda: torch.rand(3) + index,
            "own_generator": lambda: self.generator.random(3) + index,
            "time": lambda: (index, time.time()),
            "worker": lambda: (index, place()),
        }
        return ways[self.way]()


def indexed(way: str = "plain") -> Indexed:
    return Indexed(way)
