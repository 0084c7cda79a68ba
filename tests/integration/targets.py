"""Data sets whose behaviour is known exactly; tests name them as ``targets.py:name``."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, get_worker_info

import loadtune


class Clock:
    """Sleeps that take what they should in the mean: what one overshoots, 2 to 10 % by machine, the next is shorter."""

    def __init__(self) -> None:
        self.owed = 0.0

    def sleep(self, seconds: float) -> None:
        start = time.perf_counter()
        time.sleep(max(0.0, seconds - self.owed))
        self.owed = min(self.owed + time.perf_counter() - start - seconds, seconds)


class Sleeping(Dataset[Any]):
    """Sleeps for each sample: the rate of W workers is W / S, whatever the processor does."""

    def __init__(self, samples: int = 4000, seconds: float = 0.005) -> None:
        self.samples, self.seconds, self.clock = samples, seconds, Clock()

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.clock.sleep(self.seconds)
        return torch.zeros(4), index


class HeldUp:
    """A sampler that holds the main process up once, as soon as 8 workers have their 16 batches of 10."""

    def __iter__(self) -> Iterator[int]:
        for index in range(4000):
            if index == 8 * 16 * 10:
                time.sleep(2.0)
            yield index

    def __len__(self) -> int:
        return 4000


class Large(Dataset[Any]):
    """1 MiB a sample."""

    def __len__(self) -> int:
        return 2000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((1 << 18,), float(index))


class Kept(Sleeping):
    """1 MiB a sample, made once: whoever loads it allocates nothing for it."""

    def __init__(self) -> None:
        super().__init__(seconds=0.0)
        self.sample = torch.from_numpy(np.ones(1 << 18, np.float32))  # torch would start threads

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.sample, index


class Misbehaving(Sleeping):
    """Does something in a worker only, at the twentieth sample of each."""

    def __init__(self, deed: str) -> None:
        super().__init__(seconds=0.001)
        self.deed, self.seen = deed, 0

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.seen += 1
        if self.seen == 20 and get_worker_info() is not None:
            self.misbehave()
        return super().__getitem__(index)

    def misbehave(self) -> None:
        if self.deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.deed == "hang":
            time.sleep(3600)
        elif self.deed == "deaf":  # and what it has started does not end when it is asked to
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        elif self.deed == "exit":
            os._exit(3)
        raise ValueError("sample of bad luck")


class Counting(IterableDataset[Any]):
    """An iterable of 100 samples that worker_init_fn shards, as torch's documentation shows."""

    def __init__(self) -> None:
        self.start, self.end = 0, 100

    def __iter__(self) -> Iterator[int]:
        clock = Clock()
        for number in range(self.start, self.end):
            clock.sleep(0.004)
            yield number


class InFiles(Dataset[Any]):
    """Opens the files of a folder, one for each sample, and says nothing of them before."""

    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.001)
        return torch.frombuffer(bytearray(self.paths[index].read_bytes()), dtype=torch.uint8)


class Mapped(Dataset[Any]):
    """Samples of 64 KiB in one file that is mapped when the data set is built."""

    def __init__(self, file: str, *, touch: bool) -> None:
        self.data = np.memmap(file, np.uint8, "r").reshape(-1, 1 << 16)
        self.sum = int(self.data[:, ::512].sum()) if touch else 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.002)
        return torch.from_numpy(self.data[index].copy())


def shard(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    share = 100 // info.num_workers
    info.dataset.start, info.dataset.end = worker * share, (worker + 1) * share  # type: ignore[attr-defined]


class ByTokens:
    """A batch sampler of 3, 5, 7, 3, ... samples; its length is a lie."""

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, 150, 15):
            yield from (
                list(range(start, start + 3)),
                list(range(start + 3, start + 8)),
                list(range(start + 8, start + 15)),
            )

    def __len__(self) -> int:
        return 1


