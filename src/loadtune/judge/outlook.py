"""What growing memory comes to: by the end of an epoch, and at most; when the limit is reached. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.describe.config import LoaderConfig
from loadtune.judge import memory
from loadtune.judge.growth import Growing, Survey
from loadtune.judge.stretches import coverage, reach, stretches
from loadtune.record.results import Probe, TrialRecord

SETTLED_BATCHES = 150
"""Batches of one process after which its allocator takes no more. Seen with glibc 2.36: samples of 0.6 to 16 MB in
batches of 1 to 16 ended after 130 to 140 of them, smaller samples and larger batches earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Host memory of a configuration that is to come, in bytes."""

    now_bytes: int | None
    """The measured peak with the queue full."""
    epoch_bytes: int | None
    """At the end of the first epoch."""
    most_bytes: int | None
    """When nothing new is left to be kept; None where it is not known to end."""
    later_bytes: int | None = None
    """In later epochs, at least: when each worker has read each sample once, be it a cache or a leak."""
    growing: tuple[Growing, ...] = ()
    seen_samples: float = 0.0
    """What the growth was seen over."""
    settling_bytes: float = 0.0
    """What allocators take more of it, and soon."""
    settling_samples: float = 0.0
    """Until they have."""
    epoch_samples: float = 0.0

    @property
    def worst_bytes(self) -> int | None:
        """What is compared with the limit: the end of the first epoch, or what later ones come to in any case."""
        known = [size for size in (self.epoch_bytes, self.later_bytes) if size is not None]
        return max(known, default=None)

    def reached_samples(self, limit_bytes: int) -> float | None:
        """Return after how many samples of the first epoch the limit is passed; None where it is not.

        Growth that has not ended counts as even, that of allocators as even until it ends.
        """
        if self.now_bytes is None or self.epoch_bytes is None or self.epoch_bytes <= limit_bytes:
            return None
        room, to_come = max(0, limit_bytes - self.now_bytes), self.epoch_bytes - self.now_bytes
        left = max(0.0, self.epoch_samples - self.seen_samples)
        settling = min(self.settling_samples, left)
        steady = (to_come - self.settling_bytes) / left if left else 0.0
        by_then = self.settling_bytes + steady * settling
        if room <= by_then:
            return self.seen_samples + (settling * room / by_then if by_then else 0.0)
        return self.seen_samples + settling + ((room - by_then) / steady if steady else 0.0)


def outlook(
    config: LoaderConfig,
    records: Sequence[TrialRecord],
    found: Survey,
    *,
    probe: Probe,
    batches_per_epoch: int | None,
) -> Outlook:
    """Return what is to come.

    Args:
        config: The settings.
        records: Their trials that gave a rate.
        found: How memory grows.
        probe: N, and what the data set holds that workers share.
        batches_per_epoch: None where it is not known: nothing is projected then.
    """
    now = memory.full_queue_peak_bytes(records)
    if not any(record.memory.looks for record in records):  # of an older run
        projected = memory.epoch_peak_bytes(records, batches_per_epoch)
        return Outlook(now_bytes=now, epoch_bytes=projected, most_bytes=None)
    growing, seen = found.of(config), max(reach(record) for record in records)
    if now is None or batches_per_epoch is None or not growing:
        return Outlook(now_bytes=now, epoch_bytes=now, most_bytes=now if not growing else None, growing=growing)
    size = max(record.steady.samples_per_batch for record in records if record.steady)
    to_come = max(0.0, batches_per_epoch * size - seen)
    ahead = _Ahead(
        config=config,
        samples=probe.dataset_samples,
        batch_samples=size,
        seen=seen,
        to_come=to_come,
        shared_bytes=_to_be_copied(config, records, probe),
        late_samples=max((own[-1].before_samples for own in map(stretches, records) if own), default=0.0),
        copied_bytes=_copied(records) / max(1, config.num_workers),
    )
    most = [ahead.at_most(one) for one in growing]
    return Outlook(
        now_bytes=now,
        epoch_bytes=now + round(sum(ahead.in_epoch(one) for one in growing)),
        most_bytes=None if None in most else now + round(sum(one or 0.0 for one in most)),
        later_bytes=now + round(sum(ahead.later(one) for one in growing)),
        growing=growing,
        seen_samples=seen,
        epoch_samples=batches_per_epoch * size,
        settling_bytes=sum(ahead.in_epoch(one) for one in growing if ahead.settles(one)),
        settling_samples=ahead.unsettled_samples(),
    )


def unmeasured_growth_bytes(
    config: LoaderConfig, found: Survey, *, probe: Probe, seen_samples: float, batches_per_epoch: int | None
) -> int:
    """Return what memory of a configuration that was not measured grows by until the end of an epoch, as of its like.

    Args:
        config: The settings.
        found: How memory grows.
        probe: N, and what the data set holds that workers share.
        seen_samples: Read in a trial, behind which it is counted.
        batches_per_epoch: None where it is not known: nothing is counted then.
    """
    if batches_per_epoch is None:
        return 0
    ahead = _Ahead(
        config=config,
        samples=probe.dataset_samples,
        batch_samples=config.batch_size or 1,
        seen=seen_samples,
        to_come=max(0.0, batches_per_epoch * (config.batch_size or 1) - seen_samples),
        shared_bytes=config.num_workers * (probe.built_bytes or 0),
    )
    return round(sum(ahead.in_epoch(one) for one in found.of(config)))


def _to_be_copied(config: LoaderConfig, records: Sequence[TrialRecord], probe: Probe) -> int:
    """Return the most that copies can still add: what workers share, and no more of each than the data set holds."""
    shared = max((record.memory.looks[-1].shared_bytes for record in records if record.memory.looks), default=0)
    if probe.built_bytes is None:
        return shared
    return min(shared, max(0, config.num_workers * probe.built_bytes - _copied(records)))


def _copied(records: Sequence[TrialRecord]) -> int:
    """Return the bytes of copies that all workers made between the looks of a trial, at the most."""
    return max(sum(one.grown["copies"] for one in stretches(record)) for record in records)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ahead:
    config: LoaderConfig
    samples: int | None
    batch_samples: float
    seen: float
    to_come: float
    shared_bytes: int
    late_samples: float = 0.0
    """Where the last stretch began that growth was seen in."""
    copied_bytes: float = 0.0
    """What a worker was seen to copy."""

    def in_epoch(self, one: Growing) -> float:
        """Return the bytes still to come until the end of the first epoch."""
        if one.kind == "cache":
            return self._kept(one, 1.0)
        if one.kind == "collection":
            return self._collected(one)
        to_come = min(self.to_come, self.unsettled_samples()) if self.settles(one) else self.to_come
        linear = max(0.0, one.bytes_per_sample) * to_come
        return min(linear, self.shared_bytes) if one.kind == "copy-on-write" else linear

    def at_most(self, one: Growing) -> float | None:
        """Return the bytes still to come in all epochs; None where they do not end.

        Workers that are not kept end with their epoch, and what they hold with them.
        """
        if self.config.num_workers and one.part != "main" and not self.config.persistent_workers:
            return self.in_epoch(one)
        if one.kind == "copy-on-write":
            return float(self.shared_bytes)
        if one.kind == "collection":
            return self._collected(one)
        if self.settles(one):
            return max(0.0, one.bytes_per_sample) * self.unsettled_samples()
        return self._kept(one, None) if one.kind == "cache" else None

    def later(self, one: Growing) -> float:
        """Return the bytes still to come until each worker has read each sample, if it lives so long."""
        most = self.at_most(one)
        if most is not None or one.kind != "cache or leak":
            return self.in_epoch(one) if most is None else most
        workers = max(1, self.config.num_workers) if one.part == "workers" else 1
        return max(self.in_epoch(one), one.bytes_per_sample * ((self.samples or 0) * workers - self.seen))

    def settles(self, one: Growing) -> bool:
        """Return whether it is known to end soon: the allocator's, unless it was seen to go on for longer than that."""
        if one.kind == "collection":
            return True
        return one.kind == "allocator" and self.late_samples < self._settled_samples()

    def unsettled_samples(self) -> float:
        """Return the samples to come until no allocator takes more."""
        return max(0.0, self._settled_samples() - self.seen)

    def _settled_samples(self) -> float:
        return SETTLED_BATCHES * self.batch_samples * max(1, self.config.num_workers)

    def _collected(self, one: Growing) -> float:
        """Return what the workers copy at once, where they were not seen to."""
        was_seen = self.copied_bytes >= one.once_bytes / 2
        return 0.0 if was_seen or not self.to_come else one.once_bytes * self.config.num_workers

    def _kept(self, one: Growing, passes: float | None) -> float:
        """Return what a cache takes more until so many passes; None is until every worker has seen every sample."""
        workers = max(1, self.config.num_workers) if one.part == "workers" else 1
        samples = self.samples or 0
        end = 1.0 if passes is None else coverage(passes, workers)
        now = coverage(self.seen / samples, workers) if samples else end
        return one.bytes_per_sample * samples * workers * max(0.0, end - now)
