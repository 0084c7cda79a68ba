"""What a whole epoch takes: run whole where it was short, else put together from its start and the steady rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from loadtune.describe.config import LoaderConfig
from loadtune.judge.document import batches_per_epoch
from loadtune.record.results import EpochMeasurement, Probe, SteadyMeasurement, TrialRecord, TrialResult

TELLING_EPOCH_LOSS = 0.9
"""An epoch slower than this share of the steady rate is mentioned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochShape:
    """How many batches and samples an epoch of one configuration has."""

    batches: int
    samples: int
    """Samples received; those that drop_last leaves out are not among them."""
    dropped: int
    """Samples left out."""


class EpochParts(NamedTuple):
    """What the time of an epoch goes to, in seconds."""

    first: float
    """Until the first batch is there."""
    steady: float
    """At the steady rate."""
    rest: float
    """What is left: the end, where workers run dry."""

    @property
    def whole(self) -> float:
        """The epoch."""
        return sum(self)


def parts_of(row: TrialResult) -> EpochParts | None:
    """Return the parts of an epoch of a row; None where no epoch of it is known.

    Persistent workers are there from the second epoch on: what comes first then is one round of theirs.
    """
    rate, whole, first = row.samples_per_second, row.epoch_seconds, row.first_batch_seconds
    if not rate or not whole or first is None or row.epoch_samples_per_second is None:
        return None
    used = row.epoch_samples_per_second * whole
    if row.persistent_workers and not row.epoch_was_run:
        first = min(first, row.num_workers * (row.batch_size or 0) / rate)
    if not all(map(math.isfinite, (rate, whole, first, used))):
        return None
    first = min(first, whole)
    steady = min(max(used - (row.batch_size or 0), 0.0) / rate, whole - first)
    return EpochParts(first, steady, whole - first - steady)


def tail_seconds(row: TrialResult) -> float | None:
    """Return what an epoch takes beyond its start-up and its samples at the steady rate; None where it is not known.

    Start-up is what the first batch takes beyond one round of the workers. A loader that its main process bounds has no
    rounds to speak of, and nothing beyond.
    """
    parts, start = parts_of(row), start_seconds(row)
    if parts is None or start is None or not row.samples_per_second or not row.num_workers:
        return None
    used = (row.epoch_samples_per_second or 0.0) * parts.whole
    return max(0.0, parts.whole - start - used / row.samples_per_second)


def start_seconds(row: TrialResult) -> float | None:
    """Return what the first batch takes beyond the loading of one round: what kept workers spare in each later epoch.

    A round is a batch of each worker, or one where there are none. None where no epoch is known.
    """
    parts = parts_of(row)
    if parts is None or not row.samples_per_second:
        return None
    return max(0.0, parts.first - max(row.num_workers, 1) * (row.batch_size or 0) / row.samples_per_second)


def epoch_is_telling(row: TrialResult) -> bool:
    """Return whether the rate over an epoch tells another story than the steady rate: it is well below it."""
    steady, epoch = row.samples_per_second, row.epoch_samples_per_second
    return steady is not None and epoch is not None and epoch < TELLING_EPOCH_LOSS * steady


def epoch_shape(config: LoaderConfig, probe: Probe, samples_per_batch: float | None = None) -> EpochShape | None:
    """Return the shape that follows from N and B; None where the data set has no length.

    Where the data set forms the batches, B is the mean that was received.
    """
    size = config.batch_size or samples_per_batch
    if probe.dataset_samples is None or not size:
        return None
    if config.batch_size is None:
        return EpochShape(batches=max(1, round(probe.dataset_samples / size)), samples=probe.dataset_samples, dropped=0)
    batches = batches_per_epoch(probe.dataset_samples, config.batch_size, drop_last=config.drop_last)
    used = min(probe.dataset_samples, batches * config.batch_size)
    return EpochShape(batches=batches, samples=used, dropped=probe.dataset_samples - used)


def composed_epoch_seconds(
    config: LoaderConfig, shape: EpochShape, *, rate: float, first_batch_seconds: float, batch_size: float
) -> float:
    """Return the seconds of an epoch from its first batch and the steady rate in samples per second.

    Without workers: the first batch, then the other samples at the steady rate. With W workers batches come in rounds
    of W, and a round takes S = W·B/rate, the service time of a batch: the first batch + (rounds − 1)·S; a last round
    that holds only the partial batch costs its share of S. Where the consumer or the cores are the limit, not the
    workers, this overstates by less than one round, W/n of the epoch; epochs so short that this matters are run whole.

    With persistent workers the start is paid once in a run, not in each epoch, and is left out: this is the time of an
    epoch from the second on.
    """
    if shape.batches == 0:
        return 0.0
    workers = config.num_workers
    if workers == 0:
        return first_batch_seconds + max(0.0, shape.samples - batch_size) / rate
    service = workers * batch_size / rate
    start = service if config.persistent_workers else first_batch_seconds
    rounds = -(-shape.batches // workers)
    partial = shape.samples - (shape.batches - 1) * batch_size
    last = partial / batch_size if rounds > 1 and shape.batches % workers == (1 % workers) else 1.0
    return start + max(0, rounds - 2) * service + (service * min(1.0, last) if rounds > 1 else 0.0)


def run_epoch(steady: SteadyMeasurement, *, drop_last: bool) -> EpochMeasurement | None:
    """Return the epoch with this ``drop_last`` that was run whole in a trial, or None."""
    return next((one for one in steady.epochs if one.drop_last == drop_last and one.seconds > 0 and one.samples), None)


def steady_rate(steady: SteadyMeasurement) -> float | None:
    """Return the samples per second of a trial over all its windows; None where it has none."""
    if steady.measured_seconds > 0 and steady.samples_measured > 0:
        return steady.samples_measured / steady.measured_seconds
    rates = steady.window_samples_per_second
    return sum(rates) / len(rates) if rates and min(rates) > 0 else None


def epoch_rate(record: TrialRecord, config: LoaderConfig, probe: Probe) -> float | None:
    """Return samples used in an epoch over its seconds, by one trial; None where N or the rate is unknown."""
    steady = record.steady
    if steady is None:
        return None
    run, rate = run_epoch(steady, drop_last=config.drop_last), steady_rate(steady)
    if run is not None:
        return run.samples / run.seconds
    shape = epoch_shape(config, probe, steady.samples_per_batch)
    if rate is None or shape is None or shape.batches == 0:
        return None
    size = float(config.batch_size or steady.samples_per_batch)
    seconds = composed_epoch_seconds(
        config, shape, rate=rate, first_batch_seconds=steady.first_batch_seconds, batch_size=size
    )
    return shape.samples / seconds if seconds > 0 else None
