"""The machine's fingerprint, and the limits of processors and memory that are really in force on it.

``nproc``, torch and psutil look at the machine; a container, a batch system or a shell may allow much less. Nothing
here imports torch: versions are read from the installed packages' metadata.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtune.describe.plan import Limits
from loadtune.errors import UsageError
from loadtune.record import cgroups, shared_memory
from loadtune.record.limits import ProcessLimits, cpu_limits, least, memory_limits, read_process_limits
from loadtune.record.mounts import read_text
from loadtune.record.results import Environment, MemoryLimits

PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "numpy",
    "scipy",
    "pandas",
    "pillow",
    "psutil",
    "nvidia-ml-py",
    "pynvml",  # the deprecated one, which stands in the way of nvidia-ml-py
)
"""Packages whose version may explain a figure."""


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
    cpus = least(cpu_limits(variables, root=root, process=granted))
    memory = least(memory_limits(variables, root=root, process=granted))
    shm = shared_memory.read(root / "dev/shm")
    tasks = min(cgroups.tasks_free(root), key=lambda free: free.amount, default=None)
    return Environment(
        hostname=platform.node(),
        platform=platform.platform(),
        cpu_model=_cpu_model(root),
        logical_cpus=os.cpu_count() or 1,
        usable_cpus=float(cpus.amount),
        usable_cpus_source=cpus.source,
        host_memory_limit_bytes=int(memory.amount),
        host_memory_limit_source=memory.source,
        shm_total_bytes=shm.total_bytes if shm is not None else None,
        shm_free_bytes=shm.free_bytes if shm is not None else None,
        open_files_limit=granted.open_files,
        open_files_most=granted.open_files_most,
        tasks_free=tasks.amount if tasks else None,
        tasks_free_source=tasks.source if tasks else "",
        load_average=_load_average(root),
        python_version=platform.python_version(),
        loadtune_version=_version("loadtune") or "unknown",
        packages=_package_versions(),
        accelerators=tuple(accelerators),
    )


def resolve_limits(
    limits: Limits,
    *,
    environment: Environment,
    accelerator_memory_bytes: int | None = None,
    batch_size_is_swept: bool = True,
) -> MemoryLimits:
    """Return the limits of memory in bytes that a configuration must keep to.

    Host memory always has one: what the machine allows, or less when the user asks for less. So no configuration is
    chosen that the machine itself would kill, and a size above what is in force is lowered to it. A percentage is of
    the limit in force, and of the device's memory for an accelerator.

    Args:
        limits: What the user asked for.
        environment: The machine, with its limits in force.
        accelerator_memory_bytes: Memory of the device that batches go to; None when there is none.
        batch_size_is_swept: Whether a sweep decides how large a batch is.

    Raises:
        UsageError: A limit of device memory is given and there is no device, or one of batches that others form.
    """
    if limits.max_batch_size is not None and not batch_size_is_swept:
        raise UsageError(
            f"--max-batch-size {limits.max_batch_size} cannot be kept to: the data set or its batch sampler forms the "
            "batches, of a size that no sweep changes",
            hint="leave --max-batch-size out",
        )
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
