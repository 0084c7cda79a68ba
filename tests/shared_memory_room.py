"""A /dev/shm of its own for each process of the test run, as containers have: nobody else comes and goes in it."""

from __future__ import annotations

import ctypes
import sys

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 16384, 1 << 18


def move_in() -> bool:
    """Mount one that this process, its main thread's later children and nobody else see; False where one may not."""
    if sys.platform != "linux":
        return False
    system = ctypes.CDLL(None)
    if system.unshare(_CLONE_NEWNS):
        return False
    if system.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        return False
    return not system.mount(b"none", b"/dev/shm", b"tmpfs", 0, None)
