"""Open files of a trial as it goes on, counted seldom: what explains a failure that names no file.

A tensor of a batch from a worker holds a descriptor, in the worker until the main process has fetched it. A worker that
has none left cannot hand it over, and what the main process sees is the end of a connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from loadtune.record.failure import FailureEvidence
from loadtune.run.memory import descendants, open_files

APART_SECONDS = 0.5
"""Between two counts at least."""
COST_SHARE = 1 / 200
"""A count that took t seconds is the last one for t divided by this, so that counting costs a core no more than it."""


def of_tree(pid: int) -> int | None:
    """Return the most descriptors that one process of a trial has open; None where that cannot be read."""
    return open_files((pid, *descendants(pid)))


@dataclass(slots=True, kw_only=True)
class OpenFiles:
    """Counts the open files of a trial's processes now and then."""

    counts: list[int] = field(default_factory=list)
    """Most of one process, each time."""
    clock: Callable[[], float] = time.monotonic
    read: Callable[[int], int | None] = of_tree
    _not_before: float = 0.0

    def glance(self, pid: int | None) -> None:
        """Count, where it is time to."""
        began = self.clock()
        if pid is None or began < self._not_before:
            return
        seen = self.read(pid)
        self._not_before = began + max(APART_SECONDS, (self.clock() - began) / COST_SHARE)
        if seen is not None:
            self.counts.append(seen)

    def told(self, evidence: FailureEvidence) -> FailureEvidence:
        """Return the evidence with the first and the last count, where there are any."""
        first, last = _ends(self.counts)
        return replace(evidence, open_files_first=first, open_files_last=last)


def _ends(counts: Sequence[int]) -> tuple[int | None, int | None]:
    return (counts[0], counts[-1]) if counts else (None, None)
