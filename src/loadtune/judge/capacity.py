"""The pipeline model in its closed form: the rate of thousands of configurations at once, from what a batch costs.

The steady rate is bounded by each part of the pipeline alone: the workers, the cores that all share, the main process,
the thread that pins. Where two bounds are close both slow it down a little, which a norm of their inverses gives. What
a bound is made of is checked against the exact form (``pipeline``), and its costs are fitted (``fit``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from loadtune.describe.config import LoaderConfig

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Value = float | FloatArray

PARTS = ("workers", "cores", "main process", "consumer", "pinning")
"""What can bound a rate."""
ORDER_LOSS = (0.334, 1.711, 1.069, 0.864)
ORDER_LOSS_ALONE = (0.289, 1.329, 1.254, 0.0)
"""Of ``order_efficiency``, for P of 2 or more, and for P = 1."""
TINY = 1e-12
LEAST_SHARE = 0.1
"""Of the cores, that others leave at the least: whoever wants one gets his turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What loading costs on one machine: the parameters of the pipeline model, in seconds unless said otherwise.

    A value may be an array that broadcasts against the configurations: a column gives many variants at once.
    """

    cpu_seconds_per_sample: Value
    """T_c: processor time of one sample in a worker that has a core to itself."""
    blocked_seconds_per_sample: Value = 0.0
    """T_b: waiting for a disk, a network, a sleep."""
    collate_seconds_per_batch: Value = 0.0
    """Processor time of a batch of any size, wherever it is loaded: fetching, collating, the loader's own loop."""
    worker_seconds_per_batch: Value = 0.0
    """b0: what a worker adds to that, handing it over."""
    worker_seconds_per_byte: Value = 0.0
    """w: shared memory is new to a worker with each batch, page by page, where a process keeps its own to use again."""
    handover_seconds_per_batch: Value = 0.0
    handover_seconds_per_tensor: Value = 0.0
    handover_seconds_per_byte: Value = 0.0
    """u: the main process takes a batch off the queue; by batch, by tensor and by byte."""
    wake_seconds_per_batch: Value = 0.0
    """Of the hand-over of a batch, what waking the worker costs that sends it, where it sleeps for want of work."""
    answer_seconds_per_tensor: Value = 0.0
    """What the main process waits for each tensor's descriptor while the worker that sends it computes: a thread of
    that worker answers, and has the interpreter's lock only when the loading thread gives it up."""
    dispatch_seconds_per_sample: Value = 0.0
    """Of h, the main process's other work on a batch: drawing indices, counting."""
    consumer_seconds_per_batch: Value = 0.0
    """g, without what it copies."""
    pin_seconds_per_byte: Value = 0.0
    latency_seconds: Value = 0.0
    """From the end of a batch in a worker until the main process can take it."""
    contention: Value = 0.0
    """σ: share by which each further busy core makes processor time longer (caches, memory, shared cores)."""
    switching: Value = 0.0
    """τ: share of the cores that is lost for each e-fold of processes that want one and have none."""
    in_process_factor: Value = 1.0
    """Time of a sample in the main process (W = 0) over that in a worker."""
    sample_variation: Value = 0.0
    """Squared coefficient of variation of the time of one sample."""
    batch_variation: Value = 0.0
    """What of it does not average out in a batch."""
    cores: Value = 1.0
    """C: cores that the loader has."""
    sharpness: Value = 16.0
    """Exponent of the norm that joins the bounds: the larger, the more the least one alone decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Configurations as arrays, one entry each."""

    batch_size: FloatArray
    num_workers: FloatArray
    prefetch_factor: FloatArray
    in_order: BoolArray
    pinned: BoolArray
    tensors: FloatArray
    """Tensors of a batch."""
    batch_bytes: FloatArray
    """Bytes of a batch in tensors."""
    taken_cores: FloatArray
    """Cores that other work of the machine takes meanwhile."""

    def __len__(self) -> int:
        return len(self.batch_size)


