"""The exports of a run: checked before the first trial, written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from loadtune.errors import OutputError
from loadtune.record.files import require_possible, why_not_writable, write_atomically
from loadtune.record.results import RunResult
from loadtune.show import page, tables
from loadtune.show.words import plain

STDOUT = "-"

_RENDERERS: dict[str, Callable[[RunResult], str]] = {
    "csv": tables.to_csv,
    "json": tables.to_json,
    "html": page.render_apart,
    "markdown": tables.to_markdown,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """Where a run is exported to: a path for each format, ``"-"`` for standard output, None for not at all."""

    csv: str | None = None
    json: str | None = None
    html: str | None = None
    markdown: str | None = None
    interactive: bool = False
    """Whether the page has its script."""
    force: bool = False
    """Replace files that are there already."""

    def targets(self) -> tuple[tuple[str, str], ...]:
        """Return the formats that are asked for, each with its path."""
        pairs = ((name, getattr(self, name)) for name in _RENDERERS)
        return tuple((name, path) for name, path in pairs if path is not None)

    @property
    def to_stdout(self) -> bool:
        """Whether standard output holds an export, so that everything for people goes to standard error."""
        return any(path == STDOUT for _, path in self.targets())

    def check(self) -> None:
        """Find out, before anything is measured, that every export can be written.

        Raises:
            OutputError: A path that cannot be written or would replace a file, or two exports to one place.
        """
        taken: dict[str, str] = {}
        for name, path in self.targets():
            place = path if path == STDOUT else str(Path(path).absolute())
            if place in taken:
                where = "standard output" if path == STDOUT else f"'{plain(path)}'"
                raise OutputError(
                    f"--export-{taken[place]} and --export-{name} both write to {where}: give each its own"
                )
            taken[place] = name
            if path != STDOUT:
                check_file(path, force=self.force)

    def require_apart(self, folder: Path) -> None:
        """Find out, before anything is measured, that no export lies where the run directory or its parents will be.

        Raises:
            OutputError: One is: by the end it would be a directory.
        """
        run = folder.resolve()
        for name, path in self.targets():
            if path != STDOUT and Path(path).resolve() in (run, *run.parents):
                raise OutputError(
                    f"--export-{name} '{plain(path)}' is where the run directory '{plain(str(folder))}' will be: give "
                    "the export a name of its own"
                )

    def write(self, result: RunResult, stdout: TextIO) -> tuple[Path, ...]:
        """Write every export and return the files written, in the order of their formats.

        Raises:
            OutputError: A file that cannot be written; the others are.
        """
        written, refused = [], []
        for name, path in self.targets():
            text = self._rendered(name, result)
            if path == STDOUT:
                stdout.write(text)
                stdout.flush()
                continue
            try:
                write_file(Path(path), text)
            except OutputError as error:
                refused.append(error)
            else:
                written.append(Path(path))
        if refused:
            raise refused[0]
        return tuple(written)

    def _rendered(self, name: str, result: RunResult) -> str:
        return (
            page.render_apart(result, interactive=True)
            if name == "html" and self.interactive
            else _RENDERERS[name](result)
        )


def check_file(path: str | os.PathLike[str], *, force: bool) -> None:
    """Find out that a file can be written to ``path``.

    Raises:
        OutputError: Its directory is missing or not writable, or something is there already.
    """
    shown = plain(os.fspath(path))
    if not shown:
        raise OutputError("an export needs the name of a file, or - for standard output")
    try:
        if _is_special(Path(path)):
            _require_device(Path(path))
            return
        problem = _problem(Path(path).resolve(), force=force)
    except (OSError, ValueError, RuntimeError) as error:
        problem = f" cannot be written: {_cause(error)}"
    if problem:
        raise OutputError(f"'{shown}'{problem}")


def _problem(file: Path, *, force: bool) -> str | None:
    """Return what follows the path in the sentence that says why it cannot be written, or None."""
    directory = plain(str(file.parent))
    require_possible(file)
    if file.is_dir():
        return " is a directory: name a file in it"
    if not file.parent.is_dir():
        return f" cannot be written: the directory '{directory}' does not exist"
    refused = why_not_writable(file.parent)
    if refused is not None:
        return f" cannot be written: the directory '{directory}' is not writable ({refused})"
    if file.exists() and not force:
        return " exists already: use --force to replace it"
    return None


def _require_device(path: Path) -> None:
    """Write nothing at all to a device: one that is full, or that cannot be opened, refuses even that.

    Raises:
        OSError: It refuses.
    """
    if stat.S_ISFIFO(path.stat().st_mode):
        return  # opened and closed, it would tell its reader that this is the end
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        os.write(handle, b"")
    finally:
        os.close(handle)


def write_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader finds the whole of it or what was there before.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        if _is_special(path):
            path.write_text(text, encoding="utf-8", errors="replace")
        else:
            write_atomically(path.resolve(), text.encode(errors="replace"))
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"'{plain(str(path))}' cannot be written: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or plain(str(error))


def _is_special(path: Path) -> bool:
    """Whether the path is a pipe or a device: written to, never replaced by a file."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):
        return False
