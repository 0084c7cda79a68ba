"""Control groups of Linux, versions 1 and 2: which ones this process is in, and what they allow it.

Parsers take text and know nothing of files; readers take the root of a file tree, so that tests give them their own.
A group's limit holds for all groups below it: every ancestor that can be seen is read, not the innermost group alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loadtune.record.mounts import Mount, parse_mounts, read_text

UNLIMITED_FROM = 2**62
"""Version 1 writes "no limit" as 2**63 less a page, whose size differs between machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One line of ``/proc/self/cgroup``: the group this process is in, in one hierarchy."""

    controllers: frozenset[str]
    """What the hierarchy controls (version 1); empty for version 2."""
    path: PurePosixPath
    """The group, as seen from this process's cgroup namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttling:
    """How a group's quota has held back what runs in the group and below it, since the group was made."""

    source: str
    """For people, such as ``cgroup v2 /a cpu.stat``."""
    periods: int
    """Periods in which the quota was used up."""
    seconds: float
    """Time that threads were held back, summed over the CPUs that they were to run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeTasks:
    """Processes and threads that a group still allows."""

    amount: int
    source: str
    """For people, such as ``cgroup v2 /a pids.max 512``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group this process is in, or an ancestor of it."""

    version: int
    path: PurePosixPath
    """Its name, for people."""
    folder: Path
    """Where its files are."""

    def read(self, name: str) -> str | None:
        """Return the text of one of its files, or None when that is not there or may not be read."""
        return read_text(self.folder / name)

    def label(self, name: str) -> str:
        """Return ``cgroup v2 /a/b memory.max``."""
        return f"cgroup v{self.version} {self.path} {name}"


def parse_memberships(text: str) -> tuple[Membership, ...]:
    """Return the groups named in ``/proc/self/cgroup``: lines like ``4:cpu,cpuacct:/a/b`` and ``0::/a/b``."""
    found = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number.isdigit() and path.startswith("/"):
            names = frozenset(name for name in controllers.split(",") if name)
            found.append(Membership(controllers=names, path=PurePosixPath(path)))
    return tuple(found)


def groups(controller: str, *, root: Path) -> tuple[Group, ...]:
    """Return all visible groups that bound this process in ``controller`` (``cpu``, ``memory``), innermost first.

    Both versions are looked at: on machines that mount both, either may hold the controller.
    """
    memberships = parse_memberships(read_text(root / "proc/self/cgroup") or "")
    mounts = parse_mounts(read_text(root / "proc/self/mountinfo") or "")
    found: list[Group] = []
    for membership in memberships:
        version = _version(membership, controller)
        if version is None:
            continue
        of_hierarchy = [mount for mount in mounts if _mounts(mount, controller, version)]
        for folder in _folders(membership.path, of_hierarchy):
            on_disk = root / folder.relative_to("/")
            found.append(Group(version=version, path=_name(folder, of_hierarchy), folder=on_disk))
    return tuple(found)


def _version(membership: Membership, controller: str) -> int | None:
    if not membership.controllers:
        return 2
    return 1 if controller in membership.controllers else None


def _mounts(mount: Mount, controller: str, version: int) -> bool:
    if version == 2:  # noqa: PLR2004
        return mount.file_system == "cgroup2"
    return mount.file_system == "cgroup" and controller in mount.options


def _folders(path: PurePosixPath, mounts: list[Mount]) -> Iterator[PurePosixPath]:
    """Yield the folder of the group at ``path`` and of its ancestors, up to the mount point.

    A path that is not below what is mounted (``/../..`` of a cgroup namespace, a container that sees its own group as
    the top) says nothing about where the group is: then the mount point is this process's group, or its nearest
    visible ancestor.
    """
    for mount in mounts:
        if ".." not in path.parts and path.is_relative_to(mount.root):
            relative = path.relative_to(mount.root)
            yield from (mount.point / part for part in (relative, *relative.parents))
            return
    if mounts:
        yield mounts[0].point


def _name(folder: PurePosixPath, mounts: list[Mount]) -> PurePosixPath:
    """Return the group's name as the mount shows it: the mount point is ``/``."""
    point = next(mount.point for mount in mounts if folder.is_relative_to(mount.point))
    return PurePosixPath("/") / folder.relative_to(point)


