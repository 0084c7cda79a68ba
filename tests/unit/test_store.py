"""The run directory: checked before, written whole, read with care."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from factories import HOSTILE, make_record, make_result
from loadtune.describe.config import LoaderConfig
from loadtune.errors import OutputError, RunDirectoryError
from loadtune.record.files import write_atomically
from loadtune.record.results import CacheDrop, RunResult, TrialRecord
from loadtune.record.store import RunHeader, RunStore, load_run, read_kept


def header_of(result: RunResult) -> RunHeader:
    return RunHeader(
        target=result.target,
        command=result.command,
        started_at=result.started_at,
        environment=result.environment,
        plan=result.plan,
        limits=result.limits,
        probe=result.probe,
    )


def test_nothing_is_written_before_the_store_is_opened(tmp_path: Path) -> None:
    """Creating a store for a new place leaves no trace there."""
    RunStore.create(tmp_path / "a" / "run").close()
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_hostile_strings_comes_back_equal(tmp_path: Path) -> None:
    """Markup, escapes and newlines in names and reasons are read back as they were."""
    result = make_result(hostile=HOSTILE)
    store = RunStore.create(tmp_path / "run")
    store.open(header_of(result))
    store.finish(result)
    store.close()
    assert load_run(tmp_path / "run") == result


def test_each_trial_is_a_line_that_is_on_the_disk_at_once(tmp_path: Path) -> None:
    """After append returns, another reader finds the whole line."""
    store = RunStore.create(tmp_path / "run")
    store.open(header_of(make_result()))
    for order in range(3):
        store.append(make_record(LoaderConfig(batch_size=8), 100.0, order=order))
        lines = (tmp_path / "run" / "trials.jsonl").read_bytes().splitlines()
        assert msgspec.json.decode(lines[-1], type=TrialRecord).order == order
    store.close()


def test_time_spent_counts_what_the_page_cache_took(tmp_path: Path) -> None:
    """Of a run that goes on later, two trials and what the page cache took before one of them are spent."""
    store = RunStore.create(tmp_path / "run")
    store.open(header_of(make_result()))
    one = make_record(LoaderConfig(batch_size=8), 100.0, order=0)
    drop = CacheDrop(
        seconds=2.5,
        files=1,
        file_bytes=1,
        checked_bytes=1,
        cached_before_bytes=1,
        cached_after_bytes=0,
        unchecked_files=0,
    )
    store.append(one)
    store.append(dataclasses.replace(one, order=1, cache=drop))
    store.close()
    assert read_kept(tmp_path / "run").spent_seconds == pytest.approx(2 * one.seconds + 2.5)


def test_a_run_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    """A second run in one directory is refused, with --force it replaces the first, its report and its rows too."""
    place = tmp_path / "run"
    store = RunStore.create(place)
    store.open(header_of(make_result()))
    store.close()
    (place / "report.html").write_text("old")
    with pytest.raises(OutputError, match="--force"):
        RunStore.create(place)
    again = RunStore.create(place, force=True)
    again.open(header_of(make_result()))
    again.close()
    assert not (place / "report.html").exists()


def test_a_directory_has_one_writer(tmp_path: Path) -> None:
    """While a store is open another is refused, by force and as a resume too, and nothing of the first is touched."""
    place = tmp_path / "run"
    with RunStore.create(place) as first, RunStore.create(place) as second:
        first.open(header_of(make_result()))
        first.append(make_record(LoaderConfig(batch_size=8), 100.0))
        journal = (place / "trials.jsonl").read_bytes()
        for attempt in (
            lambda: RunStore.create(place),
            lambda: RunStore.create(place, force=True),
            lambda: RunStore.resume(place),
            lambda: second.open(header_of(make_result())),
        ):
            with pytest.raises(OutputError, match="is being written by another sweep"):
                attempt()
        assert (place / "trials.jsonl").read_bytes() == journal
    with RunStore.resume(place) as third:
        assert third.kept is not None
        assert len(third.kept.journal.records) == 1


def test_a_run_that_came_in_between_is_not_replaced(tmp_path: Path) -> None:
    """A place that was free when it was checked, and holds another's finished run when it is opened, is refused."""
    place = tmp_path / "run"
    with RunStore.create(place) as slow:
        with RunStore.create(place) as fast:
            fast.open(header_of(make_result()))
            fast.finish(make_result())
        with pytest.raises(OutputError, match="holds a run already"):
            slow.open(header_of(make_result()))
    assert load_run(place) == make_result()


