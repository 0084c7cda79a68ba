"""A run that was kept: loaded whether it was finished or not, and the command that goes on with it."""

from __future__ import annotations

import os
import shlex

from loadtune.errors import LoadtuneError, RunDirectoryError
from loadtune.record.lock import is_locked
from loadtune.record.results import RunResult
from loadtune.record.store import KeptRun, concluded, read_kept
from loadtune.run.sweep import conclude


def load(path: str | os.PathLike[str]) -> RunResult:
    """Return the result of the run that a directory (or its ``run.json``) holds.

    Of a run that was not finished, because the sweep was killed or is still going on, it is what its trials so far
    say; ``finished`` is False then.

    Raises:
        RunDirectoryError: No run, a damaged one, or one of a version that is not known.
    """
    result = concluded(path)
    return result if result is not None else so_far(read_kept(path))


def so_far(kept: KeptRun) -> RunResult:
    """Return what the trials of a run say that was not concluded.

    Raises:
        RunDirectoryError: The header does not fit the trials.
    """
    try:
        return conclude(kept.header, kept.journal.records, elapsed_seconds=kept.spent_seconds, finished=False)
    except LoadtuneError as error:
        raise RunDirectoryError(f"'{kept.path}' is damaged: {error}") from error


def is_object(target: str) -> bool:
    """Return whether a target is an object that was handed to ``loadtune.sweep``, which no command line can name."""
    return target.startswith("<")


def resume_command(directory: str | os.PathLike[str]) -> str:
    """Return the command that goes on with a run, as a shell takes it."""
    folder = os.fspath(directory)
    # A name that begins with a hyphen would be taken for an option.
    return f"loadtune sweep --resume {shlex.quote(f'./{folder}' if folder.startswith('-') else folder)}"


def unfinished_note(result: RunResult, directory: str | os.PathLike[str]) -> str | None:
    """Return what to say beside a run that is not finished: how to go on with it; None where it is finished."""
    if result.finished:
        return None
    if is_locked(directory):
        return "a sweep is still measuring this run: this is what it has so far"
    if is_object(result.target):
        return f"this run of {result.target} was not finished: call loadtune.sweep again, to a new directory"
    return f"this run was not finished; go on with: {resume_command(directory)}"
