"""``loadtune report``: the page of a run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from loadtune.cli.options import option
from loadtune.cli.streams import stdout

USAGE = "report RUN [-o FILE] [--interactive] [--force]"
HELP = "Writes the report of a run directory as one page that opens anywhere; without -o, report.html in the directory."
NOTES = ""
READS_SETTINGS = False


def run(
    directory: Annotated[str, option("", "A run directory, such as reports/cifar10-20260102-120000.", "RUN")],
    /,
    *,
    output: Annotated[
        str | None, option("FILE|-", "Where to write it; - is stdout.", "--output", "-o", hyphen=True)
    ] = None,
    interactive: Annotated[
        bool, option("", "With tooltips, sorting and a linked selection, by a script within the page.", "--interactive")
    ] = False,
    force: Annotated[bool, option("", "Replace FILE if it is there already.")] = False,
) -> int:
    """Write the page of the run in ``directory``."""
    # Not needed for the help page.
    from loadtune.cli.consoles import note  # noqa: PLC0415
    from loadtune.run.resume import load, unfinished_note  # noqa: PLC0415
    from loadtune.show.outputs import Exports  # noqa: PLC0415
    from loadtune.show.words import plain  # noqa: PLC0415

    folder = Path(directory)
    result = load(folder)
    place = output if output is not None else str(folder / "report.html")
    # The run's own page holds nothing that the run does not: it is replaced without asking.
    exports = Exports(html=place, interactive=interactive, force=force or output is None)
    exports.check()
    exports.write(result, stdout())
    if place != "-":
        stdout().write(f"Wrote {plain(place)}\n")
    note(unfinished_note(result, directory))
    return 0
