"""What a crash can do to a journal, for every place that it can strike."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import HOSTILE, make_record
from loadtune.describe.config import LoaderConfig
from loadtune.errors import RunDirectoryError
from loadtune.record.journal import Journal, JournalWriter, read_journal
from loadtune.record.results import TrialRecord

RECORDS = tuple(
    make_record(LoaderConfig(batch_size=8 << order), 100.0 if order % 3 else None, order=order, stderr_tail=tail)
    for order, tail in enumerate(["", HOSTILE, "é\n☃", "}", "\x00"])
)
LINES = tuple(msgspec.json.encode(record) + b"\n" for record in RECORDS)
WHOLE = b"".join(LINES)


def read(data: bytes) -> Journal:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        path.write_bytes(data)
        return read_journal(path)


def resumed(data: bytes, more: TrialRecord) -> bytes:
    """Return what the file holds after a resume has appended a trial."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        path.write_bytes(data)
        writer = JournalWriter(path, read_journal(path))
        writer.append(more)
        writer.close()
        return path.read_bytes()


def whole_lines(length: int) -> int:
    return WHOLE[:length].count(b"\n")


@given(length=st.integers(0, len(WHOLE)))
def test_a_journal_cut_anywhere_gives_its_whole_lines(length: int) -> None:
    """Whatever byte a file ends at, exactly the trials of its whole lines are read, and a rest is noticed."""
    journal = read(WHOLE[:length])
    count = whole_lines(length)
    assert journal.records == RECORDS[:count]
    assert journal.whole_bytes == sum(map(len, LINES[:count]))
    assert journal.torn is (length > journal.whole_bytes)


@given(length=st.integers(0, len(WHOLE) - 1), nuls=st.integers(0, 5000))
def test_nuls_behind_the_last_line_are_a_torn_line(length: int, nuls: int) -> None:
    """A file that a power cut filled up with zeros gives its whole lines too."""
    assert read(WHOLE[:length] + bytes(nuls)).records == RECORDS[: whole_lines(length)]


@given(length=st.integers(0, len(WHOLE) - 1), nuls=st.integers(0, 5000))
def test_what_a_resume_appends_stands_on_its_own_line(length: int, nuls: int) -> None:
    """After a resume of a journal that was cut anywhere, it holds its whole lines and the new trial, and no rest."""
    count = whole_lines(length)
    data = resumed(WHOLE[:length] + bytes(nuls), RECORDS[count])
    assert data == b"".join(LINES[: count + 1])


@given(line=st.integers(0, len(LINES) - 2), garbage=st.binary(min_size=1, max_size=40).filter(lambda b: b.strip()))
def test_a_damaged_line_in_the_middle_is_named(line: int, garbage: bytes) -> None:
    """A line before the last that is no trial is refused by its number, and never skipped."""
    damaged = (*LINES[:line], garbage.replace(b"\n", b"?") + b"\n", *LINES[line + 1 :])
    with pytest.raises(RunDirectoryError, match=rf"line {line + 1} of '.*' is damaged"):
        read(b"".join(damaged))


@given(line=st.integers(0, len(LINES) - 2), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_moves_a_trial(line: int, place: int, bit: int) -> None:
    """One bit flipped in the middle is either refused by its line, or leaves every trial at its place and number."""
    data = bytearray(b"".join(LINES))
    at = sum(map(len, LINES[:line])) + place % (len(LINES[line]) - 1)
    data[at] ^= 1 << bit
    try:
        journal = read(bytes(data))
    except RunDirectoryError as error:
        assert f"line {line + 1} of" in str(error)  # noqa: PT017 - either way is right
        return
    assert [record.order for record in journal.records] == list(range(len(LINES)))


@given(order=st.permutations(range(len(LINES))))
def test_trials_out_of_order_are_refused(order: list[int]) -> None:
    """Lines that are swapped are refused at the first that is not the next trial."""
    first = next((place for place, line in enumerate(order) if place != line), None)
    data = b"".join(LINES[line] for line in order)
    if first is None:
        assert read(data).records == RECORDS
        return
    with pytest.raises(RunDirectoryError, match=rf"line {first + 1} of '.*' holds trial {order[first]} where"):
        read(data)


@given(line=st.integers(0, len(LINES) - 1))
def test_a_line_that_is_there_twice_is_refused(line: int) -> None:
    """A trial counts once: the line that repeats it is named."""
    with pytest.raises(RunDirectoryError, match=rf"line {line + 2} of '.*' holds trial {line} where trial {line + 1}"):
        read(b"".join((*LINES[: line + 1], LINES[line], *LINES[line + 1 :])))


@given(blank=st.sampled_from([b"\n", b"\r\n", b"  \n"]), line=st.integers(0, len(LINES)))
def test_an_empty_line_is_nothing(blank: bytes, line: int) -> None:
    """An editor's empty line neither counts nor disturbs."""
    journal = read(b"".join((*LINES[:line], blank, *LINES[line:])))
    assert (journal.records, journal.torn) == (RECORDS, False)


@pytest.mark.parametrize("last", [b"{\x00\x00\x00}\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"order": 5}\n'])
def test_a_last_line_that_cannot_be_read_is_torn(last: bytes) -> None:
    """A last line whose bytes did not all reach the disk is left out, although it ends."""
    journal = read(WHOLE + last)
    assert (journal.records, journal.whole_bytes, journal.torn) == (RECORDS, len(WHOLE), True)
