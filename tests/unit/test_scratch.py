"""The folder for temporary files: gone with its process, and nobody else's is touched."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtune.run.scratch import Scratch


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have an empty folder with a short name for what is temporary."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_a_folder_goes_with_its_owner(place: Path) -> None:
    """It is there inside the block, private, and gone with its content behind it."""
    with Scratch() as folder:
        (folder / "file").write_text("x")
        assert [folder] == list(place.iterdir())
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_a_folder_that_was_cleared_is_made_and_held_again(place: Path) -> None:
    """After somebody has cleared the place it is there again, and the next start does not take it for abandoned."""
    scratch = Scratch()
    scratch.path.rmdir()
    scratch.renew()
    with Scratch() as other:
        assert {scratch.path, other} == set(place.iterdir())
    scratch.path.rmdir()
    scratch.path.mkdir(mode=0o700)  # by a worker of the trial, which has no lock
    scratch.renew()
    Scratch().close()
    assert list(place.iterdir()) == [scratch.path]
    scratch.close()
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


@pytest.mark.parametrize(("length", "fits"), [(40, True), (74, True), (75, False), (200, False)])
def test_sockets_of_workers_fit_wherever_temporary_files_are(
    length: int,
    fits: bool,  # noqa: FBT001
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the name of the place for temporary files leaves too few bytes for a socket in it, /tmp is used."""
    told = place / ("x" * (length - len(str(place)) - 1))
    told.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(told))
    with Scratch() as folder, socket.socket(socket.AF_UNIX) as line:
        line.bind(str(folder / "listener-abcdefgh"))
        assert folder.parent == (told if fits else Path("/tmp"))
