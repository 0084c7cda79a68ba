"""How long a trial is primed, by a scripted loader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement
from loadtune.measure import trial

FOUR = LoaderConfig.normalised(batch_size=10, num_workers=4, prefetch_factor=2)
NOBODY = cast("trial.Observer", None)


class Scripted:
    """Stands for a loop: each batch takes 10 ms, and after each round so many are ready."""

    def __init__(self, ready: Sequence[int | None]) -> None:
        self._ready = list(ready)
        self.taken = self.stream = self
        self.ended = [0.0]

    def take(self, count: int) -> None:
        for _ in range(count):
            self.ended.append(self.ended[-1] + 0.010)

    def ready_batches(self) -> int | None:
        return self._ready.pop(0) if len(self._ready) > 1 else self._ready[0]


@pytest.mark.parametrize(
    ("ready", "batches"),
    [
        ([0], 16),  # waited for: 2·P·W
        ([8], 16),  # full, and stays so
        ([None], 16),  # nobody can tell
        ([60, 50, 40, 30, 20, 10, 10, 10], 32),  # ends when P·W more have left it as it is
        (range(1000, 0, -10), 44),  # ends with the round in which twice the time is over
    ],
)
def test_priming_goes_on_while_a_backlog_shrinks(ready: Sequence[int | None], batches: int) -> None:
    """16 batches of 4 workers, and more only while fewer are ready after P·W of them, for twice the time at most."""
    loop = Scripted(ready)
    trial._prime(cast("Any", loop), FOUR, Measurement(priming_seconds=0.2), NOBODY)
    assert len(loop.ended) == batches
