"""The run directory: ``run.json``, and ``trials.jsonl`` that each trial is appended and synced to."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from loadtune.describe.plan import SweepPlan
from loadtune.errors import OutputError, RunDirectoryError
from loadtune.record.results import SCHEMA, Environment, MemoryLimits, Probe, RunResult, TrialRecord

RUN_FILE, TRIALS_FILE = "run.json", "trials.jsonl"
FILES = (RUN_FILE, TRIALS_FILE, "trials.csv", "report.html")


class Store(Protocol):
    """Keeps a sweep's results as they come."""

    def open(self, header: RunHeader) -> None:
        """Begin, once it is known that there is something to keep."""

    def append(self, record: TrialRecord) -> None:
        """Keep a trial; when this returns, nothing short of a broken disk loses it."""

    def finish(self, result: RunResult) -> None:
        """Keep the conclusion."""

    def close(self) -> None:
        """Let go of what is open, finished or not."""


class RunHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What ``run.json`` holds until the sweep is over."""

    schema: str = SCHEMA
    target: str
    command: tuple[str, ...]
    started_at: str
    environment: Environment
    plan: SweepPlan
    limits: MemoryLimits
    probe: Probe


class NullStore:
    """Keeps nothing."""

    def open(self, header: RunHeader) -> None:
        """Do nothing."""

    def append(self, record: TrialRecord) -> None:
        """Do nothing."""

    def finish(self, result: RunResult) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class RunStore:
    """A run directory that is being written. ``create`` checks; nothing is written before ``open``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = False
        """Whether the directory is this run's: what was there before is gone."""
        self._trials: IO[bytes] | None = None

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, force: bool = False) -> RunStore:
        """Return a store for a new run directory.

        Raises:
            OutputError: The place holds something already, or cannot be written.
        """
        place = Path(path)
        try:
            _check_place(place, force=force)
        except (OSError, ValueError) as error:
            raise OutputError(f"'{place}' cannot be written: {_cause(error)}") from error
        return cls(place)

    def open(self, header: RunHeader) -> None:
        """Make the directory and write what is known before the first trial.

        Raises:
            OutputError: It cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (self.path / name).unlink(missing_ok=True)
            self.opened = True
            write_atomically(self.path / RUN_FILE, _pretty(header))
            self._trials = (self.path / TRIALS_FILE).open("ab")
        except OSError as error:
            raise OutputError(f"'{self.path}' cannot be written: {error.strerror}") from error

    def append(self, record: TrialRecord) -> None:
        """Append a trial and sync it to the disk.

        Raises:
            OutputError: The disk is full or gone; what was written before stays.
        """
        if self._trials is None:
            raise OutputError(f"'{self.path}' is not open for writing")
        try:
            self._trials.write(msgspec.json.encode(record) + b"\n")
            self._trials.flush()
            os.fsync(self._trials.fileno())
        except OSError as error:
            raise OutputError(f"'{self._trials.name}' cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the journal."""
        if self._trials is not None:
            self._trials.close()
            self._trials = None

    def finish(self, result: RunResult) -> None:
        """Write the conclusion over the header.

        Raises:
            OutputError: It cannot be written.
        """
        self.close()
        try:
            write_atomically(self.path / RUN_FILE, _pretty(result))
        except OSError as error:
            raise OutputError(f"'{self.path / RUN_FILE}' cannot be written: {error.strerror}") from error


def load_run(path: str | Path) -> RunResult:
    """Return the run that a directory (or its ``run.json``) holds.

    Raises:
        RunDirectoryError: No run, a run that was not finished, or one of a version that is not known.
    """
    place = Path(path)
    file = place / RUN_FILE if place.is_dir() else place
    if not file.is_file():
        what = (
            "holds no run: there is no run.json in it" if place.is_dir() else "is no run directory: it does not exist"
        )
        raise RunDirectoryError(f"'{place}' {what}")
    data = _decoded(file)
    if data.get("schema") != SCHEMA:
        raise RunDirectoryError(f"'{file}' is no run that this version reads: its schema is not {SCHEMA}")
    if "cost" not in data:
        raise RunDirectoryError(f"the run in '{place}' was not finished: its trials so far are in {TRIALS_FILE}")
    try:
        return msgspec.convert(data, RunResult)
    except msgspec.ValidationError as error:
        raise RunDirectoryError(f"'{file}' is damaged: {error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that at every moment there is the old one or the new one, never half of one.

    Raises:
        OSError: It cannot be written.
    """
    # Forty characters of any script leave room for the rest in the 255 bytes that a name may have.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    # Opened by hand: a file of `tempfile` is readable by its owner alone, a report is for others too.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def why_not_writable(directory: Path) -> str | None:
    """Return why no file can be made in a directory, or None; found out by making one, which is gone again at once.

    Permissions do not tell: root has them all, and neither /proc nor a read-only file system takes a file.
    """
    try:
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return "it takes no files" if isinstance(error, FileNotFoundError) else _cause(error)


def require_possible(path: Path) -> None:
    """Let the system look a path up, so that a name that is too long, or a loop of links, is found before.

    Raises:
        OSError: There can be no file of this name.
        ValueError: The name holds a NUL.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def _check_place(place: Path, *, force: bool) -> None:
    require_possible(place)
    if place.exists() and not place.is_dir():
        raise OutputError(f"'{place}' is a file: a run needs a directory")
    if place.is_dir() and any(place.iterdir()):
        _check_replaceable(place, force=force)
    whole = place.absolute()
    above = next(parent for parent in (whole, *whole.parents) if parent.exists())
    if not above.is_dir():
        raise OutputError(f"'{place}' cannot be made: '{above}' is not a directory")
    for name in whole.relative_to(above).parts:
        require_possible(above / name)  # below a directory that is missing, no name is too long as yet
    problem = why_not_writable(above)
    if problem is not None:
        raise OutputError(f"'{place}' cannot be written: the directory '{above}' is not writable ({problem})")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _check_replaceable(place: Path, *, force: bool) -> None:
    names = {entry.name for entry in place.iterdir()}
    if RUN_FILE not in names:
        raise OutputError(f"'{place}' is there already and holds no run: give a new directory")
    if not force:
        raise OutputError(f"'{place}' holds a run already: use --force to replace it, or give a new directory")


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _decoded(file: Path) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"'{file}' is no JSON: {error}") from error
    except OSError as error:
        raise RunDirectoryError(f"'{file}' cannot be read: {error.strerror}") from error
    if not isinstance(data, dict):
        raise RunDirectoryError(f"'{file}' holds no run")
    return data
