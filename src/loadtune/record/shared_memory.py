"""Shared memory as files: where workers put the tensors of a batch for the main process, and how much room there is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SHM = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedMemory:
    """The file system at one moment, in bytes."""

    total_bytes: int
    free_bytes: int
    """What this user may still take."""
    used_bytes: int
    """By whomever."""


def read(place: Path = SHM) -> SharedMemory | None:
    """Return how much room there is by statvfs(3); None where there is no such place (macOS, Windows)."""
    try:
        seen = os.statvfs(place)
    except (OSError, AttributeError):
        return None
    return SharedMemory(
        total_bytes=seen.f_blocks * seen.f_frsize,
        free_bytes=seen.f_bavail * seen.f_frsize,
        used_bytes=(seen.f_blocks - seen.f_bfree) * seen.f_frsize,
    )
