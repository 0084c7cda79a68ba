"""The machine's fingerprint, and the limits of processors and memory that are really in force on it.

``nproc``, torch and psutil look at the machine; a container, a batch system or a shell may allow much less. Nothing
here imports torch: versions are read from the installed packages' metadata.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtune.describe.plan import Limits
from loadtune.errors import UsageError
from loadtune.record import cgroups
from loadtune.record.cgroups import read_text
from loadtune.record.results import Environment, MemoryLimits

PACKAGES = ("torch", "torchvision", "torchaudio", "numpy", "scipy", "pandas", "pillow", "psutil", "nvidia-ml-py")
"""Packages whose version may explain a figure."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A limit, and where it comes from."""

    amount: float
    """CPUs or bytes."""
    source: str
    """For people, such as ``cgroup v2 /a/b memory.max``."""
    shared: bool = True
    """Whether all training processes of this machine share it; False for a limit of each process."""


def read_environment(
    *,
    environ: Mapping[str, str] | None = None,
    root: Path = Path("/"),
    process: ProcessLimits | None = None,
    accelerators: Sequence[str] = (),
) -> Environment:
    """Return what this machine is and what it allows.

    Args:
        environ: The environment variables, for the limits of a batch system (SLURM) and the number of training
            processes on this machine (LOCAL_WORLD_SIZE), by which shared limits are divided; None looks at none.
        root: Root of the file tree that holds ``proc``, ``sys`` and ``dev``.
        process: Limits of this process; None asks the kernel.
        accelerators: Names of the devices that were found.
    """
    variables = {} if environ is None else environ
    granted = read_process_limits() if process is None else process
    cpus = _per_rank(_least(_cpu_limits(variables, root, granted)), variables)
    memory = _least(_per_rank(limit, variables) for limit in _memory_limits(variables, root, granted))
    shm_total, shm_free = _shared_memory(root)
    return Environment(
        hostname=platform.node(),
        platform=platform.platform(),
        cpu_model=_cpu_model(root),
        logical_cpus=os.cpu_count() or 1,
        usable_cpus=float(cpus.amount),
        usable_cpus_source=cpus.source,
        host_memory_limit_bytes=int(memory.amount),
        host_memory_limit_source=memory.source,
        shm_total_bytes=shm_total,
        shm_free_bytes=shm_free,
        open_files_limit=granted.open_files,
        load_average=_load_average(root),
        python_version=platform.python_version(),
        loadtune_version=_version("loadtune") or "unknown",
        packages=_package_versions(),
        accelerators=tuple(accelerators),
    )


def resolve_limits(
    limits: Limits, *, environment: Environment, accelerator_memory_bytes: int | None = None
) -> MemoryLimits:
    """Return the limits of memory in bytes that a configuration must keep to.

    Host memory always has one: what the machine allows, or less when the user asks for less. So no configuration is
    chosen that the machine itself would kill, and a size above what is in force is lowered to it. A percentage is of
    the limit in force, and of the device's memory for an accelerator.

    Args:
        limits: What the user asked for.
        environment: The machine, with its limits in force.
        accelerator_memory_bytes: Memory of the device that batches go to; None when there is none.

    Raises:
        UsageError: A limit of device memory is given and there is no device.
    """
    if limits.gpu_memory is not None and accelerator_memory_bytes is None:
        raise UsageError(
            "--gpu-memory needs an accelerator, and this sweep uses none",
            hint="leave --gpu-memory out, or choose a device with --device cuda:0",
        )
    host, gpu = environment.host_memory_limit_bytes, accelerator_memory_bytes
    if limits.host_memory is not None:
        host = min(host, limits.host_memory.resolve(host))
    if limits.gpu_memory is not None and gpu is not None:
        gpu = min(gpu, limits.gpu_memory.resolve(gpu))
    return MemoryLimits(host_memory_bytes=host, gpu_memory_bytes=gpu)


def read_process_limits() -> ProcessLimits:
    """Return what the kernel grants this process."""
    return ProcessLimits(
        affinity_cpus=_affinity_cpus(),
        address_space_bytes=_soft_limit("RLIMIT_AS"),
        open_files=_soft_limit("RLIMIT_NOFILE"),
    )


def _affinity_cpus() -> int | None:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # not on macOS
    return None if affinity is None else len(affinity(0))


def _soft_limit(name: str) -> int | None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    number = getattr(resource, name, None)
    if number is None:
        return None
    soft, _ = resource.getrlimit(number)
    return None if soft == resource.RLIM_INFINITY else soft


def _cpu_limits(environ: Mapping[str, str], root: Path, process: ProcessLimits) -> Iterator[InForce]:
    """Yield every bound on the CPUs that can be used; the first of equals is the one named."""
    yield InForce(amount=os.cpu_count() or 1, source="logical CPUs")
    if process.affinity_cpus is not None:
        yield InForce(amount=process.affinity_cpus, source="CPU affinity")
    for quota, source in cgroups.cpu_limits(root):
        yield InForce(amount=quota, source=source)
    cpus = _positive(environ, "SLURM_CPUS_PER_TASK")
    if cpus is not None:
        yield InForce(amount=cpus, source="SLURM_CPUS_PER_TASK")


def _memory_limits(environ: Mapping[str, str], root: Path, process: ProcessLimits) -> Iterator[InForce]:
    """Yield every bound on host memory; the first of equals is the one named."""
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


def _least(limits: Iterator[InForce]) -> InForce:
    return min(limits, key=lambda limit: limit.amount)


def _per_rank(limit: InForce, environ: Mapping[str, str]) -> InForce:
    """Return one training process's part: torchrun starts LOCAL_WORLD_SIZE of them, and they share the machine."""
    ranks = _positive(environ, "LOCAL_WORLD_SIZE")
    if ranks is None or ranks == 1 or not limit.shared:
        return limit
    return InForce(amount=limit.amount / ranks, source=f"{limit.source} / {ranks} local ranks")


def _physical_memory(root: Path) -> int:
    match = re.search(r"^MemTotal:\s*([0-9]+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else int(psutil.virtual_memory().total)


def _shared_memory(root: Path) -> tuple[int | None, int | None]:
    """Return the size and the free part of /dev/shm, in bytes; None where there is none (macOS, Windows)."""
    try:
        status = os.statvfs(root / "dev/shm")
    except (OSError, AttributeError):
        return None, None
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize


def _cpu_model(root: Path) -> str:
    """Return the processor's name; ARM kernels write none, where the architecture has to do."""
    match = re.search(r"^model name\s*:\s*(\S.*)$", read_text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine() or "unknown"


def _load_average(root: Path) -> float | None:
    """Return the mean number of runnable threads over the last minute."""
    match = re.match(r"([0-9]+\.[0-9]+) ", read_text(root / "proc/loadavg") or "")
    if match:
        return float(match[1])
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _package_versions() -> dict[str, str]:
    installed = ((name, _version(name)) for name in PACKAGES)
    return {name: version for name, version in installed if version is not None}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
