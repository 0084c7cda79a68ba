"""A journal that two have written to, by a mistake or a broken lock: refused by its line, or whole; never mixed up."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from factories import make_record
from loadtune.describe.config import LoaderConfig
from loadtune.errors import RunDirectoryError
from loadtune.record.journal import read_journal
from loadtune.record.results import TrialRecord

TRIALS = 4
ONE = tuple(make_record(LoaderConfig(batch_size=8), 100.0, order=order) for order in range(TRIALS))
OTHER = tuple(replace(record, block=7, stderr_tail="of the other") for record in ONE)


def line(record: TrialRecord) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def read(data: bytes) -> tuple[TrialRecord, ...] | None:
    """Return the trials of a journal; None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        path.write_bytes(data)
        try:
            return read_journal(path).records
        except RunDirectoryError as error:
            assert "line " in str(error)  # noqa: PT017 - either way is right
            return None


@given(turns=st.lists(st.booleans(), min_size=1, max_size=2 * TRIALS))
def test_lines_of_two_writers_are_read_only_where_they_are_one_run(turns: list[bool]) -> None:
    """Any interleaving of two writers' lines is read as trials 0, 1, 2, … each once, or refused."""
    queues = [list(ONE), list(OTHER)]
    written = [queues[turn].pop(0) for turn in turns if queues[turn]]
    records = read(b"".join(map(line, written)))
    if [record.order for record in written] == list(range(len(written))):
        assert records == tuple(written)
    else:
        assert records is None


@given(cuts=st.lists(st.integers(0, 5000), min_size=1, max_size=8), tail=st.integers(0, 5000))
def test_bytes_of_two_writers_mixed_anywhere_make_up_no_trial(cuts: list[int], tail: int) -> None:
    """However the bytes of two writers are mixed and wherever the file is cut, each trial read is one that was written.

    A line that is torn in the midst of the file is refused; one at its end is left out.
    """
    streams = [b"".join(map(line, ONE)), b"".join(map(line, OTHER))]
    data = b""
    for turn, length in enumerate(cuts):
        data, streams[turn % 2] = data + streams[turn % 2][:length], streams[turn % 2][length:]
    records = read(data[: max(0, len(data) - tail)])
    for order, record in enumerate(records or ()):
        assert record in (ONE[order], OTHER[order])


@given(missing=st.sets(st.integers(0, TRIALS - 1), min_size=1, max_size=TRIALS - 1))
def test_a_journal_with_gaps_is_never_taken_for_whole(missing: set[int]) -> None:
    """With trials missing anywhere but at the end it is refused; at the end the others are there."""
    there = [record for record in ONE if record.order not in missing]
    records = read(b"".join(map(line, there)))
    whole = [record.order for record in there] == list(range(len(there)))
    assert records == (tuple(there) if whole else None)
