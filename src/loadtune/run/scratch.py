"""A folder for temporary files that goes with its process, or where that was killed, with the next start."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from loadtune.record.lock import DirectoryLock
from loadtune.run.leftovers import sweep_up

_PREFIX = "ltune-"
_LONGEST_SOCKET = 107
"""Bytes of the whole name of a socket (unix(7)). The workers' are in this folder, and a longer one hangs the loader."""
_WITHIN = len("/ltune-abcdefgh/listener-abcdefgh")
_SHORT_PLACE = Path("/tmp")  # noqa: S108 - where a system keeps temporary files that may be told to be elsewhere
_NAME = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")
_OWN_ALONE = 0o700


class Scratch:
    """A new folder among the system's temporary files, removed by ``close``.

    Whoever is killed with SIGKILL can tidy up nothing. So the folder is locked as long as its process lives, and each
    start removes those of its user that nobody holds any more.
    """

    def __init__(self) -> None:
        self._place = _place()
        _remove_abandoned(self._place)
        self._lock = DirectoryLock()
        self.path = self._made()

    def _made(self) -> Path:
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._place))
            if self._is_taken(path):
                return path

    def _is_taken(self, path: Path) -> bool:
        """Lock a folder; False where another start took it for abandoned, between its making and its locking."""
        with suppress(FileNotFoundError):
            if self._lock.acquire(path) and self._lock.is_of(path):
                return True
        self._lock.release()
        return False

    def renew(self) -> None:
        """Make the folder again where it is gone, as when a data set clears the place for temporary files.

        It is locked again too: another start would take it for abandoned. Where it cannot be made it stays away.
        """
        if self.path.is_dir() and self._lock.is_of(self.path):
            return
        self._lock.release()
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=_OWN_ALONE, exist_ok=True)
            while not self._is_taken(self.path):
                self.path.mkdir(mode=_OWN_ALONE, exist_ok=True)

    def close(self) -> None:
        """Remove the folder with what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _place() -> Path:
    """Return where the folder is made: the place for temporary files, or where its name is too long, the usual one."""
    told = Path(tempfile.gettempdir())
    fits = len(os.fsencode(told)) + _WITHIN <= _LONGEST_SOCKET
    return told if fits or not os.access(_SHORT_PLACE, os.W_OK) else _SHORT_PLACE


def _remove_abandoned(place: Path) -> None:
    with suppress(OSError):
        for path in place.iterdir():
            if _NAME.fullmatch(path.name):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    """Remove a folder that this module made for this user, where its process is gone."""
    lock = DirectoryLock()
    with suppress(OSError):
        seen = path.lstat()
        own = hasattr(os, "getuid") and seen.st_uid == os.getuid()
        ours = own and stat.S_ISDIR(seen.st_mode) and stat.S_IMODE(seen.st_mode) == _OWN_ALONE
        # Where nothing can be locked nothing can be told, and nothing is removed.
        if ours and lock.acquire(path) and lock.is_held:
            sweep_up(path)
            shutil.rmtree(path, ignore_errors=True)
    lock.release()
