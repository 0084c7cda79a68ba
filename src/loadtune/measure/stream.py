"""Loaders whose batches never end, so that no window meets the edge of an epoch, and loaders of one whole epoch."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler
from torch.utils.data._utils.collate import default_collate, default_convert

from loadtune.describe.config import LoaderConfig
from loadtune.describe.workload import Workload
from loadtune.measure import heap, page_cache, threads, witness, worker_deaths
from loadtune.measure.given import Given, Noted, most_outstanding
from loadtune.measure.lifeline import WorkerStart
from loadtune.workloads.source import ByValue, Source, config_of, source_from_loader

_CHUNK = 8192
"""Indices turned into Python numbers at a time: a permutation of a billion is drawn without a list of it."""


END = object()
"""Stands for the end of an epoch."""
_MAP_FETCHER = "_MapDatasetFetcher"
"""Torch's class that asks a map-style data set for samples; that of iterable ones ends with StopIteration itself."""


class DataEndedError(RuntimeError):
    """A loader that should never end did: its workers, where there are any, ended as they should then."""


class EndlessBatches:
    """A batch sampler that goes on with a new pass when one ends; no batch is cut short in between.

    Args:
        draw: Gives the indices of a pass by its number, from 0.
        batch_size: Indices a batch; another one counts from the next batch on.
    """

    def __init__(self, draw: Callable[[int], Iterable[Any]], batch_size: int) -> None:
        self._draw = draw
        self.batch_size = batch_size
        self.asked: deque[int] = deque()
        """Sizes of the batches that were asked for and not yet taken, oldest first."""
        self.given = Given()

    def __iter__(self) -> Iterator[list[Any]]:
        batch: list[Any] = []
        for index in _endless(self._draw):
            batch.append(index)
            if len(batch) >= self.batch_size:
                self.asked.append(len(batch))
                yield self.given.note(batch)
                batch = []


class RepeatedBatches:
    """A batch sampler that repeats the user's own, pass after pass, and notes the size of each batch."""

    def __init__(self, batch_sampler: Iterable[Any]) -> None:
        self._batch_sampler = batch_sampler
        self.asked: deque[int] = deque()
        self.given = Given()

    def __iter__(self) -> Iterator[Any]:
        for batch in _endless(lambda number: _pass_of(self._batch_sampler, number)):
            self.asked.append(len(batch) if hasattr(batch, "__len__") else 1)
            yield self.given.note(batch)


class StandIn(IterableDataset[Any]):
    """Stands for the user's iterable data set in the workers; a subclass says what it yields.

    There ``get_worker_info().dataset`` is read and written (the usual way to shard), so attributes go through to the
    data set itself.
    """

    def __init__(self, dataset: IterableDataset[Any], *, by_value: bool = False) -> None:
        object.__setattr__(self, "_inner", dataset)
        object.__setattr__(self, "_by_value", by_value)

    def __getattr__(self, name: str) -> Any:
        if name in ("_inner", "_by_value"):  # not there yet while it is being unpickled
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {"_inner": ByValue(self._inner) if self._by_value else self._inner}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "_inner", state["_inner"])
        object.__setattr__(self, "_by_value", False)


class EndlessIterable(StandIn):
    """An iterable data set that starts over when it ends."""

    def __iter__(self) -> Iterator[Any]:
        return _endless(lambda _: self._inner)


def _endless(draw: Callable[[int], Iterable[Any]]) -> Iterator[Any]:
    """Yield from pass after pass; end when a pass is empty, so that a worker without data does not spin."""
    for number in itertools.count():
        empty = True
        for item in draw(number):
            empty = False
            yield item
        if empty:
            return


def _pass_of(sampler: Any, number: int) -> Iterable[Any]:
    """Return a pass of a user's sampler, told the number of the pass where it wants to know (``set_epoch``)."""
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(number)
    indices: Iterator[Any] = iter(sampler)
    return indices


def permutation(samples: int, seed: int) -> Iterator[int]:
    """Yield the indices of a data set in a random order: the same for the same seed."""
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    for start in range(0, samples, _CHUNK):
        yield from order[start : start + _CHUNK].tolist()


def _passes(workload: Workload, seed: int) -> Callable[[int], Iterable[Any]]:
    """Return what draws the indices of each pass: the user's sampler, else seeded permutations."""
    if workload.sampler is not None:
        own = workload.sampler
        return lambda number: _pass_of(own, number)
    samples = len(workload.dataset)
    return lambda number: permutation(samples, seed + 7919 * number)


def _forks(config: LoaderConfig) -> bool:
    return (config.multiprocessing_context or multiprocessing.get_start_method()) == "fork"


def _collate(workload: Workload, config: LoaderConfig) -> Callable[[Any], Any] | None:
    """Return the user's function, or None for torch's own; in between what notes the memory that is free."""
    own = workload.collate_fn
    if not heap.is_noted():
        return own
    if own is None:  # as torch chooses: of samples, or of a single one
        by_batch = config.batch_size is not None or _batch_sampler(workload) is not None
        own = default_collate if by_batch else default_convert
    return heap.noting(own)


