"""The page cache: which files are read while samples are loaded, and taking them out of the cache. Imports no torch.

The process that reads notes the files, by an audit hook (PEP 578) for what Python opens and by ``/proc`` for what
native code keeps open or mapped; a file that native code opens and closes again is not seen by either. Notes of all
processes of a run go to one file, each in a write of its own, since a worker may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import site
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

OPENED, HELD = b"o", b"h"
"""The kinds of notes: opened by Python, or kept open or mapped."""
SAMPLE_BYTES = 4 << 20
MOST_SAMPLES = 256
"""Of a large file so many pieces of this size are looked at, evenly spread: 1 GiB of it."""

_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/share/")
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - data sets are copied there too, and then cannot be dropped
_OF_TORCH_AND_PYTHON = ("torch_", "sem.", "psm_")
_CODE = (".py", ".pyc", ".pyi", ".so", ".pth")
_TO_CREATE = os.O_CREAT | os.O_TRUNC


class _Notes:
    """Where this process, and those forked from it, note files; nothing is noted before ``begin``."""

    place: str | None = None
    descriptor = -1
    is_hooked = False
    seen: set[Any]


def begin(place: str | None) -> None:
    """Note in the file ``place`` which files this process and its forked children open for reading; None is not to.

    A hook cannot be taken away again: call it in a process that ends with what it measures.
    """
    if place is None or place == _Notes.place:
        return
    _Notes.descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    _Notes.place, _Notes.seen = place, set()
    if not _Notes.is_hooked:
        _Notes.is_hooked = True
        sys.addaudithook(_on_event)


def place() -> str | None:
    """Return where notes go, for a worker that is not forked; None where nothing is noted."""
    return _Notes.place


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    # Called for every event of the interpreter, inside of what is being timed: the rest is for the first sight only.
    if event != "open":
        return
    try:
        _note_opened(*arguments[:3])
    except Exception:  # noqa: BLE001 - what a hook raises would be raised by the user's open()
        return


def _note_opened(file: Any, mode: str | None, flags: int) -> None:
    if file in _Notes.seen or isinstance(file, int) or not is_read(mode, flags):
        return
    _Notes.seen.add(file)
    path = _whole(file)
    if is_data(path):
        _write(OPENED, path)


def _whole(file: Any) -> str:
    """Return the path of a file from the root, links in it left alone: a link is what is opened again."""
    return os.path.abspath(os.fsdecode(file))  # noqa: PTH100 - Path.resolve would follow links


def is_read(mode: str | None, flags: int) -> bool:
    """Return whether a file that is opened so is there to be read, and not made."""
    return flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) != os.O_WRONLY and not (
        flags & _TO_CREATE or set(mode or "") & set("wax")
    )


def is_data(path: str) -> bool:
    """Return whether a path may be that of data: neither code, nor of Python's installation or the system's."""
    name = path.rpartition("/")[2]
    if path.startswith(_SHARED_MEMORY):
        return not name.startswith(_OF_TORCH_AND_PYTHON)
    return not (name.endswith(_CODE) or ".so." in name or path.startswith((*_SYSTEM, *_installation())))


@lru_cache(maxsize=1)
def _installation() -> tuple[str, ...]:
    """Return the folders of Python's library and of installed packages, each with a slash at its end."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages(), (site.getusersitepackages(),))
    return tuple(f"{folder}/" for given in folders if given for folder in {given, os.path.realpath(given)})


def _write(kind: bytes, path: str) -> None:
    os.write(_Notes.descriptor, kind + os.fsencode(path) + b"\0")


def note_held(pids: Iterable[int]) -> None:
    """Note the files that processes have open or mapped at this moment; nothing where nothing is noted."""
    if _Notes.place is None:
        return
    for path in {path for pid in pids for path in (*_open_files(pid), *_mapped_files(pid))}:
        if is_data(path) and not path.endswith(" (deleted)"):
            with contextlib.suppress(OSError):
                _write(HELD, path)


