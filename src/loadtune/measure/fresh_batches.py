"""Batches no two of which have a sample in common, as far as the source has samples: each is loaded anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from loadtune.describe.config import LoaderConfig
from loadtune.describe.workload import Workload
from loadtune.measure.batches import count_samples
from loadtune.measure.fetch import several
from loadtune.measure.stream import permutation
from loadtune.workloads.source import Source

Take = Callable[[int], Any]
"""Gives a batch of a size; None where the samples are used up."""


def fresh_batches(source: Source, *, seed: int) -> Take:
    """Return what gives one batch after another, of any size, from one pass over the source in a random order.

    A loader of its own kind decides about the order itself, and one pass is made for each size.
    """
    if source.build_loader is not None:
        return _Loaders(source.build_loader)
    assert source.workload is not None  # noqa: S101 - a source has one or the other
    return _of_samples(source.workload, seed)


def _of_samples(workload: Workload, seed: int) -> Take:
    drawn = _drawn(workload, seed)
    collate = workload.collate_fn or default_collate
    fetch = _fetch(workload.dataset)

    def take(size: int) -> Any:
        some = list(islice(drawn, size))
        return collate(list(fetch(some))) if len(some) == size else None

    return take


def _drawn(workload: Workload, seed: int) -> Iterator[Any]:
    """Yield the indices of one pass; of a stream its samples, in its own order."""
    if isinstance(workload.dataset, IterableDataset):
        return iter(workload.dataset)
    if workload.sampler is not None:
        return iter(workload.sampler)
    return permutation(len(workload.dataset), seed)


def _fetch(dataset: Any) -> Callable[[list[Any]], Iterable[Any]]:
    if isinstance(dataset, IterableDataset):
        return lambda samples: samples
    at_once = several(dataset)
    return at_once or (lambda indices: (dataset[index] for index in indices))


class _Loaders:
    """One loader a size; a loader of a single batch is built again for the next, as it makes it when it is asked."""

    def __init__(self, build: Callable[[LoaderConfig], Any]) -> None:
        self._build = build
        self._open: dict[int, Iterator[Any]] = {}
        self._taken: dict[int, int] = {}

    def __call__(self, size: int) -> Any:
        batch = next(self._open[size], None) if size in self._open else None
        if batch is None and self._taken.get(size, 0) <= 1:
            self._open[size] = iter(self._build(LoaderConfig(batch_size=size, drop_last=True)))
            self._taken[size] = 0
            batch = next(self._open[size], None)
        self._taken[size] += 1
        return batch if batch is not None and count_samples(batch, size) == size else None