def test_a_run_that_was_removed_is_not_gone_on_with(tmp_path: Path) -> None:
    """A directory that goes away between reading and writing is named, and none is made in its place."""
    place = tmp_path / "run"
    with RunStore.create(place) as store:
        store.open(header_of(make_result()))
        store.append(make_record(LoaderConfig(batch_size=8), 100.0))
    with RunStore.resume(place) as store:
        shutil.rmtree(place)
        with pytest.raises(OutputError, match="was removed or replaced"):
            store.open(header_of(make_result()))
    assert not place.exists()


def test_what_a_killed_writer_left_half_written_goes(tmp_path: Path) -> None:
    """A temporary file beside nothing is no run to be kept; beside a run it is removed by the resume."""
    place = tmp_path / "run"
    place.mkdir()
    (place / ".run.json.0123abcd.tmp").write_bytes(b"{")
    with RunStore.create(place) as store:
        store.open(header_of(make_result()))
    (place / ".report.html.0123abcd.tmp").write_bytes(b"<")
    with RunStore.resume(place) as store:
        store.open(header_of(make_result()))
    assert sorted(os.listdir(place)) == ["run.json", "trials.jsonl"]


def test_a_plan_that_cannot_be_is_damage(tmp_path: Path) -> None:
    """A header with values that no plan can have is a damaged file, not a wrong option."""
    with RunStore.create(tmp_path / "run") as store:
        store.open(header_of(make_result()))
    file = tmp_path / "run" / "run.json"
    file.write_text(file.read_text().replace('"time_budget_seconds": 60.0', '"time_budget_seconds": -1'))
    with pytest.raises(RunDirectoryError, match=r"run\.json' is damaged"):
        RunStore.resume(tmp_path / "run")


def test_a_directory_of_something_else_is_never_taken(tmp_path: Path) -> None:
    """--force does not write into a directory that holds no run."""
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(OutputError, match="holds no run"):
        RunStore.create(tmp_path, force=True)


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    """A path that is a file, or goes through one, is refused before anything is measured."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError):
            RunStore.create(place)


@pytest.mark.parametrize("name", ["x" * 300, "new/" + "x" * 300, "a\0b", "/".join(["deep"] * 1000)])
def test_an_impossible_name_is_refused(name: str, tmp_path: Path) -> None:
    """A name that no file can have is refused before anything is measured, and nothing is left behind."""
    with pytest.raises(OutputError, match="cannot be written"):
        RunStore.create(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_not_finished_says_where_its_trials_are(tmp_path: Path) -> None:
    """A directory with a header alone is no result."""
    store = RunStore.create(tmp_path / "run")
    store.open(header_of(make_result()))
    store.close()
    with pytest.raises(RunDirectoryError, match=r"not finished.*trials\.jsonl"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "holds no run"),
        (b'{"schema": "other/9"}', "schema"),
        (b'{"schema": "loadtune.run/1", "cost": {}}', "damaged"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """Empty, binary, foreign and incomplete files are refused in a sentence each, never unpickled or guessed at."""
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunDirectoryError, match=words):
        load_run(tmp_path)


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    """An empty directory and a missing one are told apart."""
    with pytest.raises(RunDirectoryError, match="holds no run"):
        load_run(tmp_path)
    with pytest.raises(RunDirectoryError, match="does not exist"):
        load_run(tmp_path / "missing")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the last moment leaves what was there before."""
    place = tmp_path / "run.json"
    place.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(place, b"new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("run.json", "old")]


def test_a_file_of_another_kind_is_no_run_directory(tmp_path: Path) -> None:
    """Of a script that is given for a run it is said that it is a file, and not what its text is not."""
    (tmp_path / "my.py").write_text("print()", encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=r"my\.py' is no run directory: it is a file$"):
        load_run(tmp_path / "my.py")
