"""How well a loader feeds the training step: the step's own rate on batches that are there already, and the waits."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from loadtune.describe.plan import TrialRequest
from loadtune.measure.consumer import Consumer
from loadtune.measure.steady import Round
from loadtune.measure.step_batch import batches_of
from loadtune.record.results import Feeding
from loadtune.workloads.source import Source

CACHED_SECONDS = 0.25
"""Least time of the steps on a batch that is there already; at least two are timed."""
WARM_UP = 2
CHUNKS = 4
"""Between two of which the device is waited for, so that a step which is slow now and then ends in time."""
LEAST_SECONDS = 1e-6
"""That two steps are taken to need."""
LOOK_SECONDS = 0.05


def cached_rate(source: Source, request: TrialRequest, consumer: Consumer) -> float | None:
    """Return the samples a second that the step takes when it waits for nothing: no loader makes it faster.

    Measured before the loader is started, whose workers would take their part of the processors. None where there is
    no step, where it was measured in an earlier trial, or where the loader alone forms the batches.
    """
    size = request.config.batch_size
    if not consumer.is_training or request.phase != "screen" or size is None:
        return None
    if request.consumer.step is None:
        return size / request.consumer.step_seconds  # known, a copy to the device left out
    if source.workload is None:
        return None
    batch = batches_of(source, seed=request.seed, seconds=LOOK_SECONDS).make(size, False)
    for _ in range(WARM_UP):
        consumer.take(batch)
    consumer.synchronise()
    seconds, steps = _timed(consumer, batch, WARM_UP), WARM_UP
    chunk = math.ceil(CACHED_SECONDS / CHUNKS * steps / max(seconds, LEAST_SECONDS))
    while seconds < CACHED_SECONDS:
        seconds, steps = seconds + _timed(consumer, batch, chunk), steps + chunk
    return steps * size / seconds


def _timed(consumer: Consumer, batch: Any, steps: int) -> float:
    """Return the seconds of some steps, which a device may work off behind the host as it does in a training."""
    began = time.perf_counter()
    for _ in range(steps):
        consumer.take(batch)
    consumer.synchronise()
    return time.perf_counter() - began


def feeding(
    rounds: Sequence[Round], waits: Sequence[float], cached: float | None, consumer: Consumer, *, made_share: float
) -> Feeding | None:
    """Return what the windows say of the step; None where there is none.

    Args:
        rounds: Of the windows.
        waits: For each of their batches, the time from asking for it until it was there.
        cached: Of ``cached_rate``.
        consumer: Runs the step.
        made_share: What was made over what was taken: by it the step is busy once a backlog is used up.
    """
    if not consumer.is_training:
        return None
    seconds = sum(one.seconds for one in rounds)
    busy_share = 1.0 - sum(waits[: sum(one.batches for one in rounds)]) / seconds
    wait_share = min(1.0, max(0.0, 1.0 - made_share * busy_share))
    step_share: float | None = 1 - wait_share
    if consumer.device != "cpu":
        # The host does not wait for the device between two batches: what its steps take is known from cached ones.
        step_share = None if cached is None else min(1.0, sum(one.samples for one in rounds) / cached / seconds)
    return Feeding(wait_share=wait_share, step_share=step_share, cached_samples_per_second=cached)
