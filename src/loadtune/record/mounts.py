"""What is mounted where, as ``/proc/self/mountinfo`` tells it; parsers take text and know nothing of files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of ``/proc/self/mountinfo``."""

    root: PurePosixPath
    """The part of the file system that is mounted: for cgroups, the topmost group that can be seen."""
    point: PurePosixPath
    file_system: str
    options: frozenset[str]
    """Options of the file system; for cgroups of version 1 they name the controllers."""


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None when it is not there or may not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts named in ``/proc/self/mountinfo`` (proc(5)), in their order: a later one hides an earlier."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if len(left) < 5 or not left[4].startswith("/"):  # noqa: PLR2004 - the mount point is the fifth field
            continue
        found.append(
            Mount(
                root=PurePosixPath(_unescape(left[3])),
                point=PurePosixPath(_unescape(left[4])),
                file_system=right[0],
                options=frozenset(right[-1].split(",")),
            )
        )
    return tuple(found)


def _unescape(field: str) -> str:
    r"""Undo the octal escapes of mountinfo: a space is written ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def mount_of(path: PurePosixPath, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that holds an absolute path; None where none is known."""
    holding = [mount for mount in mounts if path.is_relative_to(mount.point)]
    # Of mounts on one point the last hides the others.
    return max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)
