"""Batches of different samples, each loaded anew, as far as the source has samples.

No two batches have a sample in common, but for a loader of its own kind: it decides about the order itself, one pass is
made for each size, and without shuffling small batches are made of the samples of the first large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from loadtune.describe.config import LoaderConfig
from loadtune.describe.workload import Workload
from loadtune.measure.batches import count_samples
from loadtune.measure.fetch import together
from loadtune.measure.stream import permutation
from loadtune.workloads.source import Source

Take = Callable[[int], Any]
"""Gives a batch of a size; None where the samples are used up."""


def fresh_batches(source: Source, *, seed: int) -> Take:
    """Return what gives one batch after another, of any size, from one pass over the source.

    The order is random where it is not the source's own: data sorted by class would give small batches of one class.
    """
    if source.build_loader is not None:
        return _Loaders(source.build_loader)
    assert source.workload is not None  # noqa: S101 - a source has one or the other
    return _of_samples(source.workload, seed)


def keeps_its_order(source: Source) -> bool:
    """Return whether the source decides about the order of its samples: a stream, or a loader of its own kind."""
    return source.workload is None or isinstance(source.workload.dataset, IterableDataset)


def _of_samples(workload: Workload, seed: int) -> Take:
    drawn = _drawn(workload, seed)
    collate = workload.collate_fn or default_collate

    def take(size: int) -> Any:
        some = list(islice(drawn, size))
        if len(some) < size:
            return None
        is_stream = isinstance(workload.dataset, IterableDataset)
        return collate(some if is_stream else together(workload.dataset, some))

    return take


def _drawn(workload: Workload, seed: int) -> Iterator[Any]:
    """Yield the indices of one pass in a random order; of a stream its samples, in its own."""
    if isinstance(workload.dataset, IterableDataset):
        return iter(workload.dataset)
    sampler = workload.sampler
    if sampler is None:
        return permutation(len(workload.dataset), seed)
    if getattr(sampler, "replacement", False) or not hasattr(type(sampler), "__len__"):
        return iter(sampler)  # it draws at random already, or never ends
    indices = list(islice(sampler, len(sampler)))
    return (indices[place] for place in permutation(len(indices), seed))


class _Loaders:
    """One loader a size; one that makes its only batch when it is asked, as without a length, is asked for the next."""

    def __init__(self, build: Callable[[LoaderConfig], Any]) -> None:
        self._build = build
        self._open: dict[int, Iterator[Any]] = {}
        self._taken: dict[int, int] = {}
        self._has_length = False

    def __call__(self, size: int) -> Any:
        batch = next(self._open[size], None) if size in self._open else None
        if batch is None and self._may_open(size):
            loader = self._build(LoaderConfig(batch_size=size, drop_last=True))
            self._has_length = hasattr(type(loader), "__len__")
            self._open[size], self._taken[size] = iter(loader), 0
            batch = next(self._open[size], None)
        self._taken[size] += 1
        return batch if batch is not None and count_samples(batch, size) == size else None

    def _may_open(self, size: int) -> bool:
        return size not in self._open or (self._taken[size] <= 1 and not self._has_length)