def points(
    configs: Sequence[LoaderConfig],
    *,
    own_batch_size: float = 1.0,
    bytes_per_sample: float = 0.0,
    tensors_per_batch: float = 1.0,
    tensors_per_sample: float = 0.0,
    pins: bool = False,
    taken_cores: float | FloatArray = 0.0,
) -> Points:
    """Return configurations as the closed form takes them.

    Args:
        configs: One for each entry.
        own_batch_size: Samples of a batch where the data set forms the batches.
        bytes_per_sample: M, as it is handed over.
        tensors_per_batch: Tensors of a batch of any size.
        tensors_per_sample: Tensors more for each sample.
        pins: Whether ``pin_memory`` does anything here: without an accelerator torch does not pin.
        taken_cores: Cores that other work takes, of all or of each.
    """
    size = np.array([config.batch_size or own_batch_size for config in configs], dtype=np.float64)
    return Points(
        batch_size=size,
        num_workers=np.array([config.num_workers for config in configs], dtype=np.float64),
        prefetch_factor=np.array([config.prefetch_factor or 1 for config in configs], dtype=np.float64),
        in_order=np.array([config.in_order for config in configs], dtype=np.bool_),
        pinned=np.array([config.pin_memory and pins for config in configs], dtype=np.bool_),
        tensors=tensors_per_batch + tensors_per_sample * size,
        batch_bytes=bytes_per_sample * size,
        taken_cores=np.broadcast_to(np.asarray(taken_cores, dtype=np.float64), size.shape),
    )


def select(points: Points, entries: npt.NDArray[np.int64]) -> Points:
    """Return some of the configurations."""
    return Points(**{name: getattr(points, name)[entries] for name in Points.__dataclass_fields__})


