"""``loadtune show``: the result of a run, printed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from loadtune.cli.options import option

USAGE = "show RUN [OPTIONS]"
HELP = (
    "Prints the result of a run directory again: the choice, its reason, the leading configurations, the findings; "
    "of a search for a batch size the probes and what was found."
)
NOTES = ""
READS_SETTINGS = False


def run(
    directory: Annotated[str, option("", "A run directory, such as reports/cifar10-20260102-120000.", "RUN")],
    /,
    *,
    quiet: Annotated[bool, option("", "Say only what was chosen.", "--quiet", "-q")] = False,
    verbose: Annotated[bool, option("", "Say more.", "--verbose", "-v")] = False,
    color: Annotated[
        Literal["auto", "always", "never"], option("auto|always|never", "Colour.  [default: auto]")
    ] = "auto",
) -> int:
    """Print the result of the run in ``directory``."""
    # Not needed for the help page.
    from loadtune.cli.consoles import console_for_people, note  # noqa: PLC0415
    from loadtune.record.batch_store import is_search, read_probes, read_result  # noqa: PLC0415
    from loadtune.run.resume import load, unfinished_note  # noqa: PLC0415
    from loadtune.show.batch_size import print_search  # noqa: PLC0415
    from loadtune.show.terminal import print_result  # noqa: PLC0415

    place, console = Path(directory), console_for_people(color=color)
    if is_search(place):
        print_search(read_probes(place), read_result(place), console, quiet=quiet)
        return 0
    result = load(place)
    print_result(result, console, int(verbose) - int(quiet))
    note(unfinished_note(result, directory))
    return 0
