"""The resident-memory model: what a configuration holds on the host, in shared memory and on the device. Pure.

Host memory of a loader's processes is, with W workers of P batches ahead, B samples a batch and M bytes a sample,

    base + W·(u + copies) + what a process that makes batches goes on to hold + (P·W + 1)·B·M + pinned

in proportional set sizes. How large each part is here is fitted to the trials of the sweep (``ridge``); what they say
nothing about stays at what is usual. Batches in shared memory are not fitted: they follow from the batches themselves.
"""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loadtune.describe.config import LoaderConfig
from loadtune.judge import memory, ridge
from loadtune.judge.evidence import by_group, group_of, measured
from loadtune.judge.feasible import start_method
from loadtune.judge.ridge import Belief
from loadtune.judge.stretches import pinned_bytes, reach
from loadtune.record.results import Probe, TrialRecord

MIB = 1 << 20
PAGE_BYTES = 4096
LOADER_SEMAPHORES = 8
"""Of the queue of batches, three, and of the event that ends the workers, five."""
WORKER_SEMAPHORES = 3
"""Of the queue of its index lists."""
LEAST_MEASURED = 3
"""Configurations whose memory was looked at, below which nothing is predicted."""
NOISE_SHARE = 0.005
NOISE_BYTES = MIB
"""Spread of one look: allocators and the moment. The larger of the two."""
BEYOND_SHARE = 0.02
"""Of what a process has: spread of what the parts leave over for a number of workers."""

PARTS = (
    "base_bytes",
    "any_worker_bytes",
    "worker_bytes",
    "fresh_worker_bytes",
    "worker_batches",
    "main_batches",
    "waiting_batches",
    "pinned_share",
    "grown_bytes_per_sample",
)
"""What is fitted: by process; where there are workers at all; by worker that is forked, or started anew; in batches
that each worker holds, or a main process that loads itself; in shares of the batches that wait in a worker's own
memory, and of page-locked blocks; by sample read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of one configuration with its queue full, in bytes."""

    host_bytes: int
    """Resident on the host, all of the below but the device included."""
    shm_bytes: int
    """Batches in shared memory, (P·W + 1)·B·M of tensors."""
    pinned_bytes: int
    """Page-locked memory."""
    device_bytes: int | None
    """None where no trial has seen a device."""


class _Seen(NamedTuple):
    """One trial whose memory was looked at."""

    group: LoaderConfig
    private_bytes: int
    """Resident, shared memory left out."""
    samples: float
    """Read by the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batches:
    """How large batches are: bytes = e^level · B^slope, which padding makes steeper than B."""

    level: float
    slope: float
    own_size: float
    shared_share: float
    """Part of a batch in tensors; the rest is sent through a pipe."""
    tensors: tuple[float, float]
    """Of a batch of any size, and more for each sample."""

    def size(self, config: LoaderConfig) -> float:
        """Return the bytes of a batch."""
        return math.exp(self.level + self.slope * math.log(config.batch_size or self.own_size))

    def shared_size(self, config: LoaderConfig) -> float:
        """Return what it takes of shared memory: each tensor whole pages, half a page too much in the mean."""
        bare = self.shared_share * self.size(config)
        count = self.tensors[0] + self.tensors[1] * (config.batch_size or self.own_size)
        return bare + count * PAGE_BYTES / 2 if bare else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """The model as fitted."""

    parameters: Mapping[str, float]
    """By the names of ``PARTS``; and of the device, where there is one."""
    probe: Probe
    batches: _Batches
    usual_samples: float
    """Read by a trial until it was looked at, in the median."""

    def of(self, config: LoaderConfig, samples: float | None = None) -> Footprint:
        """Return what a configuration takes, measured or not, when so many samples are read; None is as in a trial."""
        row = _row(config, self.probe, self.batches, self.usual_samples if samples is None else samples)
        private = ridge.dot(row, [self.parameters[name] for name in PARTS])
        private += self.parameters.get(_beyond(config.num_workers), 0.0)
        shared = _shared(config, self.batches)
        device = None
        if "device_bytes" in self.parameters:
            per_batch = self.parameters["device_batches"] * self.batches.size(config)
            device = round(self.parameters["device_bytes"] + per_batch)
        return Footprint(
            host_bytes=round(private + shared),
            shm_bytes=round(shared),
            pinned_bytes=round(self.parameters["pinned_share"] * row[PARTS.index("pinned_share")]),
            device_bytes=device,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How far the model is off for what it has not seen."""

    unseen: Mapping[LoaderConfig, Footprint]
    """What a fit to the others says of each configuration whose memory was looked at."""
    errors: tuple[float, ...]
    """Its host memory over the measured one with a full queue, less one."""

    @property
    def median_abs_error(self) -> float:
        """Median error of host memory, as a share."""
        return plain.median(map(abs, self.errors))

    @property
    def p90_abs_error(self) -> float:
        """The error that nine of ten stay under."""
        ordered = sorted(map(abs, self.errors))
        return ordered[math.ceil(0.9 * len(ordered)) - 1]


