"""``loadtune explain``: the page of a finding or of a kind of failure."""

from __future__ import annotations

from typing import Annotated, Literal

from loadtune.cli.options import option

USAGE = "explain [CODE] [OPTIONS]"
HELP = (
    "Explains a finding such as LT003, or a kind of failure such as shm_full: what it means, how it is found out, why "
    "it happens and what to do. Without a code, lists them all."
)
NOTES = ""
READS_SETTINGS = False


def run(
    code: Annotated[str | None, option("", "A finding or a kind of failure, in any case of letters.", "CODE")] = None,
    /,
    *,
    color: Annotated[
        Literal["auto", "always", "never"], option("auto|always|never", "Colour.  [default: auto]")
    ] = "auto",
) -> int:
    """Print the page of ``code``, or the list of codes.

    Raises:
        UsageError: There is no such code.
    """
    # Not needed for the help page.
    from loadtune.explain import pages  # noqa: PLC0415

    page = None if code is None else pages.find(code)
    from loadtune.cli.consoles import console_for_people  # noqa: PLC0415 - nor for a refusal
    from loadtune.show.explanation import print_page, print_titles  # noqa: PLC0415

    console = console_for_people(color=color)
    if page is None:
        print_titles(pages.titles(), console)
    else:
        print_page(page, console)
    return 0
