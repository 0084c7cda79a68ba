"""The clock around somebody's own training loop: three readings a batch, sums, nothing that grows with the loop."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from loadtune.measure.batches import count_samples
from loadtune.record.watching import Block, LoaderSeen, WatchMeasurement

MOST_BLOCKS = 64
"""When so many blocks are full each two become one, twice as long."""
OWN_SHARE = 0.002
"""Part of the time that watching may take; beyond it a batch is not counted, but taken to be as large as the last."""
OWN_SECONDS = 0.01
"""What watching may take in any case: it does for a thousand usual batches."""
BINS_PER_DOUBLING = 16
"""Waits are counted in bins 4.4 % wide, so that a quantile is known to about 2 %."""
_LEAST_SECONDS = 1e-9

Batch = TypeVar("Batch")
Clock = Callable[[], float]


class WatchedLoop(Iterator[Batch], Generic[Batch]):
    """One loop over a loader. Between two batches it holds on to none, as a bare loop does not either.

    Args:
        loader: Gives the batches; what it raises passes through.
        tally: Told of each batch.
        clock: Reads seconds.
    """

    __slots__ = ("_batches", "_clock", "_first_seconds", "_given", "_samples", "_tally", "_wait")

    def __init__(self, loader: Iterable[Batch], tally: Tally, clock: Clock) -> None:
        self._tally = tally
        self._clock = clock
        self._wait: float | None = None
        """Wait for the batch that is being used; None for the first one."""
        self._samples = 0
        self._given: float | None = None
        """When that batch was handed out; None while there is none."""
        began = clock()
        tally.begin(loader)
        self._batches = iter(loader)
        self._first_seconds: float | None = clock() - began
        """What the start has taken so far; None once the first batch was there."""

    def __next__(self) -> Batch:
        asked = self._clock()
        try:
            batch = next(self._batches)
        except BaseException:
            self._tally.seconds += self._clock() - asked
            self._end_step(asked)
            raise
        came = self._clock()
        self._end_step(asked)
        self._arrived(came - asked)
        self._samples = self._tally.add_batch(batch)
        self._given = self._clock()
        self._tally.add_own(self._given - came)
        return batch

    def _end_step(self, asked: float) -> None:
        """Add the step before: after the next batch has come, as what that takes would be taken for a wait."""
        if self._given is not None:
            self._tally.add_step(asked - self._given, self._wait, self._samples)
            self._given = None

    def _arrived(self, seconds: float) -> None:
        if self._first_seconds is None:
            self._wait = seconds
            self._tally.seconds += seconds
        else:
            self._tally.add_first(self._first_seconds + seconds)
            self._first_seconds = None


class Tally:
    """What the loops over one loader add up to, in a space that does not grow with them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._loader = LoaderSeen()
        self._epochs = 0
        self._batches = 0
        self._samples = 0
        self._last_samples = 0
        self._first_batch_seconds = 0.0
        self._own_seconds = 0.0
        self._open = _OpenBlock()
        self._blocks: list[Block] = []
        self._per_block = 1
        self._waits: Counter[int] = Counter()

    def begin(self, loader: Any) -> None:
        """Count a loop; the first one says how many workers make a round."""
        self._loader = seen(loader)
        if self._epochs == 0:
            self._per_block = max(1, self._loader.num_workers or 1)
        self._epochs += 1

    def add_first(self, seconds: float) -> None:
        """Add what a loop took to its first batch."""
        self._first_batch_seconds += seconds
        self.seconds += seconds

    def add_batch(self, batch: Any) -> int:
        """Count a batch and return its samples."""
        self._batches += 1
        if self._own_seconds <= OWN_SECONDS + OWN_SHARE * self.seconds:
            self._last_samples = _samples(batch, self._loader.batch_size)
        self._samples += self._last_samples
        return self._last_samples

    def add_own(self, seconds: float) -> None:
        """Add what watching a batch took: it is neither a wait nor a step."""
        self._own_seconds += seconds
        self.seconds += seconds

    def add_step(self, seconds: float, wait: float | None, samples: int) -> None:
        """Add a step that ended, with the wait for its batch; without a wait it was a loop's first, and stays apart."""
        self.seconds += seconds
        if wait is None:
            return
        self._waits[round(BINS_PER_DOUBLING * math.log2(max(wait, _LEAST_SECONDS)))] += 1
        self._open.add(wait, seconds, samples)
        if self._open.batches == self._per_block:
            self._blocks.append(self._open.closed())
            self._open = _OpenBlock()
        if len(self._blocks) == MOST_BLOCKS:
            self._blocks = [first + second for first, second in zip(self._blocks[::2], self._blocks[1::2], strict=True)]
            self._per_block *= 2

    def measurement(self) -> WatchMeasurement:
        """Return what was seen so far."""
        return WatchMeasurement(
            loader=self._loader,
            epochs=self._epochs,
            batches=self._batches,
            samples=self._samples,
            seconds=self.seconds,
            first_batch_seconds=self._first_batch_seconds,
            steady=sum(self._blocks, self._open.closed()),
            blocks=tuple(self._blocks),
            batch_wait_p50_seconds=self._quantile(0.5),
            batch_wait_p95_seconds=self._quantile(0.95),
        )

    def _quantile(self, share: float) -> float | None:
        """Return the wait within which this share of the batches had come; None where there were none."""
        left = share * self._waits.total()
        for place in sorted(self._waits):
            left -= self._waits[place]
            if left <= 0:
                return float(2 ** (place / BINS_PER_DOUBLING))
        return None


class _OpenBlock:
    """A block that batches are added to: plain numbers, as this is done for each."""

    __slots__ = ("batches", "samples", "step_seconds", "wait_seconds")

    def __init__(self) -> None:
        self.wait_seconds = 0.0
        self.step_seconds = 0.0
        self.samples = 0
        self.batches = 0

    def add(self, wait: float, step: float, samples: int) -> None:
        self.wait_seconds += wait
        self.step_seconds += step
        self.samples += samples
        self.batches += 1

    def closed(self) -> Block:
        return Block(
            wait_seconds=self.wait_seconds, step_seconds=self.step_seconds, samples=self.samples, batches=self.batches
        )


def seen(loader: Any) -> LoaderSeen:
    """Return what a loader says of itself, where it says it as torch's does."""
    return LoaderSeen(
        batch_size=_whole(getattr(loader, "batch_size", None)),
        num_workers=_whole(getattr(loader, "num_workers", None)),
        persistent_workers=bool(kept) if (kept := getattr(loader, "persistent_workers", None)) is not None else None,
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _samples(batch: Any, expected: int | None) -> int:
    try:
        return count_samples(batch, expected)
    except Exception:  # noqa: BLE001 - a batch of the user's own kind, which must not end a training
        return expected or 1
