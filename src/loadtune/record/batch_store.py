"""The run directory of a search for a batch size: a line a probe as it ends, and the result."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from loadtune.errors import OutputError
from loadtune.record.batch_size import SCHEMA, BatchSizeResult, StepProbe
from loadtune.record.files import cause, write_atomically

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


def to_json(result: BatchSizeResult) -> bytes:
    """Return the result as JSON, by the schema ``loadtune.batch-size/1``."""
    fields = {"schema": SCHEMA, **msgspec.to_builtins(result)}
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"
