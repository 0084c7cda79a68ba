"""What a training script puts around its loader to see whether it waits for data: ``watch``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Generic, cast

from loadtune.judge.watching import WatchSummary, summarise
from loadtune.measure.watching import Batch, Clock, Tally, WatchedLoop


class Watched(Generic[Batch]):
    """A loader that is watched while it is looped over; made by ``watch``.

    Its public attributes are the loader's, which is ``loader`` itself.
    """

    __slots__ = ("_clock", "_loader", "_tally")

    def __init__(self, loader: Iterable[Batch], *, clock: Clock = time.perf_counter) -> None:
        self._loader = loader
        self._clock = clock
        self._tally = Tally()

    @property
    def loader(self) -> Iterable[Batch]:
        """What is watched."""
        return self._loader

    def summary(self) -> WatchSummary:
        """Return what was seen so far; it may be asked for inside the loop too."""
        return summarise(self._tally.measurement())

    def __iter__(self) -> Iterator[Batch]:
        return WatchedLoop(self._loader, self._tally, self._clock)

    def __len__(self) -> int:
        return len(cast("Sized", self._loader))  # what has no length says so itself

    def __enter__(self) -> Watched[Batch]:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: what was seen stays, and what was raised goes on."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Python's own look-ups, as for a copy, are not meant for the loader
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self._loader, name)


def watch(loader: Iterable[Batch]) -> Watched[Batch]:
    """Return the loader with a clock around it, which says whether the training loop waits for data.

    Loop over what is returned as over the loader itself: each ``for`` is an epoch, each batch is handed on as it is,
    and ``len()`` and public attributes (``.sampler``, ``.dataset``) are the loader's. Nothing of the loader and nothing
    of this process is changed. A batch costs a few microseconds, and the memory does not grow with their number. Under
    distributed training each process watches its own loader.

    The wait for a batch is the time in ``next()``, its step the time until the next batch is asked for; nothing is
    synchronised. Where the step hands its work to a device and goes on, the device is busy behind the waits: the share
    of the time that the loop waits is then the most that the device can wait.

    Args:
        loader: Any iterable of batches: a ``DataLoader``, or what prefetches from one.

    Example:
        >>> with loadtune.watch(loader) as watched:
        ...     for inputs, targets in watched:
        ...         train(inputs, targets)
        >>> print(watched.summary())
    """
    return Watched(loader)
