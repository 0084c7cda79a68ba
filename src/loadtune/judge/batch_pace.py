"""How large a batch may be so that its probe ends in its time: by the time that those before took."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtune.record.batch_size import STEPS, StepProbe

SHARE = 0.8
"""Of its time a probe is planned to take."""


def reach(probes: Sequence[StepProbe], within_seconds: float) -> float:
    """Return the batch size up to which a probe is expected to end in time; infinite where nothing speaks of a limit.

    By the line through the two largest that ran, and no further than halfway to one that did not end.
    """
    ran = sorted({p.batch_size: _least_seconds(p) for p in probes if p.fit in ("fits", "over")}.items())[-2:]
    largest = ran[-1][0] if ran else 0
    late = [(largest + p.batch_size) / 2 for p in probes if p.fit == "late" and p.batch_size > largest]
    return min([_along(ran, SHARE * within_seconds), *late])


def _least_seconds(probe: StepProbe) -> float:
    """Return what a probe would have taken with one timed step: a larger batch is timed for no more than that."""
    measured = probe.measured
    if measured is None or measured.step_seconds is None:
        return probe.seconds
    spare = measured.steps - (STEPS + 1) - measured.samples_vary
    return probe.seconds - max(0, spare) * measured.step_seconds


def _along(ran: Sequence[tuple[int, float]], seconds: float) -> float:
    if len(ran) < 2 or ran[1][1] <= ran[0][1]:  # noqa: PLR2004 - a line needs two, and to grow
        return math.inf
    (small, less), (large, more) = ran
    # What ran has shown that it can, however long it took.
    return max(large, large + (seconds - more) * (large - small) / (more - less))