def resident(records: Sequence[TrialRecord], probe: Probe) -> Resident | None:
    """Return the model as fitted to the trials whose memory was looked at; None where there are too few.

    Args:
        records: Every trial.
        probe: The data set.
    """
    groups = {group: ok for group, trials in by_group(records).items() if (ok := measured(trials))}
    seen = [one for group, trials in groups.items() for record in trials if (one := _seen(group, record))]
    if len({one.group for one in seen}) < LEAST_MEASURED or probe.dataset_kind == "loader":
        return None
    batches = _batches(groups, probe)
    return Resident(
        parameters=_fit(seen, probe, batches) | _device_parameters(groups, batches),
        probe=probe,
        batches=batches,
        usual_samples=plain.median(one.samples for one in seen),
    )


def check(records: Sequence[TrialRecord], probe: Probe) -> Check | None:
    """Return what a fit to all others says of each configuration, and how far that is off; None without enough."""
    unseen: dict[LoaderConfig, Footprint] = {}
    errors: list[float] = []
    for group, trials in by_group(records).items():
        ok = measured(trials)
        samples = [one.samples for record in ok if (one := _seen(group, record))]
        others = resident([record for record in records if group_of(record.config) != group], probe)
        true = memory.full_queue_peak_bytes(ok)
        if samples and true and others is not None:
            unseen[group] = others.of(group, plain.median(samples))
            errors.append(unseen[group].host_bytes / true - 1)
    return Check(unseen=unseen, errors=tuple(errors)) if errors else None


def _shared(config: LoaderConfig, batches: _Batches) -> float:
    """Return the bytes in shared memory: P·W + 1 batches, and a page for each semaphore of the queues."""
    if not config.num_workers:
        return 0.0
    semaphores = LOADER_SEMAPHORES + WORKER_SEMAPHORES * config.num_workers
    return config.batches_at_once * batches.shared_size(config) + PAGE_BYTES * semaphores


def _seen(group: LoaderConfig, record: TrialRecord) -> _Seen | None:
    looks = record.memory.looks
    if looks:
        private = max(look.resident_bytes - look.shm_bytes for look in looks)
        return _Seen(group, private, reach(record))
    if record.memory.private_peak_bytes is None:
        return None
    return _Seen(group, record.memory.private_peak_bytes, float(record.steady.samples_measured if record.steady else 0))


def _fit(seen: Sequence[_Seen], probe: Probe, batches: _Batches) -> dict[str, float]:
    rows = [_row(one.group, probe, batches, one.samples) for one in seen]
    values = [float(one.private_bytes) for one in seen]
    spreads = [max(NOISE_BYTES, NOISE_SHARE * value) for value in values]
    most = max((one.samples for one in seen), default=0.0)
    counts = sorted({one.group.num_workers for one in seen} - {0})
    rows = [
        [*row, *(float(one.group.num_workers == count) for count in counts)]
        for row, one in zip(rows, seen, strict=True)
    ]
    beliefs = _beliefs(min(values), most, probe)
    beliefs += [Belief(centre=0.0, spread=BEYOND_SHARE * min(values), signed=True)] * len(counts)
    names = (*PARTS, *map(_beyond, counts))
    return dict(zip(names, ridge.fit(rows, values, spreads, beliefs), strict=True))


