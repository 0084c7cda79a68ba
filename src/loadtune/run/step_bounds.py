"""The limits that a batch size must keep to on this machine, each with where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from loadtune.describe.plan import Limits
from loadtune.errors import UsageError
from loadtune.record.batch_size import Bound
from loadtune.record.limits import InForce, least, memory_limits, read_process_limits
from loadtune.record.results import Probe
from loadtune.run import memory

WORKER_BYTES = 32 << 20
"""About what a forked worker writes to of its own, without batches: interpreter, allocator, torch."""
_PHYSICAL = "physical memory"


def bounds(limits: Limits, probe: Probe, *, environ: Mapping[str, str], root: Path = Path("/")) -> tuple[Bound, ...]:
    """Return the bound of each limited resource.

    Host memory has one always: what the user allows, or else what the machine does, less what this process takes.

    Args:
        limits: What the user asked for.
        probe: Tells of the device.
        environ: Environment variables that limit memory (SLURM, LOCAL_WORLD_SIZE).
        root: Root of the file tree that holds ``proc`` and ``sys``.

    Raises:
        UsageError: A limit of device memory, and no device.
    """
    process = read_process_limits()
    found = memory_limits(environ, root=root, process=process)
    space = process.address_space_bytes
    in_force = [one for one in found if not one.source.startswith("RLIMIT_AS")]
    machine = least(_available(one) for one in in_force)
    own = memory.read_process(os.getpid())
    room = int(machine.amount) - (own.pss if own is not None else 0)
    result = [Bound(resource="host", limit_bytes=room, source=machine.source)]
    if limits.host_memory is not None:
        # A share is of the limit in force, as in a sweep, whatever others use of it now.
        asked = limits.host_memory.resolve(int(least(in_force).amount))
        if asked < room:
            result = [Bound(resource="host", limit_bytes=asked, source="--host-memory")]
    if space is not None:
        result.append(Bound(resource="address_space", limit_bytes=space, source="RLIMIT_AS (ulimit -v)"))
    return (*result, *_device(limits, probe))


def _available(limit: InForce) -> InForce:
    """Return what is free of physical memory: others use some of it."""
    if limit.source != _PHYSICAL:
        return limit
    return InForce(amount=psutil.virtual_memory().available, source="free physical memory")


def _device(limits: Limits, probe: Probe) -> tuple[Bound, ...]:
    total = probe.accelerator_memory_bytes
    if total is None:
        if limits.gpu_memory is not None:
            raise UsageError("--gpu-memory needs an accelerator, and there is none here")
        return ()
    if limits.gpu_memory is None:
        return (Bound(resource="device", limit_bytes=total, source=f"{probe.accelerator}"),)
    asked = min(total, limits.gpu_memory.resolve(total))
    return (Bound(resource="device", limit_bytes=asked, source="--gpu-memory"),)