def _open_files(pid: int) -> Iterator[str]:
    """Yield what a process has open for reading: the permissions of the link tell how."""
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for number in os.listdir(folder):  # noqa: PTH208 - the names alone
            with contextlib.suppress(OSError):
                path = os.readlink(f"{folder}/{number}")  # noqa: PTH115 - names need not be paths
                if path.startswith("/") and os.lstat(f"{folder}/{number}").st_mode & stat.S_IRUSR:
                    yield path


def _mapped_files(pid: int) -> set[str]:
    """Return the files that a process has mapped, less those that it runs code from."""
    try:
        with open(f"/proc/{pid}/maps", errors="surrogateescape") as maps:  # noqa: PTH123 - like the rest here
            fields = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    except OSError:
        return set()
    named = [(each[1], each[5]) for each in fields if len(each) > 5 and each[5].startswith("/")]  # noqa: PLR2004
    code = {path for permissions, path in named if "x" in permissions}
    return {path for _, path in named} - code


def bytes_read() -> int | None:
    """Return the bytes that this process has read by system calls, cached or not; None where nobody counts."""
    try:
        with open("/proc/self/io") as counters:  # noqa: PTH123 - like the rest here
            return next((int(line.split()[1]) for line in counters if line.startswith("rchar:")), None)
    except (OSError, ValueError):
        return None


class Dropped(NamedTuple):
    """What became of one file. Bytes cached are None where the kernel does not tell them."""

    size: int
    cached_before: int | None
    cached_after: int | None


def can_drop() -> bool:
    """Return whether this system can take files out of the page cache at all."""
    return hasattr(os, "posix_fadvise")


def drop_noted() -> None:
    """Take the files that this process has noted so far out of the page cache."""
    if _Notes.place is not None:
        for file in tuple(_Notes.seen):
            if is_data(path := _whole(file)):
                drop(path)


def drop(path: str) -> Dropped | None:
    """Take a file out of the page cache; None where it is no regular file, or cannot be opened.

    Pages that a process has mapped and touched stay, and on a file system in memory all of them. What was not yet
    written to the disk is written first.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        known = _may_know(path, found)
        before = resident_bytes(descriptor, found.st_size) if known else None
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        after = resident_bytes(descriptor, found.st_size) if known else None
        if after:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            after = resident_bytes(descriptor, found.st_size)
        return Dropped(found.st_size, before, after)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _may_know(path: str, found: os.stat_result) -> bool:
    """Return whether mincore(2) tells the truth: of files that are not ours to write it calls every page cached."""
    return os.geteuid() in (0, found.st_uid) or os.access(path, os.W_OK)


def resident_bytes(descriptor: int, size: int) -> int | None:
    """Return how many bytes of an open file are in the page cache; None where the system does not tell.

    The file is mapped and not touched, so that looking brings nothing in. Of more than 1 GiB a sample is looked at.
    """
    if sys.platform != "linux":
        return None
    if size == 0:
        return 0
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        return None
    try:
        return _resident(libc, address, size)
    finally:
        libc.munmap(address, size)


def _resident(libc: ctypes.CDLL, address: int, size: int) -> int | None:
    pages = looked_at = 0
    flags = (ctypes.c_ubyte * (SAMPLE_BYTES // mmap.PAGESIZE))()
    for start in _sample_starts(size):
        length = min(SAMPLE_BYTES, size - start)
        count = -(-length // mmap.PAGESIZE)
        if libc.mincore(address + start, length, flags):
            return None
        pages += bytes(flags)[:count].count(1)
        looked_at += count
    return min(size, round(size * pages / looked_at))


def _sample_starts(size: int) -> list[int]:
    pieces = -(-size // SAMPLE_BYTES)
    some = min(pieces, MOST_SAMPLES)
    return [SAMPLE_BYTES * (number * pieces // some) for number in range(some)]


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t,
    )  # fmt: skip
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_ubyte))
    return libc
