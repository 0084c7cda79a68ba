"""The folder that keeps generated data, and how data gets into it whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from loadtune.errors import OutputError

ABANDONED_AFTER_SECONDS = 3600.0
"""A half-written folder this old belongs to a process that was killed."""


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the user's cache folder of loadtune: ``$XDG_CACHE_HOME/loadtune``, else ``~/.cache/loadtune``.

    It looks at the environment itself: a data set is built in the trial's own process, by a factory that may be
    called without any argument, and the place of caches is a fact of the machine, not an option.

    Raises:
        OutputError: There is no home directory to keep a cache in.
    """
    given = (os.environ if environ is None else environ).get("XDG_CACHE_HOME", "")
    if given and Path(given).is_absolute():  # the XDG specification: a relative path is ignored
        return Path(given) / "loadtune"
    try:
        return Path.home() / ".cache" / "loadtune"
    except RuntimeError as error:
        raise OutputError(
            "there is no home directory to keep generated data in", hint="set XDG_CACHE_HOME to a folder"
        ) from error


def ensure_generated(
    name: str,
    generate: Callable[[Path], None],
    *,
    is_complete: Callable[[Path], bool],
    folder: Path | None = None,
) -> Path:
    """Return the folder ``name`` of generated data, made by ``generate`` when it is missing or incomplete.

    The data is written beside its final place and moved there at the end, so that a folder with the final name is
    whole. Processes that do this at the same time each write their own; the first to finish wins and the others use
    its data.

    Args:
        name: Folder name; carries the version of the generator.
        generate: Fills an empty folder; the same bytes at every call.
        is_complete: Whether all files are in a folder; a cleaner of caches may have taken some.
        folder: Where to keep it; None is `cache_folder()`.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    place = cache_folder() if folder is None else folder
    final = place / name
    try:
        if is_complete(final):
            return final
        place.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place, name)
        partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(name), dir=place))
        try:
            generate(partial)
            _publish(partial, final, is_complete)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"the generated data '{name}' cannot be written under {place}: {error.strerror or error}",
            hint="set XDG_CACHE_HOME to a folder with 250 MB of free space, or use your own data with --arg root=DIR",
        ) from error
    return final


def _publish(partial: Path, final: Path, is_complete: Callable[[Path], bool]) -> None:
    """Move a finished folder to its place, unless another process was first."""
    try:
        partial.rename(final)
    except OSError:
        if is_complete(final):
            return
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)


def _remove_abandoned(place: Path, name: str) -> None:
    """Clear away what killed processes left half-written: a trial host is killed where it stands."""
    oldest = time.time() - ABANDONED_AFTER_SECONDS
    for partial in place.glob(f"{_partial_prefix(name)}*"):
        if partial.stat().st_mtime < oldest:
            shutil.rmtree(partial, ignore_errors=True)


def _partial_prefix(name: str) -> str:
    return f".{name}.partial-"
