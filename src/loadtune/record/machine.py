"""The machine as a sweep sees it, at more length than a run records: what ``loadtune doctor`` looks at."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from loadtune.record import cgroups
from loadtune.record.cgroups import Throttling
from loadtune.record.environment import read_environment
from loadtune.record.limits import (
    InForce,
    ProcessLimits,
    cpu_limits,
    local_ranks,
    memory_limits,
    read_process_limits,
)
from loadtune.record.mounts import mount_of, parse_mounts, read_text
from loadtune.record.results import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An accelerator, as its driver tells of it."""

    name: str
    total_bytes: int | None
    used_bytes: int | None
    """By whomever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The accelerators of the machine, or why none is known."""

    found: tuple[Device, ...] = ()
    missing: str | None = None
    """Why none is known: a clause that begins small; None where the driver answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder, and the file system that it is on or would be made on."""

    path: Path
    file_system: str | None
    """Such as ``ext4``, ``overlay`` or ``nfs4``; None where the machine does not tell."""
    free_bytes: int | None
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is, what bounds it, and what has been used up."""

    environment: Environment
    cpus: tuple[InForce, ...]
    """Every bound on the CPUs of one training process."""
    memory: tuple[InForce, ...]
    """Every bound on its host memory, in bytes."""
    memory_available_bytes: int | None
    """What the machine could give out without swapping; groups' limits are not looked at."""
    throttling: tuple[Throttling, ...]
    """Of the groups of this process, those with a quota or without."""
    local_ranks: int | None
    """LOCAL_WORLD_SIZE; None where it is not set."""
    open_files_most: int | None
    """The hard limit; None is none."""
    start_method: str
    """How Python starts processes here unless told otherwise."""
    governor: str | None
    """Of the first CPU's clock; None where the kernel does not show one."""
    devices: Devices
    current: Place
    """The current folder, where a run is written."""
    cache: Place | None
    """Where generated data is kept; None without a home directory."""


def read_machine(
    *,
    environ: Mapping[str, str],
    current: Path,
    cache: Path | None,
    devices: Devices,
    root: Path = Path("/"),
    process: ProcessLimits | None = None,
) -> Machine:
    """Return the machine as it is now.

    Args:
        environ: The environment variables, for SLURM and LOCAL_WORLD_SIZE.
        current: The current folder.
        cache: The folder of generated data; it need not be there.
        devices: What the driver says of accelerators.
        root: Root of the file tree that holds ``proc``, ``sys`` and ``dev``.
        process: Limits of this process; None asks the kernel.
    """
    granted = read_process_limits() if process is None else process
    return Machine(
        environment=read_environment(
            environ=environ, root=root, process=granted, accelerators=[device.name for device in devices.found]
        ),
        cpus=cpu_limits(environ, root=root, process=granted),
        memory=memory_limits(environ, root=root, process=granted),
        memory_available_bytes=_available_memory(root),
        throttling=cgroups.throttling(root),
        local_ranks=local_ranks(environ),
        open_files_most=granted.open_files_most,
        start_method=multiprocessing.get_all_start_methods()[0],  # its first is the default
        governor=(read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip() or None,
        devices=devices,
        current=read_place(current, root=root),
        cache=None if cache is None else read_place(cache, root=root),
    )


def read_place(path: Path, *, root: Path = Path("/")) -> Place:
    """Return what is under ``path``; where it is not there yet, under the nearest folder that is."""
    there = _nearest_existing(path)
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        free = None
    mounts = parse_mounts(read_text(root / "proc/self/mountinfo") or "")
    mount = mount_of(PurePosixPath(there), mounts)
    return Place(
        path=path,
        file_system=mount.file_system if mount else None,
        free_bytes=free,
        writable=os.access(there, os.W_OK | os.X_OK),
    )


def _nearest_existing(path: Path) -> Path:
    try:
        whole = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return Path("/")
    return next((folder for folder in (whole, *whole.parents) if folder.exists()), Path("/"))


def _available_memory(root: Path) -> int | None:
    match = re.search(r"^MemAvailable:\s*([0-9]+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    if match:
        return int(match[1]) * 1024
    try:
        return int(psutil.virtual_memory().available)
    except (psutil.Error, OSError):
        return None
