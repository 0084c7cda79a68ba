"""What else a sweep depends on: load, clock, start method, accelerators, folders, versions."""

from __future__ import annotations

import re

from loadtune.judge.checkup.check import Check
from loadtune.record.machine import Machine, Place
from loadtune.units import format_bytes

LITTLE_DISK_BYTES = 2**30
BUSY_SHARE = 0.25
"""Load of other work, by CPU of the machine (it is the whole machine's), from which rates are noisy."""
LEAST_TORCH = (2, 6)
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
LAYERED = ("overlay", "aufs")
NETWORKED = ("nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "gpfs", "beegfs", "glusterfs", "9p", "afs", "virtiofs")
VERSIONS = ("torchvision", "psutil", "nvidia-ml-py")


def load(machine: Machine) -> Check | None:
    """Return the load of the machine; None where it is not told."""
    load, cpus = machine.environment.load_average, machine.environment.logical_cpus
    if load is None:
        return None
    busy = load > BUSY_SHARE * cpus
    return Check(
        topic="load",
        verdict="look" if busy else "good",
        value=f"{load:.2f} runnable threads over the last minute",
        advice="Other work makes rates noisy and low: wait for it to end, or give more time (--time-budget)."
        if busy
        else "",
    )


def governor(machine: Machine) -> Check | None:
    """Return how the processor's clock is governed; None where it is not told."""
    if machine.governor is None:
        return None
    slow = machine.governor in ("powersave", "conservative")
    return Check(
        topic="CPU clock",
        verdict="look" if slow else "good",
        value=f"governor {machine.governor}",
        advice="The clock may follow the load, and rates with it: cpupower frequency-set -g performance."
        if slow
        else "",
    )


def start_method(machine: Machine) -> Check:
    """Return how worker processes are started."""
    forks = machine.start_method == "fork"
    return Check(
        topic="start method",
        verdict="good",
        value=machine.start_method + ("" if forks else ": data sets must be picklable, loadtune explain pickle"),
    )


def accelerators(machine: Machine) -> tuple[Check, ...]:
    """Return one check for each device, or one that says why there is none."""
    devices = machine.devices
    if not devices.found:
        packaged = "not installed" not in (devices.missing or "")
        return (
            Check(
                topic="accelerator",
                verdict="good" if packaged else "look",
                value=f"none: {devices.missing}",
                advice="Without NVML device memory is told by torch alone: pip install nvidia-ml-py."
                if not packaged
                else "Where one is built in: nvidia-smi -L tells whether the driver is there, and in a container "
                "docker run --gpus all passes it on.",
            ),
        )
    return tuple(_accelerator(device.name, device.total_bytes, device.used_bytes) for device in devices.found)


def _accelerator(name: str, total: int | None, used: int | None) -> Check:
    if total is None or used is None:
        return Check(topic="accelerator", verdict="good", value=f"{name}; its memory cannot be read")
    busy = used > total / 4
    return Check(
        topic="accelerator",
        verdict="look" if busy else "good",
        value=f"{name}, {format_bytes(total - used)} free of {format_bytes(total)} (NVML)",
        advice="Other processes use this device: nvidia-smi names them. Rates and memory limits suffer from it."
        if busy
        else "",
    )


def folder(topic: str, place: Place, *, advice: str) -> Check:
    """Return what is under a folder; ``advice`` says what to do where it is not fit for data or results."""
    free = "" if place.free_bytes is None else f", {format_bytes(place.free_bytes)} free"
    value = f"{place.file_system or 'unknown file system'}{free}: {place.path}"
    trouble = _trouble(place)
    said = f"{trouble}; {advice}." if trouble else ""
    return Check(topic=topic, verdict="look" if said else "good", value=value, advice=said)


def _trouble(place: Place) -> str | None:
    """Return what is wrong with a folder, or None."""
    kind = place.file_system or ""
    if not place.writable:
        return "It cannot be written"
    if place.free_bytes is not None and place.free_bytes < LITTLE_DISK_BYTES:
        return "Little is free"
    if kind in NETWORKED or kind.startswith("fuse"):
        return "A network or user-space file system has a speed of its own, and many small reads are slow there"
    if kind in LAYERED:
        return "An overlay is a container's own layer: slow to write, and gone with the container"
    if kind in MEMORY_FILE_SYSTEMS:
        return "It is in memory, and counts against the memory limit"
    return None


def cache(machine: Machine) -> Check:
    """Return where generated data goes."""
    if machine.cache is None:
        return Check(
            topic="cache folder",
            verdict="look",
            value="none: there is no home directory",
            advice="Set XDG_CACHE_HOME to a folder, to use the built-in data sets.",
        )
    return folder("cache folder", machine.cache, advice="set XDG_CACHE_HOME to a folder on a local disk")


def torch(machine: Machine) -> Check:
    """Return whether torch is there and new enough."""
    version = machine.environment.packages.get("torch")
    wanted = ".".join(map(str, LEAST_TORCH))
    if version is None:
        return Check(
            topic="torch",
            verdict="bad",
            value="not installed",
            advice=f"A sweep measures its DataLoader: pip install 'torch>={wanted}' into the environment that trains.",
        )
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    old = numbers < LEAST_TORCH
    return Check(
        topic="torch",
        verdict="bad" if old else "good",
        value=version,
        advice=f"It is older than {wanted}, which brought in_order: pip install --upgrade torch." if old else "",
    )


def packages(machine: Machine) -> tuple[Check, ...]:
    """Return the versions of what loadtune works with."""
    packages = machine.environment.packages
    found = [
        Check(
            topic=name,
            verdict="good" if name in packages else "look",
            value=packages.get(name, "not installed"),
            advice="" if name in packages else f"loadtune is installed with it: pip install {name}.",
        )
        for name in VERSIONS
    ]
    if "pynvml" in packages:
        found.append(
            Check(
                topic="pynvml",
                verdict="look",
                value=packages["pynvml"],
                advice="This package is deprecated, and import torch warns of it: pip uninstall pynvml, then pip "
                "install --force-reinstall nvidia-ml-py.",
            )
        )
    return tuple(found)
