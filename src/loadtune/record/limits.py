"""The limits of processors and memory that bound this process: every one of them, and the least.

Each candidate is one training process's part of it, so that the least of them is the one in force.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from loadtune.record import cgroups
from loadtune.record.mounts import read_text

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """What the kernel grants this process, asked of the kernel and not read from files; None where it does not say."""

    affinity_cpus: int | None = None
    """CPUs the process may run on."""
    address_space_bytes: int | None = None
    """RLIMIT_AS."""
    open_files: int | None = None
    """RLIMIT_NOFILE, the soft limit."""
    open_files_most: int | None = None
    """RLIMIT_NOFILE, the hard limit: what the soft one may be raised to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A limit, and where it comes from."""

    amount: float
    """CPUs or bytes."""
    source: str
    """For people, such as ``cgroup v2 /a/b memory.max``."""
    shared: bool = True
    """Whether all training processes of this machine share it; False for a limit of each process."""


def read_process_limits() -> ProcessLimits:
    """Return what the kernel grants this process."""
    return ProcessLimits(
        affinity_cpus=_affinity_cpus(),
        address_space_bytes=_resource_limit("RLIMIT_AS"),
        open_files=_resource_limit("RLIMIT_NOFILE"),
        open_files_most=_resource_limit("RLIMIT_NOFILE", hard=True),
    )


def cpu_limits(environ: Mapping[str, str], *, root: Path, process: ProcessLimits) -> tuple[InForce, ...]:
    """Return every bound on the CPUs that one training process can use, the machine's own count first.

    Args:
        environ: The environment variables, for SLURM and LOCAL_WORLD_SIZE.
        root: Root of the file tree that holds ``proc`` and ``sys``.
        process: Limits of this process.
    """
    return tuple(_per_rank(limit, environ) for limit in _cpu_limits(environ, root, process))


def memory_limits(environ: Mapping[str, str], *, root: Path, process: ProcessLimits) -> tuple[InForce, ...]:
    """Return every bound on the host memory of one training process, physical memory first; as `cpu_limits`."""
    return tuple(_per_rank(limit, environ) for limit in _memory_limits(environ, root, process))


def least(limits: Iterable[InForce]) -> InForce:
    """Return the limit in force; the first of equals is the one named."""
    return min(limits, key=lambda limit: limit.amount)


def local_ranks(environ: Mapping[str, str]) -> int | None:
    """Return the training processes on this machine, as torchrun tells them (LOCAL_WORLD_SIZE); None where unsaid."""
    return _positive(environ, "LOCAL_WORLD_SIZE")


def _per_rank(limit: InForce, environ: Mapping[str, str]) -> InForce:
    """Return one training process's part: torchrun starts LOCAL_WORLD_SIZE of them, and they share the machine."""
    ranks = local_ranks(environ)
    if ranks is None or ranks == 1 or not limit.shared:
        return limit
    return replace(limit, amount=limit.amount / ranks, source=f"{limit.source} / {ranks} local ranks")


def _affinity_cpus() -> int | None:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # not on macOS
    return None if affinity is None else len(affinity(0))


def _resource_limit(name: str, *, hard: bool = False) -> int | None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    number = getattr(resource, name, None)
    if number is None:
        return None
    limit = resource.getrlimit(number)[1 if hard else 0]
    return None if limit == resource.RLIM_INFINITY else limit


def _cpu_limits(environ: Mapping[str, str], root: Path, process: ProcessLimits) -> Iterator[InForce]:
    yield InForce(amount=os.cpu_count() or 1, source="logical CPUs")
    if process.affinity_cpus is not None:
        yield InForce(amount=process.affinity_cpus, source="CPU affinity")
    for quota, source in cgroups.cpu_limits(root):
        yield InForce(amount=quota, source=source)
    # The second is set only where the job asked for a number of its own; the first always, and bounds it as well.
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"):
        cpus = _positive(environ, name)
        if cpus is not None:
            yield InForce(amount=cpus, source=name)


def _memory_limits(environ: Mapping[str, str], root: Path, process: ProcessLimits) -> Iterator[InForce]:
    yield InForce(amount=_physical_memory(root), source="physical memory")
    for limit, source in cgroups.memory_limits(root):
        yield InForce(amount=limit, source=source)
    if process.address_space_bytes is not None:
        yield InForce(amount=process.address_space_bytes, source="RLIMIT_AS (ulimit -v)", shared=False)
    yield from _slurm_memory(environ)


def _slurm_memory(environ: Mapping[str, str]) -> Iterator[InForce]:
    """Yield the memory of this machine that SLURM allots to the job; its unit is MiB, and 0 is all of it."""
    of_node = _positive(environ, "SLURM_MEM_PER_NODE")
    if of_node is not None:
        yield InForce(amount=of_node * MIB, source="SLURM_MEM_PER_NODE")
    for unit, counts in (
        ("CPU", ("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK")),
        ("GPU", ("SLURM_GPUS_ON_NODE",)),
    ):
        each = _positive(environ, f"SLURM_MEM_PER_{unit}")
        count = next((number for name in counts if (number := _positive(environ, name)) is not None), None)
        if each is not None and count is not None:
            yield InForce(amount=each * count * MIB, source=f"SLURM_MEM_PER_{unit} × {count} {unit}s")


def _positive(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if re.fullmatch("[0-9]+", text) and int(text) > 0 else None


def _physical_memory(root: Path) -> int:
    match = re.search(r"^MemTotal:\s*([0-9]+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else int(psutil.virtual_memory().total)
