"""What the allocator of a process has free, against blocks of known size, and how it is noted."""

from __future__ import annotations

import ctypes
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtune.measure import heap

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="it is glibc's, from 2.33 on")
BLOCKS, SIZE = 64, 64 * 1024
"""Of a size that comes from the heap and not from a mapping of its own."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    heap.begin(str(tmp_path))
    yield tmp_path
    heap.begin(None)


def test_blocks_that_are_given_back_are_free() -> None:
    """Every second of 64 blocks of 64 KiB is given back: 2 MiB more are free, to 5 %."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(SIZE) for _ in range(BLOCKS)]
    before = heap.free_bytes()
    for block in blocks[::2]:
        library.free(block)
    after = heap.free_bytes()
    for block in blocks[1::2]:
        library.free(block)
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(BLOCKS // 2 * SIZE, rel=0.05)


def test_a_batch_is_noted_by_its_process_and_nobody_else(folder: Path) -> None:
    """The batch is what the user's function makes of it; the number is found under this process, none under another."""
    assert heap.noting(sum)([1, 2, 3]) == 6
    noted, now = heap.read(folder, os.getpid()), heap.free_bytes()
    assert noted is not None
    assert noted == pytest.approx(now, abs=8 << 20)
    assert heap.read(folder, 2**22 + 1) is None


def test_a_number_that_is_cut_short_is_none(folder: Path) -> None:
    """A file of fewer than eight bytes says nothing."""
    (folder / f"{heap.FILE_PREFIX}7").write_bytes(b"123")
    assert heap.read(folder, 7) is None


def test_it_travels_to_workers_that_are_started_anew(folder: Path) -> None:
    """A copy that was pickled makes the same batches and notes in the same place."""
    there = pickle.loads(pickle.dumps(heap.noting(sum)))  # noqa: S301 - our own
    assert there([1, 2]) == 3
    assert heap.read(folder, os.getpid()) is not None


def test_a_folder_that_is_gone_fails_no_batch(tmp_path: Path) -> None:
    """Where the number cannot be written the batch is made all the same."""
    heap.begin(str(tmp_path / "none"))
    assert heap.noting(sum)([1, 2]) == 3
    heap.begin(None)


def test_nothing_is_in_between_where_nobody_looks() -> None:
    """The user's own function is handed on as it is."""
    heap.begin(None)
    assert heap.noting(sum) is sum
