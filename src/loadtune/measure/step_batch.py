"""Batches of any size for a step, at little cost: a few samples, loaded once and repeated, the largest on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from loadtune.describe.config import LoaderConfig
from loadtune.errors import UsageError
from loadtune.measure.batches import count_bytes
from loadtune.workloads.source import Source

LOOK_SECONDS = 0.5
"""Time in which the largest samples are looked for, unless a data set is looked through before."""
MOST_LOOKED_AT = 512
KEPT_BYTES = 32 << 20
"""Samples kept to be repeated take no more than this, so that they do not count as the step's memory."""
MOST_KEPT = 64
VARY = 0.01
"""Sizes further apart than this, as a share, are different ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Makes batches of a data set."""

    make: Callable[[int, bool], Any]
    """The batch of a size: of the largest samples, or of ordinary ones."""
    looked_at: int | None
    """Samples among which the largest were looked for; None where a loader gives whole batches."""
    vary: bool
    """Whether samples differ in size."""


def batches_of(source: Source, *, seed: int, seconds: float = LOOK_SECONDS) -> Batches:
    """Return what makes batches of a source.

    The largest samples are looked for among some that are spread over the data set: the first batch of a loader is not
    the one that takes most memory where samples are padded to the longest.

    Raises:
        UsageError: The data set forms its own batches.
    """
    if source.forms_batches:
        raise UsageError("the data set forms its own batches: their size is not the loader's to choose")
    if source.build_loader is not None or source.workload is None:
        return Batches(make=_from_loader(source), looked_at=None, vary=False)
    seen = _Seen()
    deadline = time.monotonic() + seconds
    for sample in islice(_spread(source.workload.dataset, seed), MOST_LOOKED_AT):
        seen.add(sample)
        if time.monotonic() > deadline:
            break
    if not seen.count:
        raise UsageError(f"the data set of '{source.name}' gave no sample")
    collate = source.workload.collate_fn or default_collate
    return Batches(make=seen.maker(collate), looked_at=seen.count, vary=seen.vary)


class _Seen:
    """Some ordinary samples and the largest one, of those looked at."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[Any] = []
        self._kept_bytes = 0
        self._largest: Any = None
        self._sizes = (0, 0)

    @property
    def vary(self) -> bool:
        """Whether the sizes differ."""
        least, most = self._sizes
        return most - least > VARY * most

    def add(self, sample: Any) -> None:
        """Look at one more sample."""
        size = count_bytes(sample)
        least, most = self._sizes
        if not self.count or size > most:
            self._largest = sample
        self._sizes = (min(least, size) if self.count else size, max(most, size))
        self.count += 1
        if len(self._kept) < MOST_KEPT and (not self._kept or self._kept_bytes + size <= KEPT_BYTES):
            self._kept.append(sample)
            self._kept_bytes += size

    def maker(self, collate: Callable[[list[Any]], Any]) -> Callable[[int, bool], Any]:
        """Return what puts a batch together; of the largest sample it is one row after another."""
        largest, kept = [self._largest] if self.vary else self._kept, self._kept

        def make(size: int, worst: bool) -> Any:  # noqa: FBT001 - two kinds of batch
            return collate(list(islice(cycle(largest if worst else kept), size)))

        return make


def _spread(dataset: Any, seed: int) -> Iterator[Any]:
    """Yield samples from the whole data set, each part of it early; of a stream its first ones."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        yield from dataset
        return
    for index in _indices(len(dataset), seed):
        yield dataset[index]


def _indices(count: int, seed: int) -> Iterable[int]:
    """Return up to ``MOST_LOOKED_AT`` indices, the steps between them spread evenly (golden ratio)."""
    if count <= MOST_LOOKED_AT:
        return range(count)
    return dict.fromkeys(int(((seed + k) * 0.6180339887498949 % 1) * count) for k in range(MOST_LOOKED_AT))


def _from_loader(source: Source) -> Callable[[int, bool], Any]:
    build = source.build_loader

    def make(size: int, worst: bool) -> Any:  # noqa: ARG001, FBT001 - a loader gives what it gives
        if build is None:
            raise UsageError("this target gives no batches of a size that is asked for")
        loader: Sequence[Any] = build(LoaderConfig(batch_size=size))
        return next(iter(loader))

    return make