class OwnLoader:
    """A loader of a kind of its own: 12 batches an epoch."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[torch.Tensor]:
        clock = Clock()
        for _ in range(12):
            clock.sleep(0.01)
            yield torch.zeros(self.batch_size, 2)


class Unspeakable(Sleeping):
    """Raises what is hard to tell of, in the third batch: another thing for each batch size."""

    def __init__(self) -> None:
        super().__init__(seconds=0.001)
        self.batches = 0

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.batches += 1
        if self.batches == 3 and len(indices) in ODD_ERRORS:
            raise ODD_ERRORS[len(indices)]
        return [self[index] for index in indices]


class Mute(Exception):  # noqa: N818 - what it is called is not the point
    def __str__(self) -> str:
        raise RuntimeError("not a word")


ODD_ERRORS: dict[int, BaseException] = {
    2: type("Cancelled", (BaseException,), {})("gone"),
    3: Mute(),
    4: type("X" * 400_000, (Exception,), {})("a name beyond what one message holds"),
    5: ValueError("y" * 1_000_000),
    6: ValueError("caf\udce9.png"),
}


class Strays(Sleeping):
    """Hangs beside a process of a session of its own, in a data set that left a thread running."""

    def __init__(self, seconds: str) -> None:
        super().__init__()
        self.name = seconds
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()

    def __getitems__(self, indices: list[int]) -> list[Any]:
        if len(indices) == 8:
            subprocess.Popen(["sleep", self.name], start_new_session=True)
            time.sleep(3600)
        return [self[index] for index in indices]


def unspeakable() -> Unspeakable:
    return Unspeakable()


def strays(seconds: str) -> Strays:
    return Strays(seconds)


class SlowlyCollated:
    """Takes 40 ms to put a batch together, however many samples it has; batches of four raise, where asked to."""

    def __init__(self, *, refuses_four: bool) -> None:
        self._refuses_four = refuses_four

    def __call__(self, samples: list[Any]) -> Any:
        if self._refuses_four and len(samples) == 4:
            raise ValueError("four samples are no batch")
        time.sleep(0.04)
        return default_collate(samples)


def slowly_collated(refuses_four: str = "no") -> loadtune.Workload:
    return loadtune.Workload(dataset=Sleeping(), collate_fn=SlowlyCollated(refuses_four=refuses_four == "yes"))


def sleeping() -> Sleeping:
    return Sleeping()


def short() -> Sleeping:
    return Sleeping(samples=170, seconds=0.002)


def large() -> Large:
    return Large()


def kept() -> Kept:
    return Kept()


class Locked(Sleeping):
    """Takes a lock for each sample; the process that forks the workers holds it while they are forked."""

    def __init__(self) -> None:
        super().__init__(seconds=0.001)
        self.lock = threading.Lock()
        # Without waiting: the process of the trial was itself forked while the lock was held.
        os.register_at_fork(before=lambda: self.lock.acquire(blocking=False), after_in_parent=self.lock.release)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if get_worker_info() is not None:
            self.lock.acquire()
        return super().__getitem__(index)


def slow(seconds: str) -> Sleeping:
    return Sleeping(seconds=float(seconds))


def backlogged() -> loadtune.Workload:
    return loadtune.Workload(dataset=Sleeping(seconds=0.010), sampler=HeldUp())


def locked() -> Locked:
    return Locked()


def misbehaving(deed: str) -> Misbehaving:
    return Misbehaving(deed)


def given_loader() -> DataLoader[Any]:
    return DataLoader(Sleeping(), batch_size=8, num_workers=2, drop_last=True, shuffle=True)


class Subclassed(DataLoader[Any]):
    pass


def subclassed() -> DataLoader[Any]:
    return Subclassed(Sleeping())


def sharded() -> DataLoader[Any]:
    return DataLoader(Counting(), batch_size=10, num_workers=2, worker_init_fn=shard)


def by_tokens() -> loadtune.Workload:
    return loadtune.Workload(dataset=Sleeping(seconds=0.004), batch_sampler=ByTokens())


def own_loader(config: loadtune.LoaderConfig) -> OwnLoader:
    assert config.batch_size is not None
    return OwnLoader(config.batch_size)


def deaf_factory(config: loadtune.LoaderConfig) -> DataLoader[Any]:
    return DataLoader(Sleeping(), batch_size=config.batch_size)


def in_files(folder: str) -> InFiles:
    return InFiles(folder)


def mapped(file: str, touch: str) -> Mapped:
    return Mapped(file, touch=touch == "yes")


def stuck() -> Sleeping:
    return Sleeping(seconds=3600.0)


def with_thread() -> Sleeping:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True, name="keeper").start()
    return Sleeping()


def empty() -> Sleeping:
    return Sleeping(samples=0)


def raising() -> Sleeping:
    raise RuntimeError("the disk is not mounted")


def number() -> int:
    return 7


def broken_samples() -> Dataset[Any]:
    return Misshapen()


class Misshapen(Sleeping):
    def __getitem__(self, index: int) -> Any:
        raise KeyError("no such column")