def join(one: Points, other: Points) -> Points:
    """Return the configurations of both, in order."""
    return Points(
        **{name: np.concatenate((getattr(one, name), getattr(other, name))) for name in Points.__dataclass_fields__}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the model says of each configuration."""

    bounds: FloatArray
    """Batches per second that each of ``PARTS`` alone would allow, in that order; infinite where it has no part."""
    batches_per_second: FloatArray
    samples_per_second: FloatArray

    def bounded_by(self, entry: int) -> str:
        """Return the part that bounds a configuration the most."""
        return PARTS[int(np.argmin(self.bounds[:, entry]))]


def order_efficiency(variation: FloatArray, points: Points) -> FloatArray:
    """Return η, the share of the workers' time that waiting for the batch whose turn it is leaves: 1 without order.

    1/(1 + a·c^b·(log₂ W)^d / P^e) with c² the variation of the time of a batch, fitted to the exact form with service
    times of a gamma distribution, c from 0.05 to 1.6, up to 32 workers: 0.4 % off in the median, 7 % at most.
    """
    depth = points.prefetch_factor
    scale, power, spread, relief = (
        np.where(depth > 1, many, one) for many, one in zip(ORDER_LOSS, ORDER_LOSS_ALONE, strict=True)
    )
    rounds = np.log2(np.maximum(points.num_workers, 1.0)) ** spread
    loss = scale * np.sqrt(variation) ** power * rounds / depth**relief
    return np.where(points.in_order, 1.0 / (1.0 + loss), 1.0)


def handover_seconds(costs: Costs, points: Points) -> FloatArray:
    """Return u, what taking a batch of each configuration off the queue costs."""
    return (
        costs.handover_seconds_per_batch
        + costs.handover_seconds_per_tensor * points.tensors
        + costs.handover_seconds_per_byte * points.batch_bytes
    )


def service_seconds(costs: Costs, points: Points) -> FloatArray:
    """Return S, the time of a batch in a worker while as many others run as have a core, and want one."""
    return _waiting_seconds(costs, points, _busy(costs, points))


def cpu_seconds(costs: Costs, points: Points) -> FloatArray:
    """Return the processor time of a batch in all processes of a loader with workers, less that of the step."""
    return _busy(costs, points).seconds + _main_seconds(costs, points)


def capacity(costs: Costs, points: Points) -> Capacity:
    """Return the steady rate of each configuration, with what bounds it."""
    with np.errstate(divide="ignore"):
        busy = _busy(costs, points)
        parts = (_by_workers(costs, points, busy), _by_cores(costs, points, busy), *_by_main(costs, points, busy))
        bounds = np.stack(np.broadcast_arrays(*parts))
        least = np.min(bounds, axis=0)
        rate = least * np.sum((least / bounds) ** costs.sharpness, axis=0) ** (-1.0 / costs.sharpness)
    return Capacity(bounds=bounds, batches_per_second=rate, samples_per_second=points.batch_size * rate)


def available_cores(costs: Costs, points: Points) -> FloatArray:
    """Return the cores that other work leaves to the loader."""
    cores: FloatArray = np.maximum(costs.cores - points.taken_cores, LEAST_SHARE * costs.cores)
    return cores


class _Busy(NamedTuple):
    """The workers of each configuration while they run."""

    seconds: FloatArray
    """Processor time of a batch in one of them."""
    wanted: FloatArray
    """So many want a core at a time."""


def _busy(costs: Costs, points: Points) -> _Busy:
    alone = _alone_seconds(costs, points) + costs.worker_seconds_per_batch
    alone = alone + costs.worker_seconds_per_byte * points.batch_bytes
    wanted = points.num_workers * alone / (alone + costs.blocked_seconds_per_sample * points.batch_size)
    # Only what is busy is in another's way: workers that wait for a disk are not.
    busy = np.minimum(wanted + points.taken_cores, costs.cores)
    return _Busy(alone * (1.0 + costs.contention * np.maximum(0.0, busy - 1.0)), wanted)


def _waiting_seconds(costs: Costs, points: Points, busy: _Busy) -> FloatArray:
    return busy.seconds + costs.blocked_seconds_per_sample * points.batch_size


def _main_seconds(costs: Costs, points: Points) -> FloatArray:
    """Return what a batch takes in the main process, where workers load it."""
    return handover_seconds(costs, points) + costs.dispatch_seconds_per_sample * points.batch_size


def _alone_seconds(costs: Costs, points: Points) -> FloatArray:
    """Return the processor time of loading a batch, in a process that has a core to itself."""
    seconds: FloatArray = costs.cpu_seconds_per_sample * points.batch_size + costs.collate_seconds_per_batch
    return seconds


def _by_workers(costs: Costs, points: Points, busy: _Busy) -> FloatArray:
    variation = costs.sample_variation / points.batch_size + costs.batch_variation
    between = _main_seconds(costs, points)
    # A worker that is sent one batch at a time has none until the main process has taken the last one.
    idle = np.where(points.prefetch_factor == 1, between + costs.latency_seconds, 0.0)
    rate = points.num_workers / (_waiting_seconds(costs, points, busy) + idle)
    return np.where(points.num_workers == 0, np.inf, order_efficiency(variation, points) * rate)


def _by_cores(costs: Costs, points: Points, busy: _Busy) -> FloatArray:
    cores = available_cores(costs, points)
    excess = np.maximum(0.0, busy.wanted / cores - 1.0)
    seconds = busy.seconds + _main_seconds(costs, points)
    rate = cores / seconds / (1.0 + costs.switching * np.log1p(excess))
    return np.where(points.num_workers == 0, np.inf, rate)


def _by_main(costs: Costs, points: Points, busy: _Busy) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the bounds of the main process, the consumer and the thread that pins."""
    takes, alone = handover_seconds(costs, points), points.num_workers == 0
    step = costs.consumer_seconds_per_batch
    draws = costs.dispatch_seconds_per_sample * points.batch_size
    own = np.where(alone, _in_process_seconds(costs, points), np.where(points.pinned, 0.0, takes)) + draws
    # One thread does both, one after the other; the larger part gives the bound its name.
    whole, is_step = _with_answers(costs, points, busy, own + step, ~alone & ~points.pinned), step > own
    pins = _with_answers(costs, points, busy, takes + costs.pin_seconds_per_byte * points.batch_bytes, points.pinned)
    pinning = np.where(points.pinned & ~alone, 1.0 / pins, np.inf)
    return np.where(is_step, np.inf, 1.0 / whole), np.where(is_step, 1.0 / whole, np.inf), pinning


def _in_process_seconds(costs: Costs, points: Points) -> FloatArray:
    """Return what loading a batch takes without workers; what they do to hand one over nobody does here."""
    busy = np.minimum(1.0 + points.taken_cores, costs.cores)
    slowed = 1.0 + costs.contention * np.maximum(0.0, busy - 1.0)
    share = np.minimum(1.0, available_cores(costs, points))
    computing = _alone_seconds(costs, points) * slowed / share
    seconds: FloatArray = computing + costs.blocked_seconds_per_sample * points.batch_size
    return costs.in_process_factor * seconds


def _with_answers(costs: Costs, points: Points, busy: _Busy, own: FloatArray, takes: BoolArray) -> FloatArray:
    """Return the time between two batches in the thread that takes them, with what it waits for the sending worker.

    A worker that sleeps has to be woken, and one that computes answers late. With a the thread's own work and a waking,
    w what an answer takes longer than a waking, and s the processor time of a batch in one of W workers, a worker
    computes for the share s/(W·x) of the time x between two batches: x = a + w·s/(W·x). No share is larger than that of
    a worker that never waits.
    """
    workers = np.maximum(points.num_workers, 1.0)
    asleep = own + np.where(takes, costs.wake_seconds_per_batch, 0.0)
    late = np.where(takes, costs.answer_seconds_per_tensor * points.tensors - costs.wake_seconds_per_batch, 0.0)
    solved = 0.5 * (asleep + np.sqrt(np.maximum(0.0, asleep**2 + 4.0 * late * busy.seconds / workers)))
    computing = np.minimum(busy.wanted / workers, busy.seconds / workers / np.maximum(solved, TINY))
    seconds: FloatArray = asleep + late * computing
    return seconds


def epoch_seconds(
    costs: Costs,
    points: Points,
    batches: FloatArray,
    *,
    start_seconds: Value = 0.0,
    ready_seconds: Value = 0.0,
    last_share: Value = 1.0,
) -> FloatArray:
    """Return what an epoch of so many batches takes, from asking for the iterator to the end of the last step.

    Workers run in rounds: n batches take ⌈n/W⌉ of them, so that the last one may find most workers without a batch.

    Args:
        costs: Of the loader.
        points: Configurations.
        batches: n, for each of them.
        start_seconds: Starting one worker.
        ready_seconds: From a worker's start until it takes its first batch.
        last_share: Samples of the last batch, as a share of a full one.
    """
    workers, found = np.maximum(points.num_workers, 1.0), capacity(costs, points)
    takes, service = handover_seconds(costs, points), service_seconds(costs, points)
    rounds, whole = np.ceil(batches / workers), batches - 1.0 + last_share
    in_last = batches - (rounds - 1) * workers

    def first_batch(worker: FloatArray | float) -> FloatArray:
        begins = np.maximum(workers * start_seconds, worker * start_seconds + ready_seconds)
        return begins + service + costs.latency_seconds + takes

    # The workers of the last round end one after another as they were started, the last one earlier where its batch is
    # cut short, or as their batches can be taken.
    last = first_batch(in_last) - (1.0 - last_share) * service
    others = np.maximum(first_batch(in_last - 1), first_batch(1.0) + (in_last - 1) * takes)
    burst = np.where(in_last > 1, np.maximum(last, others), last)
    with np.errstate(divide="ignore"):
        # Close bounds slow each other, the workers' and the others' alike.
        slowed = np.min(found.bounds, axis=0) / found.batches_per_second
        cycle = slowed * workers / found.bounds[0]
        # A short batch in the last round may come before the last of the round before.
        before = np.where(rounds > 1, first_batch(workers) + (rounds - 2) * cycle, 0.0)
        by_rounds = np.maximum(burst + (rounds - 1) * cycle, before)
        by_others = first_batch(1.0) + slowed * np.maximum(whole - 1.0, 0.0) / np.min(found.bounds[1:], axis=0)
    loaded = np.maximum(by_rounds, by_others) + costs.consumer_seconds_per_batch
    return np.where(points.num_workers == 0, whole / found.batches_per_second, loaded)
