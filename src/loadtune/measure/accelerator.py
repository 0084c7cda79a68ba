"""The accelerator as torch sees it: which one, its memory's peak, moving batches to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from loadtune.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A device that batches are copied to."""

    device: str
    name: str
    uuid: str
    """As NVML writes it, ``GPU-...``: the only name that is the same inside and outside of this process."""
    memory_bytes: int


def find(device: str) -> Accelerator | None:
    """Return the accelerator that ``auto``, ``cpu`` or ``cuda:0`` stands for here; None is the CPU.

    Initialises the device: call it in a process that forks nothing that uses the device afterwards.

    Raises:
        UsageError: The device is named and is not there.
    """
    if device == "cpu":
        return None
    count = _usable_devices()
    if device == "auto" and count == 0:
        return None
    if device == "auto":
        device = "cuda:0"
    try:
        index = torch.device(device).index or 0
    except RuntimeError:
        index = count  # a number that is none
    if index >= count:
        there = f"{count} here: {', '.join(f'cuda:{i}' for i in range(count))}" if count else "no CUDA device here"
        raise UsageError(f"--device '{device}' is not there: there is {there}; use cpu or auto")
    properties = torch.cuda.get_device_properties(index)
    return Accelerator(
        device=f"cuda:{index}",
        name=properties.name,
        uuid=f"GPU-{properties.uuid}",
        memory_bytes=int(properties.total_memory),
    )


def _usable_devices() -> int:
    """Return how many devices torch can really use: a driver too old for it is seen by NVML and starts nothing."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError):
        return 0
    return torch.cuda.device_count()


def initialise(device: str) -> None:
    """Make the device ready, so that no trial's first batch pays for it; nothing to do on the CPU."""
    if device != "cpu":
        # torch pins memory for the current device, whichever one the batches go to.
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)
        torch.cuda.synchronize(device)


def reserved_peak_bytes(device: str) -> int | None:
    """Return the most memory that torch's allocator has reserved on the device; None on the CPU."""
    return int(torch.cuda.max_memory_reserved(device)) if device != "cpu" else None


def free_bytes(device: str) -> tuple[int, int] | None:
    """Return what is free on the whole device and what it has; None on the CPU, or where it answers no more."""
    if device == "cpu":
        return None
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # its context is lost
        return None
    return int(free), int(total)


def synchronise(device: str) -> None:
    """Wait for everything queued on the device."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def mover(device: str, *, pinned: bool) -> Callable[[Any], Any]:
    """Return what copies a batch to the device, without waiting where the batch is in pinned memory."""
    if device == "cpu":
        return lambda batch: batch
    target = torch.device(device)

    def move(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return part.to(target, non_blocking=pinned)
        if isinstance(part, dict):
            return {key: move(value) for key, value in part.items()}
        if isinstance(part, (list, tuple)):
            return [move(value) for value in part]
        return part.to(target) if hasattr(part, "to") else part

    return move
