"""JSON files of a run directory: read, checked for their schema, and turned into what they say they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from loadtune.errors import LoadtuneError, RunDirectoryError
from loadtune.record.files import cause

T = TypeVar("T")


def read_json(file: Path, *, schema: str, what: str) -> dict[str, Any]:
    """Return the object in a file.

    Args:
        file: What is read.
        schema: That it must have.
        what: The word for what it should hold.

    Raises:
        RunDirectoryError: It cannot be read, is no JSON, or of another schema.
    """
    try:
        data = msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"'{file}' is no JSON: {error}") from error
    except OSError as error:
        raise RunDirectoryError(f"'{file}' cannot be read: {cause(error)}") from error
    if not isinstance(data, dict):
        raise RunDirectoryError(f"'{file}' holds no {what}")
    if data.get("schema") != schema:
        raise RunDirectoryError(f"'{file}' is no {what} that this version reads: its schema is not {schema}")
    return data


def converted(data: dict[str, Any], kind: type[T], file: Path) -> T:
    """Return what ``data`` of a file describes.

    Raises:
        RunDirectoryError: It is damaged.
    """
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, LoadtuneError) as error:
        raise RunDirectoryError(f"'{file}' is damaged: {error}") from error
