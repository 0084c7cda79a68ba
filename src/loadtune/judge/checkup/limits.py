"""The limits that bound one training process: each with all its candidates, and what to do where it is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loadtune.judge.checkup.check import Candidate, Check
from loadtune.record.limits import InForce, least
from loadtune.record.machine import Machine
from loadtune.record.shared_memory import SHM
from loadtune.units import format_bytes, format_cpus, format_seconds

GIB = 2**30
SMALL_SHM_BYTES = GIB
"""Docker's own 64 MiB hold three batches of 32 images of 224 × 224 in float32."""
SMALL_MEMORY_BYTES = 4 * GIB
"""The main process with torch takes half a GiB, and each worker 150 MiB and more."""
FEW_OPEN_FILES = 4096
"""Each tensor that is passed by descriptor holds one until its batch is freed; 1,024 are reached by 100 tensors
a batch with a few workers."""


def _candidates(limits: Sequence[InForce], amount: Callable[[float], str]) -> tuple[Candidate, ...]:
    binding = least(limits)
    return tuple(
        Candidate(amount=amount(limit.amount), source=limit.source, binds=limit is binding) for limit in limits
    )


def cpus(machine: Machine) -> Check:
    """Return the CPUs of one training process, with every bound on them."""
    binding = least(machine.cpus)
    advice = ""
    if binding.source.startswith("cgroup"):
        advice = (
            "A quota holds threads back once they have used it up. Raise it (docker --cpus, resources.limits.cpu in "
            "Kubernetes), or keep to few workers with one thread each (OMP_NUM_THREADS=1): loadtune explain LT015."
        )
    elif binding.source.startswith("CPU affinity"):
        advice = (
            "The affinity mask is narrower than the machine, and workers inherit it. Meant by a batch system it is "
            "right; otherwise look at taskset, OMP_PROC_BIND, GOMP_CPU_AFFINITY and docker --cpuset-cpus."
        )
    elif binding.amount < 2:  # noqa: PLR2004 - one for the main process, one for a worker
        advice = "With one CPU, workers help only where samples wait for a disk or a network."
    return Check(
        topic="CPUs",
        verdict="look" if advice else "good",
        value=f"{format_cpus(binding.amount)} usable",
        candidates=_candidates(machine.cpus, format_cpus),
        advice=advice,
    )


def throttling(machine: Machine) -> Check | None:
    """Return what CPU quotas have done so far; None where no group counts."""
    if not machine.throttling:
        return None
    worst = max(machine.throttling, key=lambda one: one.seconds)
    if not worst.periods:
        return Check(topic="throttling", verdict="good", value="none so far")
    return Check(
        topic="throttling",
        verdict="look",
        value=f"{format_seconds(worst.seconds)} so far, in {worst.periods:,} periods ({worst.source})",
        advice="The CPU quota has held back what runs in this group. A sweep marks the trials that it spoils: "
        "loadtune explain LT015.",
    )


def ranks(machine: Machine) -> Check:
    """Return the training processes that share this machine."""
    if machine.local_ranks is None:
        return Check(topic="local ranks", verdict="good", value="1 (LOCAL_WORLD_SIZE is not set)")
    shared = machine.local_ranks > 1
    return Check(
        topic="local ranks",
        verdict="good",
        value=f"{machine.local_ranks} (LOCAL_WORLD_SIZE)" + ("; shared limits are divided by it" if shared else ""),
    )


def memory(machine: Machine) -> Check:
    """Return the host memory of one training process, with every bound on it."""
    binding = least(machine.memory)
    advice = ""
    if binding.amount < SMALL_MEMORY_BYTES:
        advice = (
            "Each worker is a process of its own. Raise the limit (docker --memory, resources.limits.memory in "
            "Kubernetes, --mem in SLURM), or sweep few workers: loadtune explain host_oom."
        )
    return Check(
        topic="host memory",
        verdict="look" if advice else "good",
        value=f"at most {format_bytes(binding.amount)}",
        candidates=_candidates(machine.memory, format_bytes),
        advice=advice,
    )


def available(machine: Machine) -> Check | None:
    """Return the memory that is free now; None where it is not told."""
    free, limit = machine.memory_available_bytes, machine.environment.host_memory_limit_bytes
    if free is None:
        return None
    short = free < limit / 2
    return Check(
        topic="memory free",
        verdict="look" if short else "good",
        value=f"{format_bytes(free)} on the whole machine",
        advice="Much of what is allowed is in use by other processes: a sweep counts with the limit, not with what is "
        "free. Give it less with --host-memory."
        if short
        else "",
    )


def shared_memory(machine: Machine) -> Check:
    """Return the size of /dev/shm."""
    total, free = machine.environment.shm_total_bytes, machine.environment.shm_free_bytes
    if total is None or free is None:
        return Check(topic=str(SHM), verdict="good", value="none: this system passes batches another way")
    advice = ""
    if total < SMALL_SHM_BYTES:
        advice = (
            "Workers hand batches over through it, prefetch_factor × num_workers + 1 at a time. Raise it: docker run "
            "--shm-size=8g, or --ipc=host; in Kubernetes an emptyDir with medium: Memory mounted at /dev/shm: "
            "loadtune explain shm_full."
        )
    elif free < total / 2:
        advice = "Other processes hold the rest, or ended ones left it behind: look with ls -l /dev/shm."
    return Check(
        topic=str(SHM),
        verdict="look" if advice else "good",
        value=f"{format_bytes(free)} free of {format_bytes(total)} (statvfs)",
        advice=advice,
    )


def open_files(machine: Machine) -> Check | None:
    """Return the limit of open files."""
    soft, most = machine.environment.open_files_limit, machine.open_files_most
    if soft is None:
        return Check(topic="open files", verdict="good", value="unlimited (ulimit -n)")
    few = soft < FEW_OPEN_FILES
    hard = "unlimited" if most is None else f"{most:,}"
    can_raise = most is None or most > soft
    inside, outside = f"ulimit -n {most or 65_536} before the start", "docker --ulimit nofile=65536, or limits.conf"
    return Check(
        topic="open files",
        verdict="look" if few else "good",
        value=f"{soft:,} at once, may be raised to {hard} (ulimit -n)",
        advice="Each tensor on its way from a worker holds a descriptor. Raise it: "
        f"{inside if can_raise else outside}; loadtune explain open_files."
        if few
        else "",
    )
