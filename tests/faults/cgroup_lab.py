"""Real control groups for a test, where the machine lets it make them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtune.record.cgroups import Group, groups

ROOT = Path("/")
QUOTA = {1: ("cpu.cfs_quota_us", "{quota}"), 2: ("cpu.max", "{quota} 100000")}
MEMORY = {1: "memory.limit_in_bytes", 2: "memory.max"}


class NoGroups(Exception):  # noqa: N818 - no error: the machine allows none
    """Why no group can be made here."""


@dataclass(frozen=True)
class Nest:
    """A group that has a limit, and one inside of it that has none."""

    outer: Path
    inner: Path
    version: int

    def command(self, *words: str) -> list[str]:
        """Return the command that runs ``words`` in the inner group."""
        return ["sh", "-c", f'echo $$ > "{self.inner}/cgroup.procs" && exec "$@"', "sh", *words]


@contextlib.contextmanager
def nest(controller: str) -> Iterator[Nest]:
    """Make a group with one inside, and remove both afterwards.

    Version 1: below this process's own group, so that every limit it has goes on holding. Version 2 lets no group have
    both processes and groups with limits, so they are made at the top of what is mounted.

    Raises:
        NoGroups: The machine does not let this process make any.
    """
    seen = groups(controller, root=ROOT)
    if not seen:
        raise NoGroups(f"no cgroup file system with the controller {controller} is mounted")
    reasons = []
    for parent in (_parent(seen, version) for version in (2, 1)):
        if parent is None:
            continue
        try:
            made = _make(parent, controller)
        except OSError as error:
            reasons.append(f"version {parent.version}: {error}")
            continue
        try:
            yield made
        finally:
            _remove(made.inner)
            _remove(made.outer)
        return
    raise NoGroups(f"no group for {controller} can be made: {'; '.join(reasons)}")


def _parent(seen: tuple[Group, ...], version: int) -> Group | None:
    own = [group for group in seen if group.version == version]
    return (own[0] if version == 1 else own[-1]) if own else None


def _make(parent: Group, controller: str) -> Nest:
    outer = parent.folder / f"loadtune-test-{os.getpid()}-{time.monotonic_ns()}"
    if parent.version == 2:
        # The machine's own choice of controllers is left as it is.
        active = (parent.folder / "cgroup.subtree_control").read_text().split()
        if controller not in active:
            raise OSError(f"{parent.folder} passes no {controller} on (cgroup.subtree_control)")
    outer.mkdir()
    try:
        if parent.version == 2:
            (outer / "cgroup.subtree_control").write_text(f"+{controller}")
        (outer / "inner").mkdir()
    except OSError:
        _remove(outer)
        raise
    return Nest(outer=outer, inner=outer / "inner", version=parent.version)


def _remove(folder: Path) -> None:
    """Remove a group; the kernel takes a moment to forget the last process."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if not folder.exists():
            return
        time.sleep(0.05)


def set_quota(made: Nest, cpus: float) -> None:
    """Grant the outer group so many CPUs, in periods of 100 ms."""
    name, text = QUOTA[made.version]
    (made.outer / name).write_text(text.format(quota=round(cpus * 100_000)))


def set_memory(made: Nest, limit_bytes: int) -> None:
    """Grant the outer group so much memory."""
    (made.outer / MEMORY[made.version]).write_text(str(limit_bytes))
