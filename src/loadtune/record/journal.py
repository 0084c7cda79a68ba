"""``trials.jsonl``: one line a trial, on the disk before the next one begins, and what a crash can do to it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loadtune.errors import LoadtuneError, OutputError, RunDirectoryError
from loadtune.record.results import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a journal holds."""

    records: tuple[TrialRecord, ...] = ()
    whole_bytes: int = 0
    """Length of the lines that hold them; what is behind is torn."""
    torn: bool = False
    """Whether something is behind the last whole line: a trial that was being written when the machine stopped."""


def read_journal(path: Path) -> Journal:
    """Return the trials that a journal holds, without one that was torn at its end; empty where there is no file.

    Only the last line can be torn: each is on the disk before the next is written. A line that ends nowhere, one of
    NULs after a power cut, or a last one that cannot be read is left out.

    Raises:
        RunDirectoryError: A line before the last is damaged, the trials are not in their order, or the file cannot be
            read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Journal()
    except OSError as error:
        raise RunDirectoryError(f"'{path}' cannot be read: {error.strerror}") from error
    *lines, rest = data.split(b"\n")
    whole_bytes = len(data) - len(rest)
    records: list[TrialRecord] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _decoded(line)
        except ValueError as error:
            if number == len(lines) and not rest:
                return Journal(records=tuple(records), whole_bytes=whole_bytes - len(line) - 1, torn=True)
            raise RunDirectoryError(f"line {number} of '{path}' is damaged: {error}", hint=_TO_MEND) from error
        if record.order != len(records):
            raise RunDirectoryError(
                f"line {number} of '{path}' holds trial {record.order} where trial {len(records)} is next: "
                "lines are missing, there twice, or of another run",
                hint=_TO_MEND,
            )
        records.append(record)
    return Journal(records=tuple(records), whole_bytes=whole_bytes, torn=bool(rest))


_TO_MEND = "cut the file before this line to keep the trials above it, then resume the run"


def _decoded(line: bytes) -> TrialRecord:
    try:
        return msgspec.json.decode(line, type=TrialRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LoadtuneError) as error:
        raise ValueError(str(error)) from error


class JournalWriter:
    """Appends trials to a journal, each whole and synced.

    Args:
        path: The file; made where it is to be empty.
        journal: What it holds; anything behind is cut off.

    Raises:
        OSError: It cannot be opened or cut.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self.count = len(journal.records)
        """Trials that are kept."""
        self._end = journal.whole_bytes
        self._file = path.open("r+b" if self._end else "w+b", buffering=0)
        self._file.truncate(self._end)

    def append(self, record: TrialRecord) -> None:
        """Write a trial behind the last one and sync it to the disk.

        It goes to a place that is known, so that a call which was interrupted is made good by making it again.

        Raises:
            OutputError: The disk is full or gone; the trials before are as they were.
        """
        line = msgspec.json.encode(record) + b"\n"
        try:
            self._write(line)
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # where even this fails a torn line is left, and readers know about those
                self._file.truncate(self._end)
            raise OutputError(f"'{self.path}' cannot be written: {error.strerror}") from error
        self._end += len(line)
        self.count += 1

    def is_there(self) -> bool:
        """Return whether the file is still found under its name; True where that cannot be told."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        return False

    def _write(self, line: bytes) -> None:
        self._file.seek(self._end)
        rest = memoryview(line)
        while rest:  # a disk that fills up takes the first part and refuses the next
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
