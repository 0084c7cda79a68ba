"""What is noted as a file of data, and what is said of cold files."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripted_machine import a_probe, a_record

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge import page_cache as judged
from loadtune.measure import page_cache
from loadtune.measure.probe import lists_files
from loadtune.record.results import CacheDrop, Finding, TrialRecord
from loadtune.run.page_cache import ColdFiles

MIB = 1 << 20
COLD = SweepPlan(target="x", cache="cold")
GOOD = CacheDrop(
    seconds=0.1, files=100, file_bytes=10 * MIB, checked_bytes=10 * MIB, cached_before_bytes=9 * MIB,
    cached_after_bytes=0, unchecked_files=0, opened_files=100, opened_bytes=10 * MIB, opened_cold_files=100,
    opened_cold_bytes=10 * MIB,
)  # fmt: skip


def cold_record(drop: CacheDrop = GOOD, *, passes: float | None = 0.5) -> TrialRecord:
    record = a_record(LoaderConfig(batch_size=64), (100.0, 101.0))
    assert record.steady is not None
    return replace(record, cache=drop, steady=replace(record.steady, passes=passes))


def said(*records: TrialRecord) -> Finding:
    finding = judged.finding(COLD, a_probe(pass_read_bytes=10 * MIB), records)
    assert finding is not None
    return finding


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/train/n01/one.JPEG", True),
        ("/home/me/code/train.py", False),
        ("/opt/libjpeg.so.8", False),
        ("/proc/self/maps", False),
        ("/usr/share/fonts/a.ttf", False),
        (f"{sysconfig.get_path('purelib')}/package/data.bin", False),
        (f"{sysconfig.get_path('stdlib')}/encodings/aliases.txt", False),
        ("/dev/shm/images/one.jpg", True),
        ("/dev/shm/torch_12_34", False),
        ("/usr/local/data/one", True),
    ],
)
def test_files_of_data_are_told_from_others(path: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Code, libraries and the system's own files are no data; a data set copied to shared memory is."""
    assert page_cache.is_data(path) is expected


