"""The run directory of a search for a batch size: a line a probe as it ends, and the result."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from loadtune.errors import OutputError, RunDirectoryError
from loadtune.record.batch_size import SCHEMA, BatchSizeResult, StepProbe
from loadtune.record.files import cause, write_atomically
from loadtune.record.json_files import converted, read_json

PROBES = "probes.jsonl"
RESULT = "batch_size.json"


class BatchStore:
    """Keeps probes in a directory.

    Args:
        path: The directory, made when the first probe is kept.
        force: Whether a search that is there is replaced.

    Raises:
        OutputError: Something is there already.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = path
        held = path.is_dir() and any(path.iterdir())
        ours = (path / PROBES).is_file()
        if (held and not (force and ours)) or (path.exists() and not path.is_dir()):
            hint = "give another --output, or --force to replace it" if ours else "give another --output"
            raise OutputError(f"'{path}' holds something already", hint=hint)
        self._begun = False

    def keep(self, probe: StepProbe) -> None:
        """Write one probe.

        Raises:
            OutputError: It cannot be written.
        """
        mode = "ab" if self._begun else "wb"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._begun:
                (self.path / RESULT).unlink(missing_ok=True)  # of the search that is replaced
            with (self.path / PROBES).open(mode) as file:
                file.write(msgspec.json.encode(probe) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"'{self.path}' cannot be written: {cause(error)}") from error
        self._begun = True

    def finish(self, result: BatchSizeResult) -> None:
        """Write the result.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            write_atomically(self.path / RESULT, to_json(result))
        except OSError as error:
            raise OutputError(f"'{self.path}' cannot be written: {cause(error)}") from error


def read_probes(path: Path) -> tuple[StepProbe, ...]:
    """Return the probes that a directory keeps, in their order; a last line that was not written whole is left out.

    Raises:
        RunDirectoryError: They are damaged, or cannot be read.
    """
    file = path / PROBES
    try:
        *lines, _ = file.read_bytes().split(b"\n")
        return tuple(msgspec.json.decode(line, type=StepProbe) for line in lines)
    except OSError as error:
        raise RunDirectoryError(f"'{file}' cannot be read: {cause(error)}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"'{file}' is damaged: {error}") from error


def read_result(path: Path) -> BatchSizeResult | None:
    """Return the result that a directory keeps; None where the search did not come to its end.

    Raises:
        RunDirectoryError: It is damaged, of another version, or cannot be read.
    """
    file = path / RESULT
    if not file.exists():
        return None
    return converted(read_json(file, schema=SCHEMA, what="search for a batch size"), BatchSizeResult, file)


def is_search(path: Path) -> bool:
    """Return whether a directory holds a search for a batch size."""
    return (path / PROBES).is_file()


def to_json(result: BatchSizeResult) -> bytes:
    """Return the result as JSON, by the schema ``loadtune.batch-size/1``."""
    fields = {"schema": SCHEMA, **msgspec.to_builtins(result)}
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"
