"""``loadtune doctor``: the machine as a sweep sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from loadtune.cli.options import option
from loadtune.errors import OutputError, UsageError

USAGE = "doctor [OPTIONS]"
HELP = (
    "Shows the machine as a sweep sees it: the CPUs and the memory that can really be used and what bounds them, "
    "/dev/shm, open files, start method, accelerators, folders and versions, each with good, look or bad and what to "
    "do."
)
NOTES = "Exit codes: 0 a sweep can run here, whatever wants a look; 2 it cannot, since torch is missing or too old."
READS_SETTINGS = False


def run(
    *,
    color: Annotated[
        Literal["auto", "always", "never"], option("auto|always|never", "Colour.  [default: auto]")
    ] = "auto",
) -> int:
    """Look at the machine and print what was seen.

    Raises:
        UsageError: A sweep cannot run here.
    """
    # Not needed for the help page.
    from loadtune.cli.consoles import console_for_people  # noqa: PLC0415
    from loadtune.cli.surroundings import environment  # noqa: PLC0415
    from loadtune.judge.checkup.examine import checks, unusable  # noqa: PLC0415
    from loadtune.record.machine import read_machine  # noqa: PLC0415
    from loadtune.run.gpu import read_devices  # noqa: PLC0415
    from loadtune.show.doctor import print_checkup  # noqa: PLC0415

    machine = read_machine(environ=environment(), current=Path.cwd(), cache=_cache_folder(), devices=read_devices())
    found = checks(machine)
    print_checkup(machine.environment, found, console_for_people(color=color))
    bad = unusable(found)
    if bad is not None:
        raise UsageError(f"a sweep cannot run here: {bad.topic} is {bad.value}", hint=bad.advice)
    return 0


def _cache_folder() -> Path | None:
    from loadtune.cli.surroundings import environment  # noqa: PLC0415 - not needed for the help page
    from loadtune.workloads.cache import cache_folder  # noqa: PLC0415 - same

    try:
        return cache_folder(environment())
    except OutputError:  # no home directory
        return None