def _batch_sampler(workload: Workload) -> Any:
    return None if isinstance(workload.dataset, IterableDataset) else workload.batch_sampler


def _common_arguments(workload: Workload, config: LoaderConfig, seed: int) -> dict[str, Any]:
    kwargs = config.loader_kwargs()
    for name in ("batch_size", "drop_last"):
        del kwargs[name]
    kwargs.update(
        collate_fn=_collate(workload, config),
        worker_init_fn=WorkerStart(
            workload.worker_init_fn,
            os.getpid() if _forks(config) else None,
            notes=page_cache.place(),
            stands=witness.place(),
            one_thread=threads.are_held(),
        ),
        timeout=workload.timeout if config.num_workers else 0,
        generator=workload.generator if workload.generator is not None else torch.Generator().manual_seed(seed),
    )
    return kwargs


class _TravellingMap(ByValue, Dataset[Any]):
    """Stands for a map-style data set in this process, and arrives in a worker as the data set itself."""

    def __len__(self) -> int:
        return len(self.inner)


def _by_value(workload: Workload) -> Workload:
    """Return the workload with its parts as they travel by value to workers that are not forked."""
    iterable = isinstance(workload.dataset, IterableDataset)
    return replace(
        workload,
        dataset=workload.dataset if iterable else _TravellingMap(workload.dataset),
        collate_fn=ByValue(workload.collate_fn) if workload.collate_fn is not None else None,
        worker_init_fn=ByValue(workload.worker_init_fn) if workload.worker_init_fn is not None else None,
    )


class Stream:
    """A loader that never ends, and what each of its batches was asked to hold.

    Args:
        source: What to load from.
        config: The settings of the loader.
        seed: Of the samples drawn: equal seeds, equal sequences.

    Raises:
        Exception: Whatever the user's code or torch raises for these settings.
    """

    def __init__(self, source: Source, config: LoaderConfig, seed: int) -> None:
        self.restarts = False
        """Whether the loader ends and has to be started anew: a loader of the user's own kind."""
        self._asked: deque[int] | None = None
        self._constant: int | None = None
        self._iterator: Any = None
        self._gave = False
        self._in_order = config.in_order
        self._pid = os.getpid()
        self._handler: Any = signal.SIG_DFL
        self.loader: Any = self._build(source, config, seed)

    def _build(self, source: Source, config: LoaderConfig, seed: int) -> Any:
        workload = source.workload
        if source.build_loader is not None:
            given = source.build_loader(config)
            if type(given) is not DataLoader:
                self.restarts, self._constant = True, config.batch_size
                return given
            workload = _workload_as_asked(given, config, source.name)
        if workload is None:
            raise TypeError("a source has a workload or a factory")
        if source.by_value and not _forks(config):
            workload = _by_value(workload)
        kwargs = _common_arguments(workload, config, seed)
        if isinstance(workload.dataset, IterableDataset):
            self._constant = config.batch_size
            endless = EndlessIterable(workload.dataset, by_value=source.by_value)
            return DataLoader(endless, batch_size=config.batch_size, **kwargs)
        if workload.batch_sampler is not None:
            sampler: Any = RepeatedBatches(workload.batch_sampler)
        elif config.batch_size is None:
            # Without automatic batching each index is an item, so the sampler itself is endless.
            items = _Repeated(_passes(workload, seed), most_kept=most_outstanding(config))
            return DataLoader(workload.dataset, batch_size=None, sampler=items, **kwargs)
        else:
            sampler = EndlessBatches(_passes(workload, seed), config.batch_size)
        sampler.given = Given(most_outstanding(config))
        # Batches of several sizes in any order cannot be told apart by what was asked for.
        self._asked = sampler.asked if config.in_order or config.batch_size is not None else None
        return DataLoader(workload.dataset, batch_sampler=sampler, **kwargs)

    def start(self) -> None:
        """Start the workers."""
        self._iterator = iter(self.loader)
        worker_deaths.raise_once()

    @property
    def iterator(self) -> Any:
        """Torch's own iterator, or that of a loader of its own kind; None before the start."""
        return self._iterator

    def next(self) -> Any:
        """Return the next batch.

        Raises:
            DataEndedError: There is none.
            Exception: Whatever the user's data set or torch raises.
        """
        batch = next_batch(self._iterator)
        if os.getpid() != self._pid:  # a copy of this process, that a sample has forked and that came back from it
            os._exit(0)
        if batch is END and self.restarts:
            self.start()
            batch = next_batch(self._iterator)
        if batch is END:
            raise DataEndedError(self._why_it_ended())
        self._gave = True
        return batch

    def _why_it_ended(self) -> str:
        if self._gave:
            what = "loader gives its batches" if self.restarts else "data set gives its samples"
            return f"the {what} only once: its __iter__ must start anew"
        return "the loader gave no batch" if self.restarts else "the data set ended: a worker's share of it is empty"

    def expected_samples(self) -> int | None:
        """Return how many samples the batch just taken was asked to hold; None where the data set decides."""
        if self._asked:
            return self._asked.popleft()
        return self._constant

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [worker.pid for worker in getattr(self._iterator, "_workers", ())]

    def resize(self, batch_size: int) -> bool:
        """Ask the workers for batches of another size from now on; return whether that can be had.

        What was asked for before comes first. Where the data set or the user's own sampler forms the batches, or they
        come in any order, they cannot be told apart.
        """
        sampler = getattr(self.loader, "batch_sampler", None)
        if not isinstance(sampler, EndlessBatches) or not self._in_order:
            return False
        sampler.batch_size = batch_size
        return True

    def ready_batches(self) -> int | None:
        """Return how many batches are made and not yet taken; None without workers, and where nobody can tell.

        Those that wait for their turn, and those in the queues, the workers' and that of the thread which pins. A Mac
        does not count what is in a queue between processes, and a loader of its own kind starts anew with nothing.
        """
        if self.restarts:
            return None
        try:
            waiting = sum(len(task) > 1 for task in self._iterator._task_info.values())  # noqa: SLF001
            queues = {id(one): one for one in (self._iterator._worker_result_queue, self._iterator._data_queue)}  # noqa: SLF001
            return waiting + sum(int(one.qsize()) for one in queues.values())
        except (AttributeError, NotImplementedError):
            return None

    def kill(self) -> None:
        """End the workers at once, without waiting for it; what they hold ahead is of no use to anybody."""
        self._handler = worker_deaths.ignore()  # these die because we say so
        for worker in self._workers():
            worker.kill()
        if self._workers():
            # The loader's own shut-down would wait for locks that a killed worker may have held.
            self._iterator._shutdown = True  # noqa: SLF001

    def wait(self) -> None:
        """Wait for the workers that were killed, so that another loader has the machine to itself."""
        for worker in self._workers():
            worker.join()
        signal.signal(signal.SIGCHLD, self._handler)

    def _workers(self) -> list[Any]:
        return list(getattr(self._iterator, "_workers", ()))


