"""What watching a training loop costs for each batch: loops over one batch, watched and bare in turns."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from _report import Report

from loadtune.watcher import Watched

PAIRS = 21
BATCHES = 10_000
STEP_SECONDS = 0.005
SAMPLES = 64

ABOUT = f"""The claim: `loadtune.watch` costs a training loop at most 0.5 %. A loop over one batch that is there already
is timed bare and watched, in turns; the difference is what watching costs, counting the samples included. *Share* is
that beside a step of {1000 * STEP_SECONDS:g} ms, which is a short one: the clock that the watched loop reads is moved
on by as much for each batch, so that it counts as it would beside such a step.
"""


class Repeated:
    """Hands out one batch again and again, as a loader of that batch size does."""

    def __init__(self, batch: Any, batch_size: int | None) -> None:
        self.batch_size = batch_size
        self._batch = batch

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(self._batch)


def main() -> None:
    """Measure, print, keep."""
    pictures, labels = torch.zeros(SAMPLES, 3, 32, 32), torch.zeros(SAMPLES)
    fields = dict.fromkeys("abcdefgh", labels)
    report = Report("watch", "What watching costs")
    report.line(ABOUT)
    report.table(["batch", "batch size known", "µs a batch, median (range)", "share"])
    for name, batch in (
        ("two tensors", (pictures, labels)),
        ("a mapping of eight tensors", fields),
        ("a list of 64 mappings of eight", [fields] * SAMPLES),
    ):
        for size in (SAMPLES, None):
            costs = [cost(Repeated(batch, size)) for _ in range(PAIRS)]
            middle = statistics.median(costs)
            words = f"{1e6 * middle:.1f} ({1e6 * min(costs):.1f} to {1e6 * max(costs):.1f})"
            report.row(name, "yes" if size else "no", words, f"{100 * middle / STEP_SECONDS:.2f} %")
    report.keep()


class Clock:
    """The time, and that of the steps that are not made."""

    def __init__(self) -> None:
        self.steps = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self.steps


def cost(loader: Repeated) -> float:
    """Return the seconds that watching adds to a batch."""
    clock = Clock()
    bare = seconds_a_batch(loader, clock)
    return seconds_a_batch(Watched(loader, clock=clock), clock) - bare


def seconds_a_batch(batches: Iterable[Any], clock: Clock) -> float:
    """Return what a batch takes in a loop whose step takes no time but on the clock."""
    began = time.perf_counter()
    for _ in itertools.islice(batches, BATCHES):
        clock.steps += STEP_SECONDS
    return (time.perf_counter() - began) / BATCHES


if __name__ == "__main__":
    sys.exit(main())
