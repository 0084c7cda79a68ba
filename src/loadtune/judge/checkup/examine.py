"""All that is looked at on a machine, in the order that it is shown."""

from __future__ import annotations

from collections.abc import Iterable

from loadtune.judge.checkup import limits, system
from loadtune.judge.checkup.check import Check
from loadtune.record.machine import Machine


def checks(machine: Machine) -> tuple[Check, ...]:
    """Return what was looked at, what bounds a sweep most first."""
    found = (
        limits.cpus(machine),
        limits.throttling(machine),
        limits.ranks(machine),
        system.load(machine),
        system.governor(machine),
        limits.memory(machine),
        limits.available(machine),
        limits.shared_memory(machine),
        limits.open_files(machine),
        system.start_method(machine),
        *system.accelerators(machine),
        system.folder("current folder", machine.current, advice="give runs another place with --output"),
        system.cache(machine),
        system.torch(machine),
        *system.packages(machine),
    )
    return tuple(check for check in found if check is not None)


def unusable(found: Iterable[Check]) -> Check | None:
    """Return the first thing that a sweep cannot do without, or None."""
    return next((check for check in found if check.verdict == "bad"), None)
