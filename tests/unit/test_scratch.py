"""The folder for temporary files: gone with its process, and nobody else's is touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from loadtune.run.scratch import Scratch


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have an empty folder for what is temporary."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_owner(place: Path) -> None:
    """It is there inside the block, private, and gone with its content behind it."""
    with Scratch() as folder:
        (folder / "file").write_text("x")
        assert [folder] == list(place.iterdir())
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_what_nobody_holds_is_removed_and_what_is_held_is_not(place: Path) -> None:
    """A start removes the folder of one that was killed, and leaves that of one that runs."""
    abandoned = place / "ltune-abcd_123"
    abandoned.mkdir(mode=0o700)
    (abandoned / "socket").write_text("x")
    with Scratch() as first, Scratch() as second:
        assert {first, second} == set(place.iterdir())
    assert list(place.iterdir()) == []


def test_nothing_else_is_ever_removed(place: Path) -> None:
    """Folders of other names, open to others, of other users, links and files stay, whatever they are called."""
    elsewhere = place / "precious"
    elsewhere.mkdir(mode=0o700)
    (place / "ltune-data").mkdir(mode=0o700)
    (place / "ltune-12345678.d").mkdir(mode=0o700)
    (place / "ltune-openopen").mkdir(mode=0o755)
    (place / "ltune-linklink").symlink_to(elsewhere)
    (place / "ltune-filefile").write_text("x")
    if os.geteuid() == 0:
        (place / "ltune-othersss").mkdir(mode=0o700)
        os.chown(place / "ltune-othersss", 12345, 12345)
    before = sorted(os.listdir(place))
    Scratch().close()
    assert sorted(os.listdir(place)) == before


def test_sockets_of_workers_fit_where_those_of_multiprocessing_do() -> None:
    """The folder's name is as short as one of multiprocessing's own, give or take a letter: sockets have few bytes."""
    scratch = Scratch()
    try:
        assert len(scratch.path.name) <= len("pymp-abcdefgh") + 1
    finally:
        scratch.close()