def memory_limits(root: Path) -> Iterator[tuple[int, str]]:
    """Yield each limit of memory in force, in bytes, and the file that says it."""
    bounding = groups("memory", root=root)
    for group in bounding:
        name = "memory.limit_in_bytes" if group.version == 1 else "memory.max"
        limit = parse_limit(group.read(name))
        if limit is not None:
            yield limit, group.label(name)
    # version 1 also tells the least limit of all ancestors, those that a container does not see included
    for group in (group for group in bounding if group.version == 1):
        inherited = parse_limit(_field(group.read("memory.stat"), "hierarchical_memory_limit"))
        if inherited is not None:
            yield inherited, group.label("memory.stat hierarchical_memory_limit")


def cpu_limits(root: Path) -> Iterator[tuple[float, str]]:
    """Yield each quota of processor time in force, in CPUs, and the file that says it."""
    for group in groups("cpu", root=root):
        if group.version == 1:
            name = "cpu.cfs_quota_us"
            quota = parse_quota(f"{group.read(name) or ''} {group.read('cpu.cfs_period_us') or ''}")
        else:
            name = "cpu.max"
            quota = parse_quota(group.read(name))
        if quota is not None:
            yield quota, group.label(name)


def tasks_free(root: Path) -> tuple[FreeTasks, ...]:
    """Return what each group with a limit of processes and threads still allows, innermost first."""
    found = []
    for group in groups("pids", root=root):
        most, now = parse_limit(group.read("pids.max")), parse_limit(group.read("pids.current"))
        if most is not None and now is not None:
            found.append(FreeTasks(amount=max(0, most - now), source=f"{group.label('pids.max')} {most:,}"))
    return tuple(found)


def throttling(root: Path) -> tuple[Throttling, ...]:
    """Return the counters of throttling of this process's group and of its ancestors, innermost first.

    A group counts what its own quota has done: that of an ancestor holds a process back just as well, and is told by
    the ancestor alone. Groups without counters (the topmost of version 2) are left out.
    """
    found = (parse_throttling(group.read("cpu.stat"), group.label("cpu.stat")) for group in groups("cpu", root=root))
    return tuple(one for one in found if one is not None)


def parse_throttling(text: str | None, source: str) -> Throttling | None:
    """Return what ``cpu.stat`` says; version 1 counts nanoseconds, version 2 microseconds. None where it has none."""
    periods = _field(text, "nr_throttled") or ""
    for name, factor in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):
        value = _field(text, name) or ""
        if re.fullmatch("[0-9]+", value) and re.fullmatch("[0-9]+", periods):
            return Throttling(source=source, periods=int(periods), seconds=int(value) * factor)
    return None


def throttled_between(before: Iterable[Throttling], after: Iterable[Throttling]) -> float | None:
    """Return the seconds that the tightest of the groups held threads back; None where no group tells.

    The largest of the groups' differences and not their sum: a process that two quotas hold back at once waits once.
    """
    earlier = {one.source: one.seconds for one in before}
    grown = [one.seconds - earlier[one.source] for one in after if one.source in earlier]
    return max(0.0, *grown) if grown else None


def parse_limit(text: str | None) -> int | None:
    """Return the bytes that a limit file says; None for ``max``, for version 1's huge number, and for anything else."""
    stripped = (text or "").strip()
    if not re.fullmatch("[0-9]+", stripped):
        return None
    limit = int(stripped)
    return limit if 0 < limit < UNLIMITED_FROM else None


def parse_quota(text: str | None) -> float | None:
    """Return the CPUs that ``quota period`` in µs stands for; None for ``max``, -1 and anything else."""
    match = re.fullmatch(r"([0-9]+)\s+([0-9]+)", (text or "").strip())
    if match is None or int(match[1]) == 0 or int(match[2]) == 0:
        return None
    return int(match[1]) / int(match[2])


def _field(text: str | None, name: str) -> str | None:
    """Return the value of ``name value`` among the lines of a stat file."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return value
    return None