@pytest.mark.parametrize(
    ("mode", "flags", "expected"),
    [
        ("rb", os.O_RDONLY, True),
        ("r+b", os.O_RDWR, True),
        (None, os.O_RDONLY | os.O_CLOEXEC, True),
        ("wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, False),
        ("w+b", os.O_RDWR | os.O_CREAT | os.O_TRUNC, False),
        ("ab", os.O_WRONLY | os.O_APPEND | os.O_CREAT, False),
        (None, os.O_WRONLY, False),
    ],
)
def test_reading_is_told_from_making(mode: str | None, flags: int, expected: bool) -> None:  # noqa: FBT001 - same
    """A file opened to be written is none that samples are read from."""
    assert page_cache.is_read(mode, flags) is expected


NOTING = """
import os, sys, pathlib
from loadtune.measure import page_cache
from loadtune.measure.probe import lists_files
page_cache.begin(sys.argv[1])
os.chdir(sys.argv[2])
for name in ("one", "one", b"two", pathlib.Path("a\\nb"), "missing"):
    try:
        open(name, "rb").close()
    except FileNotFoundError:
        pass
open("made", "w").close()
os.open(".", os.O_RDONLY)
page_cache.note_held((os.getpid(),))
try:
    open([], "rb")
except TypeError as error:
    print(error)
"""


def test_notes_hold_what_was_opened_for_reading(tmp_path: Path) -> None:
    """Names of any kind arrive whole, once a process; what is missing or no file is left out; errors stay theirs."""
    for name in ("one", "two", "a\nb"):
        (tmp_path / name).write_bytes(b"12345")
    cold = ColdFiles()
    shown = subprocess.run(
        [sys.executable, "-c", NOTING, cold.notes, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "expected str, bytes or os.PathLike object, not list" in shown.stdout
    opened = cold.account(GOOD)
    assert (opened.opened_files, opened.opened_bytes, opened.opened_cold_files) == (3, 15, 0)
    dropped = cold.drop(within_seconds=60)
    assert (dropped.files, dropped.file_bytes) == (3, 15)
    assert cold.drop(within_seconds=60).files == 0
    cold.close()
    assert not Path(cold.notes).exists()


def test_dropping_that_takes_too_long_goes_on_before_the_next_trial(tmp_path: Path) -> None:
    """With a second for each look at the clock and one and a half allowed, one file is dropped, later the others."""
    seconds = iter(range(1000))
    cold = ColdFiles(clock=lambda: float(next(seconds)))
    for name in "abc":
        (tmp_path / name).write_bytes(b"1")
    noted = b"".join(page_cache.OPENED + os.fsencode(tmp_path / name) + b"\0" for name in "abc")
    Path(cold.notes).write_bytes(noted)
    assert cold.drop(within_seconds=1.5).files == 1
    assert cold.drop(within_seconds=100).files == 2
    cold.close()


def test_what_cannot_be_opened_is_passed_over(tmp_path: Path) -> None:
    """A file that is gone, a folder and a pipe are no files to drop, and none of them stops the others."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "gone", tmp_path, tmp_path / "pipe", Path("/dev/null")):
        assert page_cache.drop(str(path)) is None
    (tmp_path / "empty").touch()
    assert page_cache.drop(str(tmp_path / "empty")) == (0, 0, 0)


def test_other_caches_have_no_finding() -> None:
    """LT014 speaks of cold files alone."""
    assert judged.finding(SweepPlan(target="x"), a_probe(), [cold_record()]) is None
    assert judged.finding(COLD, a_probe(), []) is None


def test_cold_files_are_told_in_numbers() -> None:
    """What was dropped and verified is an info, with its figures."""
    finding = said(cold_record(), cold_record())
    assert finding.severity == "info"
    assert "before each of 2 trials" in finding.message
    assert "100 files of 10.0 MiB" in finding.message
    assert finding.numbers["dropped_bytes"] == 18 * MIB
    assert finding.numbers["cached_share"] == 0


@pytest.mark.parametrize(
    ("drop", "passes", "words"),
    [
        (replace(GOOD, opened_cold_bytes=MIB), 0.5, "only 10.0 % of the bytes of files that trials opened"),
        (replace(GOOD, cached_after_bytes=5 * MIB), 0.5, "50.0 % of the bytes that were to be dropped stayed cached"),
        (replace(GOOD, unchecked_files=7), 0.5, "of 7 files the system does not tell"),
        (GOOD, 3.2, "1 of 1 trial read the data set more than once, up to 3.2 times"),
    ],
)
def test_files_that_were_not_surely_cold_are_a_warning(drop: CacheDrop, passes: float, words: str) -> None:
    """Unknown, kept, unchecked and reread files are each said, with the figure and a next step."""
    finding = said(cold_record(drop, passes=passes))
    assert finding.severity == "warning"
    assert words in finding.message
    assert finding.advice


@pytest.mark.parametrize(
    ("read", "lists", "severity"),
    [(0, False, "info"), (0, True, "warning"), (None, False, "warning"), (50 * MIB, False, "warning")],
)
def test_no_file_seen_is_memory_or_native_code(
    read: int | None,
    lists: bool,  # noqa: FBT001 - a column of the table
    severity: str,
) -> None:
    """Without a file seen, cold changed nothing where nothing was read; where something was, files were not cold."""
    nothing = replace(GOOD, files=0, opened_files=0, opened_bytes=0, opened_cold_files=0, opened_cold_bytes=0)
    finding = judged.finding(COLD, a_probe(pass_read_bytes=read, lists_files=lists), [cold_record(nothing)])
    assert finding is not None
    assert finding.severity == severity
    assert ("cold changed nothing" in finding.message) is (severity == "info")


class Holding:
    """Stands for a data set with one attribute."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


def test_a_list_of_files_is_a_sign_that_they_are_read() -> None:
    """Paths in a list, in tuples with labels, and in a data set that is wrapped; one path or other words are none."""
    here = str(Path(__file__))
    for listed in ([here, here], [(here, 0), (here, 1)], (Path(here),) * 2, np.array([here, here])):
        assert lists_files(Holding(anything=listed))
        assert lists_files(Holding(dataset=Holding(anything=listed)))
    for other in (
        [here],
        here,
        ["cat", "dog"],
        ["a long text " * 1000] * 2,
        ["\0"] * 2,
        [1, 2],
        np.zeros(3),
        None,
        {},
        [[], []],
    ):
        assert not lists_files(Holding(anything=other))
    assert not lists_files(object())
