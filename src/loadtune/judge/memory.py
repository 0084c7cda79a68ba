"""Whether a configuration stays under the limits: at its measured peak, and at the end of an epoch. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from operator import attrgetter

from loadtune.record.results import MemoryLimits, TrialRecord, TrialResult


def projected_peak_bytes(
    host_peak_bytes: int | None,
    growth_bytes_per_batch: float | None,
    batches_seen: int,
    batches_per_epoch: int | None,
) -> int | None:
    """Return the host memory expected at the end of an epoch, in bytes; None where no peak was measured.

    The growth seen is carried on to the last batch of an epoch. Growth too small to tell from noise (None), shrinking,
    or an epoch of unknown length leave the measured peak.
    """
    if host_peak_bytes is None or growth_bytes_per_batch is None or batches_per_epoch is None:
        return host_peak_bytes
    still_to_come = max(0, batches_per_epoch - batches_seen)
    return host_peak_bytes + round(max(0.0, growth_bytes_per_batch) * still_to_come)


def within_limits(
    *, host_peak_bytes: int | None, projected_bytes: int | None, gpu_peak_bytes: int | None, limits: MemoryLimits
) -> bool | None:
    """Return whether measured and projected peaks are under the limits; None where a limited peak was not measured."""
    host = _under(limits.host_memory_bytes, host_peak_bytes, projected_bytes)
    gpu = _under(limits.gpu_memory_bytes, gpu_peak_bytes, gpu_peak_bytes)
    if host is False or gpu is False:
        return False
    return None if host is None or gpu is None else True


def _under(limit: int | None, peak: int | None, projected: int | None) -> bool | None:
    if limit is None:
        return True
    return None if peak is None else max(peak, projected or 0) <= limit


def needed_bytes(row: TrialResult) -> int | None:
    """Return the host memory of a configuration as all rows are compared by it, in bytes; None where none was measured.

    It is what the limit is held against: the peak with a full queue, carried on to the end of an epoch. A measured peak
    alone depends on how long the trials were: those of the verification see more of a queue and of what grows.
    """
    known = [size for size in (row.host_peak_bytes, row.predicted_host_peak_bytes) if size is not None]
    return max(known) if row.host_peak_bytes is not None else None


Need = Callable[[TrialResult], int | None]
"""What a row takes of a memory, in bytes; None where it was not measured."""


def limited(limits: MemoryLimits) -> tuple[tuple[str, Need, int], ...]:
    """Return each memory that has a limit: its name, what a row is held against it by, and the limit in bytes."""
    both: tuple[tuple[str, Need, int | None], ...] = (
        ("host memory", needed_bytes, limits.host_memory_bytes),
        ("device memory", attrgetter("gpu_peak_bytes"), limits.gpu_memory_bytes),
    )
    return tuple((name, need, limit) for name, need, limit in both if limit is not None)


def host_peak_bytes(records: Sequence[TrialRecord]) -> int | None:
    """Return the largest host memory that any of the trials used, in bytes."""
    return max((r.memory.host_peak_bytes for r in records if r.memory.host_peak_bytes is not None), default=None)


def shm_peak_bytes(records: Sequence[TrialRecord]) -> int | None:
    """Return the largest shared memory that any of the trials used, in bytes."""
    return max((r.memory.shm_peak_bytes for r in records if r.memory.shm_peak_bytes is not None), default=None)


def gpu_peak_bytes(records: Sequence[TrialRecord]) -> int | None:
    """Return the largest device memory of the trials, in bytes: device-wide, else what torch reserved."""
    wide = [r.memory.gpu_peak_bytes for r in records if r.memory.gpu_peak_bytes is not None]
    reserved = [r.steady.gpu_reserved_peak_bytes for r in records if r.steady and r.steady.gpu_reserved_peak_bytes]
    return max(wide or reserved, default=None)


def growth_bytes_per_batch(records: Sequence[TrialRecord]) -> float | None:
    """Return the median growth of the trials that were looked at twice; None unless most of them saw one."""
    looked = [record.memory.growth_bytes_per_batch for record in records if record.memory.samples > 1]
    growths = [growth for growth in looked if growth is not None]
    return statistics.median(growths) if 2 * len(growths) > len(looked) else None


def batches_seen(records: Sequence[TrialRecord]) -> int:
    """Return the batches that the longest trial took in its windows."""
    return max((r.steady.batches_measured for r in records if r.steady), default=0)


def full_queue_peak_bytes(records: Sequence[TrialRecord]) -> int | None:
    """Return the host memory with the workers' queue full, from all trials of one configuration, in bytes.

    Behind a training step slower than the loader P·W batches wait in shared memory and one is in use, (P·W + 1)·B·M in
    all. A trial whose pause was too short to fill the queue has seen less of it; it counts in full.
    """
    peak, config = host_peak_bytes(records), next((record.config for record in records), None)
    emptied = max((r.memory.private_peak_bytes for r in records if r.memory.private_peak_bytes), default=None)
    if peak is None or emptied is None or config is None or not config.num_workers or not shm_peak_bytes(records):
        return peak
    batch_bytes = max((r.steady.bytes_per_batch for r in records if r.steady), default=0.0)
    return max(peak, emptied + round(config.batches_at_once * batch_bytes))


def epoch_peak_bytes(records: Sequence[TrialRecord], batches_per_epoch: int | None) -> int | None:
    """Return the host memory expected at the end of an epoch with a full queue, from all trials, in bytes."""
    growth = growth_bytes_per_batch(records)
    return projected_peak_bytes(full_queue_peak_bytes(records), growth, batches_seen(records), batches_per_epoch)
