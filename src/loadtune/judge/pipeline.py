"""What torch's DataLoader does with its batches, event by event: the pipeline model in its exact form.

Read in torch 2.14 (``torch/utils/data/dataloader.py``): P·W index lists are sent at first, one worker after another;
for each batch that is handed out one more is sent, before it is returned. ``_try_put_index`` sends it to the worker
whose turn it is; without ``in_order`` to the next in turn that has fewer than P. The main process takes batches off one
queue as they arrive, and only while somebody waits for one; with ``in_order`` a batch that is early is kept until its
turn, and its place stays taken. With pinning a thread takes them off the queue in its stead, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A loader and its consumer, as far as their times go; all in seconds, and 0 where nothing is said."""

    num_workers: int
    """W; 0 loads in the main process, in series with the consumer."""
    prefetch_factor: int = 2
    """P: batches that a worker is sent ahead."""
    in_order: bool = True
    pinned: bool = False
    """Whether a thread takes batches off the queue and pins them."""
    handover_seconds: float = 0.0
    """u: taking one batch off the queue, in the main process or in the thread that pins."""
    pin_seconds: float = 0.0
    """Copying one batch to page-locked memory, in that thread."""
    dispatch_seconds: float = 0.0
    """h: drawing the indices of one batch and sending them, in the main process."""
    latency_seconds: float = 0.0
    """From the end of a batch in its worker until it lies in the queue; the worker goes on meanwhile."""
    consumer_seconds: float = 0.0
    """g: what the consumer does with one batch."""
    start_seconds: float = 0.0
    """Starting one worker; they are started one after another, and nothing is sent before the last one is."""
    ready_seconds: float = 0.0
    """From a worker's start until it takes its first batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """When each batch came out, in seconds from asking for the iterator; in the order of handing out."""

    handed_out_seconds: FloatArray
    wait_seconds: FloatArray
    """How long the consumer waited for each; for the first one from asking for the iterator."""
    epoch_seconds: float
    """End of the consumer's last step."""
    batches: npt.NDArray[np.int64]
    """Which batch it was, by its place in the sampler's order."""

    def batches_per_second(self, rounds_of: int) -> float:
        """Return the steady rate by whole rounds, the first quarter and what an empty queue speeds up left out."""
        times, count = self.handed_out_seconds, len(self.handed_out_seconds)
        first = count // 4
        last = first + (count - 1 - first - count // 20) // rounds_of * rounds_of
        return float((last - first) / (times[last] - times[first]))


def simulate(pipeline: Pipeline, service_seconds: Sequence[float] | FloatArray) -> Passage:
    """Return the passage of one epoch.

    Args:
        pipeline: The loader and its consumer.
        service_seconds: S of each batch in the sampler's order, in its worker: fetching and collating. One for each
            batch of the epoch; a last one that is not full costs less, and it is for the caller to say so.
    """
    service = np.asarray(service_seconds, dtype=np.float64)
    if pipeline.num_workers == 0:
        return _in_series(pipeline, service)
    loader = _Loader(pipeline, service.tolist())
    out, order, step = [], [], pipeline.consumer_seconds
    for place in range(len(service)):
        order.append(loader.next(place))
        out.append(loader.now)
        loader.now += step
    handed_out = np.array(out)
    asked = np.concatenate(([0.0], handed_out[:-1] + step))[: len(out)]
    return Passage(
        handed_out_seconds=handed_out,
        wait_seconds=handed_out - asked,
        epoch_seconds=loader.now,
        batches=np.array(order, dtype=np.int64),
    )


def _in_series(pipeline: Pipeline, service: FloatArray) -> Passage:
    waits = service + pipeline.dispatch_seconds
    ends = np.cumsum(waits + pipeline.consumer_seconds)
    return Passage(
        handed_out_seconds=ends - pipeline.consumer_seconds,
        wait_seconds=waits,
        epoch_seconds=float(ends[-1]) if len(ends) else 0.0,
        batches=np.arange(len(service)),
    )


class _Loader:
    """The main process's side: the time it is there, what was sent, what is on its way."""

    __slots__ = ("_arriving", "_early", "_free", "_pipeline", "_sent", "_service", "_take", "_tasks", "_turn", "now")

    def __init__(self, pipeline: Pipeline, service: list[float]) -> None:
        workers, start = pipeline.num_workers, pipeline.start_seconds
        self._pipeline, self._service = pipeline, service
        self._free = [(worker + 1) * start + pipeline.ready_seconds for worker in range(workers)]
        self._tasks = [0] * workers
        self._turn = self._sent = 0
        self._arriving: list[tuple[float, int, int]] = []
        self._early: dict[int, int] = {}
        self._take = _pinning(pipeline) if pipeline.pinned else _taking(pipeline)
        self.now = workers * start
        for _ in range(workers * pipeline.prefetch_factor):
            self._send()

    def next(self, place: int) -> int:
        """Hand out a batch and return which; ``now`` is when. ``place`` is the one whose turn it is."""
        worker = self._early.pop(place, None)
        batch = place
        while worker is None:
            # Whatever is sent from here on arrives later than all that arrives now: the heap is a queue in order.
            arrived, batch, sender = heappop(self._arriving)
            self.now = self._take(self.now, arrived)
            if batch == place or not self._pipeline.in_order:
                worker = sender
            else:
                self._early[batch] = sender
        self._tasks[worker] -= 1
        self._send()
        return batch

    def _send(self) -> None:
        """Send the next index list, if there is one, to the worker that torch would choose."""
        batch, worker, pipeline = self._sent, self._turn, self._pipeline
        if batch == len(self._service):
            return
        if not pipeline.in_order:
            while self._tasks[worker] >= pipeline.prefetch_factor:
                worker = (worker + 1) % pipeline.num_workers
        self.now += pipeline.dispatch_seconds
        finished = max(self.now, self._free[worker]) + self._service[batch]
        self._free[worker] = finished
        self._tasks[worker] += 1
        self._turn, self._sent = (worker + 1) % pipeline.num_workers, batch + 1
        heappush(self._arriving, (finished + pipeline.latency_seconds, batch, worker))


def _taking(pipeline: Pipeline) -> Callable[[float, float], float]:
    """Return when the main process has a batch that arrived, given when it began to wait."""
    handover = pipeline.handover_seconds
    return lambda now, arrived: max(now, arrived) + handover


def _pinning(pipeline: Pipeline) -> Callable[[float, float], float]:
    """Return the same behind the thread that pins, which takes batches whether or not somebody waits."""
    free, each = 0.0, pipeline.handover_seconds + pipeline.pin_seconds

    def take(now: float, arrived: float) -> float:
        nonlocal free
        free = max(free, arrived) + each
        return max(now, free)

    return take
