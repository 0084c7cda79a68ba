"""The run directory: ``run.json``, and ``trials.jsonl`` that each trial is synced to. One writer at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import msgspec

from loadtune.describe.plan import SweepPlan
from loadtune.errors import OutputError, RunDirectoryError
from loadtune.record.batch_store import is_search
from loadtune.record.files import HALF_WRITTEN, cause, require_possible, why_not_writable, write_atomically
from loadtune.record.journal import Journal, JournalWriter, read_journal
from loadtune.record.json_files import converted, read_json
from loadtune.record.lock import DirectoryLock
from loadtune.record.results import SCHEMA, Environment, MemoryLimits, Probe, Resume, RunResult, TrialRecord

RUN_FILE, TRIALS_FILE = "run.json", "trials.jsonl"
FILES = (RUN_FILE, TRIALS_FILE, "trials.csv", "report.html")


class Store(Protocol):
    """Keeps a sweep's results as they come."""

    @property
    def count(self) -> int:
        """Trials that are kept."""

    def open(self, header: RunHeader) -> None:
        """Begin, once it is known that there is something to keep."""

    def append(self, record: TrialRecord) -> None:
        """Keep a trial; when this returns, nothing short of a broken disk loses it."""

    def finish(self, result: RunResult) -> None:
        """Keep the conclusion."""


class RunHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What ``run.json`` holds until the sweep is over."""

    schema: str = SCHEMA
    target: str
    command: tuple[str, ...]
    started_at: str
    environment: Environment
    plan: SweepPlan
    """As it was asked for: axes that were left to the machine are ``"auto"``. The device is the one that was found."""
    limits: MemoryLimits
    probe: Probe
    resumes: tuple[Resume, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """What a run directory holds of a sweep, finished or not."""

    path: Path
    header: RunHeader
    journal: Journal
    result: RunResult | None
    """What was concluded of all these trials, where it was."""

    @property
    def finished(self) -> bool:
        """Whether the sweep came to its end by itself."""
        return self.result is not None and self.result.finished

    @property
    def spent_seconds(self) -> float:
        """What was used of the time budget: the trials, and where the sweep came to its end also what was between."""
        trials = sum(r.seconds + (r.cache.seconds if r.cache else 0.0) for r in self.journal.records)
        return max(trials, self.result.cost.seconds) if self.result is not None and self.finished else trials


class NullStore:
    """Keeps nothing."""

    count = 0

    def open(self, header: RunHeader) -> None:
        """Do nothing."""

    def append(self, record: TrialRecord) -> None:
        """Do nothing."""

    def finish(self, result: RunResult) -> None:
        """Do nothing."""


class RunStore:
    """A run directory that is being written, by this process alone until ``close``.

    ``create`` and ``resume`` check; nothing is written before ``open``. Use it as a context manager.
    """

    def __init__(self, path: Path, *, force: bool = False, force_words: str = "--force") -> None:
        self.path = path
        self.opened = False
        """Whether the directory is this run's: what was there before is gone."""
        self.kept: KeptRun | None = None
        """The run that is taken up again, or None."""
        self._force = force
        self._force_words = force_words
        self._lock = DirectoryLock()
        self._journal: JournalWriter | None = None

    @property
    def count(self) -> int:
        """Trials that are kept."""
        return self._journal.count if self._journal is not None else 0

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, force: bool = False, force_words: str = "--force") -> RunStore:
        """Return a store for a new run directory.

        Raises:
            OutputError: The place holds something already, is being written, or cannot be written.
        """
        store = cls(Path(path), force=force, force_words=force_words)
        store._check(store._claim)
        return store

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> RunStore:
        """Return a store that goes on with the run in a directory; ``kept`` is what it holds.

        Raises:
            RunDirectoryError: There is no run, or a damaged one.
            OutputError: It is being written, or cannot be written.
        """
        place = Path(path)
        store = cls(place.parent if place.name == RUN_FILE and place.is_file() else place)
        store._check(store._take_up)
        return store

    def _check(self, check: Callable[[], None]) -> None:
        try:
            check()
        except BaseException:
            self.close()
            raise

    def _take_up(self) -> None:
        """Read what is to be gone on with, under the lock."""
        if self.path.is_dir():
            self._acquire()
        self.kept = read_kept(self.path)
        problem = why_not_writable(self.path)
        if problem is not None:
            raise OutputError(f"'{self.path}' cannot be written: {problem}")

    def _claim(self) -> None:
        """Check the place, under the lock where it is there."""
        try:
            require_possible(self.path)
            if self.path.is_dir():
                self._acquire()
            _check_place(self.path, force=self._force, force_words=self._force_words)
        except (OSError, ValueError) as error:
            raise OutputError(f"'{self.path}' cannot be written: {cause(error)}") from error

    def _acquire(self) -> None:
        try:
            free = self._lock.acquire(self.path)
        except PermissionError as error:
            raise OutputError(f"'{self.path}' cannot be read: {error.strerror}") from error
        if not free:
            raise OutputError(
                f"'{self.path}' is being written by another sweep: wait for its end, or give another directory"
            )

    def open(self, header: RunHeader) -> None:
        """Make the directory and write what is known before the first trial; of a resumed run, add to what is there.

        Raises:
            OutputError: It cannot be made or written, or another sweep was faster.
        """
        try:
            if self.kept is None:
                self._make()
            elif not self._lock.is_of(self.path):
                raise OutputError(f"'{self.path}' was removed or replaced since it was read")
            self._remove(entry for entry in self.path.iterdir() if HALF_WRITTEN.fullmatch(entry.name))
            # The journal first: a header beside the trials of another run would be a lie.
            journal = JournalWriter(self.path / TRIALS_FILE, self.kept.journal if self.kept else Journal())
            self._journal = journal
            write_atomically(self.path / RUN_FILE, _pretty(header))
        except OSError as error:
            raise OutputError(f"'{self.path}' cannot be written: {error.strerror}") from error
        self.opened = True

    def _make(self) -> None:
        """Make the directory, or empty the one that is to be replaced."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._lock.is_of(self.path):
            self._lock.release()
        self._claim()  # once more: since `create`, another sweep may have come and gone
        # run.json last and replaced, not removed: without it the rest is no run, that even --force would not touch.
        self._remove(self.path / name for name in FILES if name != RUN_FILE)

    def _remove(self, files: Iterator[Path]) -> None:
        for file in list(files):
            file.unlink(missing_ok=True)

    def append(self, record: TrialRecord) -> None:
        """Append a trial and sync it to the disk.

        Raises:
            OutputError: The disk is full or gone; what was written before stays. Or the run directory is gone.
        """
        if self._journal is None:
            raise OutputError(f"'{self.path}' is not open for writing")
        self._require_there()
        self._journal.append(record)

    def _require_there(self) -> None:
        """Refuse to write where nobody would find it: the files of a folder that is removed live on without a name.

        Raises:
            OutputError: The run directory or its journal is not what it was.
        """
        if self._journal is None or (self._lock.is_of(self.path) and self._journal.is_there()):
            return
        self.opened = False
        raise OutputError(
            f"'{self.path}' was removed, moved or replaced while the sweep wrote to it: its {self.count} trials went "
            "with it, and the sweep ends"
        )

    def finish(self, result: RunResult) -> None:
        """Write the conclusion over the header.

        Raises:
            OutputError: It cannot be written; header and trials stay. Or the run directory is gone.
        """
        self._require_there()
        try:
            write_atomically(self.path / RUN_FILE, _pretty(result))
        except OSError as error:
            raise OutputError(f"'{self.path / RUN_FILE}' cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the journal and let others write."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._lock.release()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_kept(path: str | os.PathLike[str]) -> KeptRun:
    """Return what a run directory holds, of a finished run or of one that was not.

    Raises:
        RunDirectoryError: No run, a damaged one, or one of a version that is not known.
    """
    place = Path(path)
    file, data = _run_file(place)
    folder = file.parent
    header = converted(data, RunHeader, file)
    journal = read_journal(folder / TRIALS_FILE)
    result = converted(data, RunResult, file) if "cost" in data else None
    if result is not None and not journal.records and result.cost.trials:
        raise RunDirectoryError(
            f"'{folder / TRIALS_FILE}' holds none of the {result.cost.trials} trials that {RUN_FILE} counts: it was "
            "cut or removed",
            hint=f"`loadtune show` prints what {RUN_FILE} has; to measure again, start a run in a new directory",
        )
    if result is not None and len(journal.records) < result.cost.trials:
        result = None  # torn, or mended by hand: what was concluded from more is concluded anew
        there = tuple(resume for resume in header.resumes if resume.order <= len(journal.records))
        header = msgspec.structs.replace(header, resumes=there)
    return KeptRun(path=folder, header=header, journal=journal, result=result)


def load_run(path: str | Path) -> RunResult:
    """Return what was concluded of the run that a directory (or its ``run.json``) holds.

    Raises:
        RunDirectoryError: No run, a run that was not finished, or one of a version that is not known.
    """
    result = concluded(path)
    if result is None:
        raise RunDirectoryError(f"the run in '{path}' was not finished: its trials so far are in {TRIALS_FILE}")
    return result


def concluded(path: str | os.PathLike[str]) -> RunResult | None:
    """Return what was concluded of a run, whatever became of its journal; None where nothing was yet.

    Raises:
        RunDirectoryError: No run, a damaged one, or one of a version that is not known.
    """
    file, data = _run_file(Path(path))
    return converted(data, RunResult, file) if "cost" in data else None


def _run_file(place: Path) -> tuple[Path, dict[str, Any]]:
    if place.is_file() and place.suffix != Path(RUN_FILE).suffix:
        raise RunDirectoryError(f"'{place}' is no run directory: it is a file")
    file = place / RUN_FILE if place.is_dir() else place
    if not file.is_file():
        what = (
            "holds no run: there is no run.json in it" if place.is_dir() else "is no run directory: it does not exist"
        )
        hint = "it holds a search for a batch size, which `loadtune show` prints" if is_search(place) else None
        raise RunDirectoryError(f"'{place}' {what}", hint=hint)
    return file, read_json(file, schema=SCHEMA, what="run")


def _check_place(place: Path, *, force: bool, force_words: str) -> None:
    if place.exists() and not place.is_dir():
        raise OutputError(f"'{place}' is a file: a run needs a directory")
    if place.is_dir() and any(place.iterdir()):
        _check_replaceable(place, force=force, force_words=force_words)
    whole = place.absolute()
    above = next(parent for parent in (whole, *whole.parents) if parent.exists())
    if not above.is_dir():
        raise OutputError(f"'{place}' cannot be made: '{above}' is not a directory")
    for name in whole.relative_to(above).parts:
        require_possible(above / name)  # below a directory that is missing, no name is too long as yet
    problem = why_not_writable(above)
    if problem is not None:
        raise OutputError(f"'{place}' cannot be written: the directory '{above}' is not writable ({problem})")


def _check_replaceable(place: Path, *, force: bool, force_words: str) -> None:
    names = {entry.name for entry in place.iterdir() if not HALF_WRITTEN.fullmatch(entry.name)}
    if not names:
        return
    if RUN_FILE not in names:
        raise OutputError(f"'{place}' is there already and holds no run: give a new directory")
    if not force:
        raise OutputError(f"'{place}' holds a run already: use {force_words} to replace it, or give a new directory")


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
