"""One writer a directory: the kernel's own lock on the directory itself, gone with the process that holds it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class DirectoryLock:
    """A lock on a directory, held until ``release`` or until the process ends, however it ends.

    It leaves no file behind. Where the system or the file system knows no such locks it does nothing.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def acquire(self, directory: Path) -> bool:
        """Take the lock and return True; return False where another process, or another lock of this one, has it.

        A lock that is held already stays held.

        Raises:
            OSError: The directory cannot be opened.
        """
        if self._descriptor is not None or sys.platform == "win32":
            return True
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # NFS, FUSE and others answer ENOLCK, ENOTSUP or EBADF: one goes on without
            os.close(descriptor)
            return True
        self._descriptor = descriptor
        return True

    @property
    def is_held(self) -> bool:
        """Whether there is a lock: False before ``acquire``, and where the system has none."""
        return self._descriptor is not None

    def is_of(self, directory: Path) -> bool:
        """Return whether what is locked is still what is found under this name; True where nothing can be locked."""
        if self._descriptor is None:
            return True
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), directory.stat())
        return False

    def release(self) -> None:
        """Give the lock back; also where a fork of this process still has the directory open."""
        if self._descriptor is None or sys.platform == "win32":
            return
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = None


def is_locked(directory: str | os.PathLike[str]) -> bool:
    """Return whether somebody holds the lock of a directory at this moment."""
    if sys.platform == "win32":
        return False
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Shared, so that two who look do not see each other.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
