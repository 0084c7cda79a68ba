"""Where exports go: checked before the first trial, written whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest

from factories import make_result
from loadtune.errors import OutputError
from loadtune.show.outputs import Exports, write_file


def test_every_export_is_written(tmp_path: Path) -> None:
    """Each format goes to its own file, and the files are named in order."""
    exports = Exports(
        csv=str(tmp_path / "a.csv"), json=str(tmp_path / "a.json"), html=str(tmp_path / "a.html"),
        markdown=str(tmp_path / "a.md"),
    )  # fmt: skip
    exports.check()
    written = exports.write(make_result(), io.StringIO())
    assert [path.name for path in written] == ["a.csv", "a.json", "a.html", "a.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.html", "a.json", "a.md"]
    assert all(path.read_text(encoding="utf-8").strip() for path in written)


def test_one_that_cannot_be_written_keeps_no_other_from_it(tmp_path: Path) -> None:
    """The CSV's folder is gone by the end: the error names it, and the JSON and the page are there."""
    exports = Exports(csv=str(tmp_path / "no" / "a.csv"), json=str(tmp_path / "a.json"), html=str(tmp_path / "a.html"))
    with pytest.raises(OutputError, match=r"a\.csv"):
        exports.write(make_result(), io.StringIO())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json"]


def test_stdout_holds_one_export_alone() -> None:
    """With ``-`` the export goes to the stream, and nothing else does."""
    stream = io.StringIO()
    exports = Exports(csv="-")
    exports.check()
    assert exports.to_stdout
    assert exports.write(make_result(), stream) == ()
    assert stream.getvalue().startswith("config_id,")


def test_check_writes_nothing(tmp_path: Path) -> None:
    """The check leaves no file behind."""
    Exports(csv=str(tmp_path / "a.csv")).check()
    assert list(tmp_path.iterdir()) == []


def test_bad_places_are_refused_in_one_sentence(tmp_path: Path) -> None:
    """A missing directory, a directory, an existing file, two exports to one place: exit 2, the path named."""
    there = tmp_path / "there.csv"
    there.touch()
    cases = (
        (Exports(csv=str(tmp_path / "no" / "a.csv")), "does not exist"),
        (Exports(csv=str(tmp_path)), "is a directory"),
        (Exports(csv=str(there)), "use --force to replace it"),
        (Exports(csv=str(there / "a.csv")), "there.csv"),
        (Exports(csv="-", json="-"), "--export-csv and --export-json both write to standard output"),
        (Exports(csv=str(tmp_path / "a"), json=str(tmp_path / "a")), "both write to"),
        (Exports(html=""), "name of a file"),
        (Exports(html=str(tmp_path / ("x" * 300))), "cannot be written"),
        (Exports(html="a\0b"), "cannot be written"),
    )
    for exports, words in cases:
        with pytest.raises(OutputError, match=words) as caught:
            exports.check()
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)


def test_an_export_is_not_where_the_run_directory_will_be(tmp_path: Path) -> None:
    """The run directory and each folder above it are refused, through a link too; a file beside it is not."""
    run = tmp_path / "runs" / "first"
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (run, run.parent, tmp_path / "link" / "runs", tmp_path / "x" / ".." / "runs"):
        with pytest.raises(
            OutputError, match=r"--export-csv '.*' is where the run directory '.*first' will be"
        ) as caught:
            Exports(csv=str(path)).require_apart(run)
        assert caught.value.exit_code == 2
    Exports(csv=str(tmp_path / "first"), json="-", html=str(run / "page.html")).require_apart(run)


def test_a_directory_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without write permission is found before the first trial, whoever asks."""
    tmp_path.chmod(0o500)

    def refuse(**_where: object) -> None:  # what root would not be refused
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match=r"not writable \(Permission denied\)"):
        Exports(csv=str(tmp_path / "a.csv")).check()


def test_force_replaces_a_file_and_keeps_to_the_umask(tmp_path: Path) -> None:
    """With force an existing file is replaced, and the new one is readable as any new file is."""
    path = tmp_path / "a.csv"
    path.write_text("before")
    exports = Exports(csv=str(path), force=True)
    exports.check()
    exports.write(make_result(), io.StringIO())
    other = tmp_path / "other"
    other.touch()
    assert path.read_text().startswith("config_id")
    assert path.stat().st_mode == other.stat().st_mode


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """A symbolic link stays one; what it points to is replaced."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_file(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "text"


def test_a_device_is_written_to_and_never_replaced() -> None:
    """``/dev/null`` is a device afterwards too."""
    Exports(csv="/dev/null").check()
    write_file(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_left_alone(tmp_path: Path) -> None:
    """The check neither waits for the reader of a named pipe nor ends its reading."""
    os.mkfifo(tmp_path / "pipe")
    Exports(csv=str(tmp_path / "pipe")).check()


def test_a_long_name_in_any_script_is_written(tmp_path: Path) -> None:
    """A name that just fits is written although its characters take four bytes each."""
    path = tmp_path / ("\N{SNAKE}" * 62)
    Exports(csv=str(path)).check()
    write_file(path, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, the old file is whole, no temporary file stays, and the error says why."""
    path = tmp_path / "a.csv"
    path.write_text("before")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_file(path, "after")
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]
