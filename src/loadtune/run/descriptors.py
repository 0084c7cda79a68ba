"""Open files of a trial as it goes on: what explains a failure that names no file.

A tensor of a batch from a worker holds a descriptor, in the worker until the main process has fetched it. A worker that
has none left cannot hand it over, and what the main process sees is the end of a connection.
"""

from __future__ import annotations

import math
import resource
from dataclasses import dataclass, field

from loadtune.record.failure import Failure
from loadtune.run.memory import descendants, open_files

EVERY = 5
"""Every so many glances the open files are counted: half a second."""
TELLING_SHARE = 0.5
"""Of what is allowed: below it the count is no explanation. Between two counts there may be as many batches again."""
RISING = 16
SYMPTOMS = ("worker_killed", "worker_error", "user_error")
"""Kinds that a lack of descriptors may be taken for."""


def most_allowed() -> float:
    """Return how many files one process of a trial may have open: trials raise their limit as far as it goes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return math.inf if most == resource.RLIM_INFINITY else most


@dataclass(slots=True, kw_only=True)
class OpenFiles:
    """Counts the open files of a trial's processes now and then."""

    allowed: float = field(default_factory=most_allowed)
    counts: list[int] = field(default_factory=list)
    """Most of one process, each time."""
    _glances: int = 0

    def glance(self, pid: int | None) -> None:
        """Count, where it is time to."""
        self._glances += 1
        if pid is None or self._glances % EVERY != 1:
            return
        seen = open_files((pid, *descendants(pid)))
        if seen is not None:
            self.counts.append(seen)

    def explain(self, failure: Failure) -> Failure:
        """Return the failure, as one of too many open files where they rose towards the limit, with the counts."""
        first, last = (self.counts[0], self.counts[-1]) if self.counts else (0, 0)
        if last - first < RISING:
            return failure
        tells = failure.kind in SYMPTOMS and last >= TELLING_SHARE * self.allowed
        if not tells and failure.kind != "open_files":
            return failure
        return Failure(
            kind="open_files",
            reason=f"a process had {last:,} files open of {self.allowed:,.0f} allowed when last seen, and {first:,} at "
            f"first: batches, or what is opened for them, are kept ({failure.reason})",
        )