def next_batch(iterator: Iterator[Any]) -> Any:
    """Return the next batch of a loader, or END; a StopIteration that a sample raised is no end, and is raised."""
    try:
        return next(iterator)
    except StopIteration as end:
        if _is_of_a_sample(end):
            raise
        return END


def _is_of_a_sample(end: StopIteration) -> bool:
    """Return whether a sample of a map-style data set raised it, as a bare ``next()`` does: it is no end then."""
    step = end.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code.co_filename.endswith(witness.FETCHING):
            return type(frame.f_locals.get("self")).__name__ == _MAP_FETCHER
        step = step.tb_next
    return "in DataLoader worker process" in str(end)


def _workload_as_asked(loader: DataLoader[Any], config: LoaderConfig, name: str) -> Workload | None:
    """Return the workload of a factory's loader; a row must never name settings that its loader did not have."""
    given = config_of(loader)
    for setting, asked in config.steady.as_dict().items():
        got = getattr(given.steady, setting)
        if got != asked and not (setting == "multiprocessing_context" and asked is None):
            raise ValueError(f"the factory '{name}' was asked for {setting}={asked} and returned a loader with {got}")
    return source_from_loader(loader, name).workload


class _Repeated:
    def __init__(self, draw: Callable[[int], Iterable[Any]], *, most_kept: int) -> None:
        self._draw = draw
        self.given = Given(most_kept)

    def __iter__(self) -> Iterator[Any]:
        return map(self.given.note, _endless(self._draw))


def epoch_loader(source: Source, config: LoaderConfig, seed: int) -> Any:
    """Return a loader of one whole epoch with all of ``config``, ``drop_last`` included."""
    workload = source.workload
    if source.build_loader is not None:
        return source.build_loader(config)
    if workload is None:
        raise TypeError("a source has a workload or a factory")
    if source.by_value and not _forks(config):
        workload = _by_value(workload)
    kwargs = _common_arguments(workload, config, seed)
    dataset: Dataset[Any] = workload.dataset
    if isinstance(dataset, IterableDataset):
        return DataLoader(dataset, batch_size=config.batch_size, drop_last=config.drop_last, **kwargs)
    kept = most_outstanding(config)
    if workload.batch_sampler is not None:
        return DataLoader(dataset, batch_sampler=Noted(workload.batch_sampler, kept), **kwargs)
    sampler = workload.sampler if workload.sampler is not None else _shuffled(dataset, kwargs)
    if config.batch_size is None:
        return DataLoader(dataset, batch_size=None, sampler=Noted(sampler, kept), **kwargs)
    batches = BatchSampler(sampler, config.batch_size, config.drop_last)
    return DataLoader(dataset, batch_sampler=Noted(batches, kept), **kwargs)


def _shuffled(dataset: Any, kwargs: dict[str, Any]) -> RandomSampler:
    """Return what ``shuffle=True`` makes."""
    return RandomSampler(dataset, generator=kwargs["generator"])
