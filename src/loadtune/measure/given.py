"""Which batches of indices a sampler gave out last: so that the batch at which a worker failed is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from loadtune.describe.config import LoaderConfig


def most_outstanding(config: LoaderConfig) -> int:
    """Return how many batches back a worker's can lie: those in flight, more where one may be overtaken."""
    return (1 if config.in_order else 4) * config.batches_in_flight + 2


class Given:
    """The last batches that were given out, by number from 0: torch numbers its tasks alike.

    To note one is one append to a bounded queue.
    """

    def __init__(self, most_kept: int = 0) -> None:
        self._last: deque[Any] = deque(maxlen=most_kept)
        self._count = 0

    def note(self, batch: Any) -> Any:
        """Keep a batch that is about to be given out, and return it."""
        self._last.append(batch)
        self._count += 1
        return batch

    def batch(self, number: int) -> Any:
        """Return a batch by its number.

        Raises:
            LookupError: It was given out too long ago, or not yet.
        """
        back = number - self._count
        if not -len(self._last) <= back < 0:
            raise LookupError(f"batch {number} is not kept")
        return self._last[back]


class Noted:
    """A batch sampler that notes what another one gives out, pass by pass."""

    def __init__(self, batches: Iterable[Any], most_kept: int) -> None:
        self._batches = batches
        self._most_kept = most_kept
        self.given = Given(most_kept)

    def __iter__(self) -> Iterator[Any]:
        self.given = Given(self._most_kept)
        return map(self.given.note, self._batches)

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]