def _beyond(workers: int) -> str:
    """Return the name of what all configurations with so many workers have more, or less, than the parts come to.

    Whether a worker has made pages of its parent its own by the time of a look is no matter of its number alone.
    """
    return f"beyond_bytes_of_{workers}_workers"


def _beliefs(least: float, most_samples: float, probe: Probe) -> list[Belief]:
    """Return what is usual: of a process with torch that is forked, and of one that imports it anew."""
    fresh = float(probe.resident_bytes or 250 * MIB)
    return [
        Belief(centre=least, spread=0.1 * least),
        Belief(centre=10.0 * MIB, spread=20.0 * MIB),
        Belief(centre=30.0 * MIB, spread=90.0 * MIB),
        Belief(centre=0.7 * fresh, spread=0.5 * fresh),
        Belief(centre=1.0, spread=1.0),
        Belief(centre=2.0, spread=1.5),
        Belief(centre=1.0, spread=0.3),
        Belief(centre=1.0, spread=0.3),
        # Forked workers make pages of their parent their own with the samples they read: up to a tenth in a trial.
        Belief(centre=0.0, spread=0.1 * least / max(1.0, most_samples)),
    ]


def _row(config: LoaderConfig, probe: Probe, batches: _Batches, samples: float) -> list[float]:
    """Return the factor of each of ``PARTS``; their sum is host memory without what lies in shared memory."""
    workers, size = config.num_workers, batches.size(config)
    forked = start_method(config, probe) in (None, "fork")
    waiting = config.batches_at_once * size * (1 - batches.shared_share) if workers else 0.0
    pins = config.pin_memory and probe.accelerator is not None
    return [
        1.0,
        float(workers > 0),
        float(workers if forked else 0),
        float(0 if forked else workers),
        workers * size,
        0.0 if workers else size,
        waiting,
        pinned_bytes(config, size) if pins else 0.0,
        samples,
    ]


def _batches(groups: Mapping[LoaderConfig, Sequence[TrialRecord]], probe: Probe) -> _Batches:
    """Return how large batches are, as they were received; by the probe where none was."""
    seen = [one.steady for trials in groups.values() for one in trials if one.steady and one.steady.bytes_per_batch]
    own = plain.median(one.samples_per_batch for one in seen) if seen else 1.0
    per_sample, shared = probe.bytes_per_sample or 0.0, probe.shared_bytes_per_sample
    share = shared / per_sample if per_sample and shared is not None else 1.0
    at = [(math.log(one.samples_per_batch), math.log(one.bytes_per_batch)) for one in seen if one.samples_per_batch > 0]
    level, slope = _line(at) if at else (math.log(max(per_sample, 1e-9)), 1.0)
    tensors = (probe.tensors_per_batch or 0.0, probe.tensors_per_sample)
    return _Batches(level=level, slope=slope, own_size=own, shared_share=share, tensors=tensors)


def _line(at: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return level and slope of the line through the points; a slope of 1 where all are one size."""
    x, y = plain.fmean(a for a, _ in at), plain.fmean(b for _, b in at)
    across = sum((a - x) ** 2 for a, _ in at)
    slope = sum((a - x) * (b - y) for a, b in at) / across if across > 1e-9 else 1.0  # noqa: PLR2004 - is one size
    return y - slope * x, slope


def _device_parameters(groups: Mapping[LoaderConfig, Sequence[TrialRecord]], batches: _Batches) -> dict[str, float]:
    """Return fixed + slope·batch of device memory; nothing where no trial has seen any."""
    peaks = {group: float(peak) for group, trials in groups.items() if (peak := memory.gpu_peak_bytes(trials))}
    if not peaks:
        return {}
    beliefs = [Belief(centre=min(peaks.values()), spread=min(peaks.values())), Belief(centre=2.0, spread=2.0)]
    rows = [[1.0, batches.size(group)] for group in peaks]
    spreads = [max(NOISE_BYTES, NOISE_SHARE * peak) for peak in peaks.values()]
    found = ridge.fit(rows, list(peaks.values()), spreads, beliefs)
    return {"device_bytes": found[0], "device_batches": found[1]}
