"""What cannot run here, told by arithmetic before it is tried: trying it is a bus error, a silent hang or a kill.

A configuration is refused only for what it needs in any case, behind a training step that is slower than the loader.
What may fail, and may not, is tried.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadtune.describe.config import LoaderConfig
from loadtune.record.failure import FailureKind
from loadtune.record.results import Environment, MemoryLimits, Probe
from loadtune.record.shared_memory import SHM
from loadtune.units import format_bytes

FILES_OF_A_PROCESS = 16
"""Descriptors that a process with torch and a loader has open besides: standard streams, pipes, the line to us."""
FILES_OF_A_WORKER = 3
"""Descriptors that the main process holds for each worker: its queue's two ends and what tells of its end."""
TASKS_OF_A_WORKER = 2
"""The process and the thread that hands its batches over; a limit of tasks counts threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a configuration is not tried."""

    kind: FailureKind
    reason: str


def refusal(config: LoaderConfig, *, probe: Probe, environment: Environment, limits: MemoryLimits) -> Refusal | None:
    """Return why ``config`` cannot run on this machine, or None where nothing known speaks against it."""
    reasons = (
        _shared_memory(config, probe, environment.shm_free_bytes),
        _queue_memory(config, probe, limits.host_memory_bytes),
        _resident_memory(config, probe, environment),
        _open_files(config, probe, environment.open_files_most),
        _tasks(config, environment),
        _start(config, probe),
    )
    return next((reason for reason in reasons if reason is not None), None)


def _shared_memory(config: LoaderConfig, probe: Probe, free_bytes: int | None) -> Refusal | None:
    """(P·W + 1)·B·M of tensors, which workers hand over through /dev/shm."""
    if not config.num_workers or config.batch_size is None or not probe.shared_bytes_per_sample or free_bytes is None:
        return None
    batch_bytes = config.batch_size * probe.shared_bytes_per_sample
    needed = config.batches_at_once * batch_bytes
    if needed <= free_bytes:
        return None
    fit = int(free_bytes // batch_bytes)
    room = f"{fit} of these batches" if fit > 1 else ("one of these batches" if fit else "not one of these batches")
    return Refusal(
        kind="shm_full",
        reason=f"{_queue(config)} of {format_bytes(batch_bytes)} need {format_bytes(needed)} of shared memory, and "
        f"{SHM} has {format_bytes(free_bytes)} free: room for {room}",
    )


def _queue_memory(config: LoaderConfig, probe: Probe, limit_bytes: int | None) -> Refusal | None:
    """(P·W + 1)·B·M alone: a limit that was asked for kills nothing, and what else there is is measured against it."""
    if config.batch_size is None or not probe.bytes_per_sample or limit_bytes is None:
        return None
    batch_bytes = config.batch_size * probe.bytes_per_sample
    needed = config.batches_at_once * batch_bytes
    if needed <= limit_bytes:
        return None
    return Refusal(
        kind="host_oom",
        reason=f"{_queue(config)} of {format_bytes(batch_bytes)} alone need {format_bytes(needed)} of host memory, and "
        f"the limit is {format_bytes(limit_bytes)}",
    )


def _resident_memory(config: LoaderConfig, probe: Probe, environment: Environment) -> Refusal | None:
    """Main + (P·W + 1)·B·M against what the machine allows, beyond which the kernel kills.

    What each worker adds, W·(u_w + ρ·D), is known only when it runs, and nobody is refused for it.
    """
    needed, resident = least_bytes(config, probe), probe.resident_bytes
    if needed is None or resident is None or needed <= environment.host_memory_limit_bytes:
        return None
    return Refusal(
        kind="host_oom",
        reason=f"one process with torch and the data set has {format_bytes(resident)}, and with "
        f"{_queue(config)}, {format_bytes(needed - resident)}, that is {format_bytes(needed)} of host memory "
        f"before any worker's own, of {format_bytes(environment.host_memory_limit_bytes)} "
        f"({environment.host_memory_limit_source})",
    )


def least_bytes(config: LoaderConfig, probe: Probe) -> float | None:
    """Return the host memory that a configuration needs in any case, Main + (P·W + 1)·B·M; None where it is unknown.

    Bytes. What each worker adds is not in it.
    """
    if config.batch_size is None or not probe.bytes_per_sample or probe.resident_bytes is None:
        return None
    return probe.resident_bytes + config.batches_at_once * config.batch_size * probe.bytes_per_sample


def _queue(config: LoaderConfig) -> str:
    count = config.batches_at_once
    if count == 1:
        return "one batch"
    return f"{count:,} batches (prefetch_factor {config.prefetch_factor} × {config.num_workers} workers + 1)"


def _open_files(config: LoaderConfig, probe: Probe, most: int | None) -> Refusal | None:
    """A tensor on its way holds a descriptor: in a worker those of its queue, in the main process two batches'."""
    if not config.num_workers or probe.tensors_per_batch is None or most is None:
        return None
    size = config.batch_size or 0
    tensors = round(probe.tensors_per_batch + probe.tensors_per_sample * size)
    worker = FILES_OF_A_PROCESS + tensors * ((config.prefetch_factor or 0) + 1)
    main = FILES_OF_A_PROCESS + tensors * 2 + FILES_OF_A_WORKER * config.num_workers
    if max(worker, main) <= most:
        return None
    who = "each worker" if worker >= main else "the main process"
    return Refusal(
        kind="open_files",
        reason=f"{tensors:,} tensors a batch and {config.num_workers} workers need {max(worker, main):,} open files in "
        f"{who}, and no more than {most:,} are allowed (ulimit -Hn)",
    )


def _tasks(config: LoaderConfig, environment: Environment) -> Refusal | None:
    """Processes and threads that a control group still allows."""
    free, needed = environment.tasks_free, config.num_workers * TASKS_OF_A_WORKER
    if not needed or free is None or needed <= free:
        return None
    return Refusal(
        kind="environment",
        reason=f"{config.num_workers} workers need {needed:,} processes and threads, and {free:,} more are allowed "
        f"({environment.tasks_free_source})",
    )


def start_method(config: LoaderConfig, probe: Probe) -> str | None:
    """Return how the workers of ``config`` are started; None without workers, or where the default is not known."""
    if not config.num_workers:
        return None
    return config.multiprocessing_context or probe.default_start_method


def _start(config: LoaderConfig, probe: Probe) -> Refusal | None:
    """What cannot be pickled cannot be sent to a worker that is not a fork."""
    method = start_method(config, probe)
    if probe.unpicklable is None or method in (None, "fork"):
        return None
    return Refusal(kind="pickle", reason=f"workers started by {method} cannot be sent {probe.unpicklable}")
