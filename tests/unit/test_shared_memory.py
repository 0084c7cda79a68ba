"""The one reader of /dev/shm: its figures are the kernel's, and those who need them all have them from it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import loadtune
from loadtune.record import shared_memory
from loadtune.record.failure import Aftermath
from loadtune.record.shared_memory import SharedMemory
from loadtune.run.memory import shm_used_bytes
from loadtune.run.scene import Scene


def test_figures_are_the_kernels(tmp_path: Path) -> None:
    """Size, room and use of a file system agree with statvfs; a place that is not there has none."""
    seen, kernels = shared_memory.read(tmp_path), os.statvfs(tmp_path)
    assert seen is not None
    assert seen.total_bytes == kernels.f_blocks * kernels.f_frsize
    assert 0 <= seen.free_bytes <= seen.total_bytes - seen.used_bytes
    assert shared_memory.read(tmp_path / "none") is None


def test_the_evidence_has_what_was_used_before_and_the_least_that_was_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 bytes others had 24 when the trial began, and 8 were free at its worst."""
    free = 40
    monkeypatch.setattr(
        shared_memory, "read", lambda: SharedMemory(total_bytes=64, free_bytes=free, used_bytes=64 - free)
    )
    scene = Scene()
    scene.begin()
    free = 8
    scene.glance()
    free = 32
    seen = scene.evidence(None, Aftermath())
    assert (seen.shm_total_bytes, seen.shm_before_bytes, seen.shm_free_bytes) == (64, 24, 8)
    assert shm_used_bytes() == 32


def test_it_is_read_and_named_in_one_place() -> None:
    """No other module asks the file system of /dev/shm, or keeps its name as a constant of its own."""
    package = Path(loadtune.__file__).parent
    asking = re.compile(r'statvfs\(|^\w+ = (?:Path\()?"/dev/shm"', re.MULTILINE)
    found = {str(file.relative_to(package)) for file in package.rglob("*.py") if asking.search(file.read_text())}
    assert found == {"record/shared_memory.py"}
