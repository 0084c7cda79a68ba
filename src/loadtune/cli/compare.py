"""``loadtune compare``: two runs side by side, and an exit code for the slower one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from loadtune.cli.options import maybe, option, parsed, share
from loadtune.errors import RegressionError, UsageError
from loadtune.units import format_share

if TYPE_CHECKING:
    from loadtune.judge.comparison import Comparison
    from loadtune.record.results import RunResult

USAGE = "compare BASE NEW [OPTIONS]"
HELP = (
    "Compares the rates of two runs of one data set on one machine, over an epoch where both know it and else steady: "
    "each is improved, regressed, within noise, or no change. What decides is the pick of BASE in both runs, and the "
    "pick of each where that is another one."
)
NOTES = (
    "Exit codes: 0 done, 2 the runs cannot be compared (another machine, data set, step or page cache: --force does it "
    "all the same), 5 slower by more than --fail-above, and by an interval that does not hold 1."
)
READS_SETTINGS = False


def run(
    base: Annotated[str, option("", "The run to compare with: its directory.", "BASE")],
    new: Annotated[str, option("", "The run that is compared.", "NEW")],
    /,
    *,
    fail_above: Annotated[
        str | None, option("5%", "Exit with 5 when what decides became slower by more than this.", hyphen=True)
    ] = None,
    threshold: Annotated[
        str, option("2%", "Changes that may be smaller than this are within noise.  [default: 2%]", hyphen=True)
    ] = "2%",
    force: Annotated[bool, option("", "Compare runs of different machines or data sets.")] = False,
    color: Annotated[
        Literal["auto", "always", "never"], option("auto|always|never", "Colour.  [default: auto]")
    ] = "auto",
) -> int:
    """Print how the run in ``new`` stands against that in ``base``.

    Raises:
        UsageError: Runs that cannot be compared.
        RegressionError: The new one is slower by more than ``fail_above``.
    """
    above = maybe("--fail-above", fail_above, share)
    noise = parsed("--threshold", threshold, share)
    # Not needed for the help page.
    from loadtune.cli.consoles import console_for_people  # noqa: PLC0415
    from loadtune.judge.comparison import compared  # noqa: PLC0415
    from loadtune.run.agreement import versions_apart  # noqa: PLC0415
    from loadtune.run.resume import load  # noqa: PLC0415
    from loadtune.show.comparison import print_comparison  # noqa: PLC0415

    before, after = load(Path(base)), load(Path(new))
    different = _differences(before, after, force=force)
    found = compared(before, after, threshold=noise)
    print_comparison(found, (*different, *versions_apart(before, after)), console_for_people(color=color))
    if above is not None:
        _complain(found, above)
    return 0


def _differences(base: RunResult, new: RunResult, *, force: bool) -> tuple[tuple[str, str, str], ...]:
    """Return what makes the runs differ in more than their rates, where that was allowed."""
    from loadtune.run.agreement import incomparable  # noqa: PLC0415 - not needed for the help page

    found = tuple(incomparable(base, new))
    if found and not force:
        fact, was, here = found[0]
        raise UsageError(
            f"the two runs cannot be compared: {fact} was {was} and is {here}",
            hint="run both on one machine, with one data set; --force compares them all the same",
        )
    return found


def _complain(found: Comparison, above: float) -> None:
    """Raise where what decides is slower by more than ``above``, or where nothing decides."""
    from loadtune.judge.comparison import regression  # noqa: PLC0415 - not needed for the help page
    from loadtune.show.comparison import change_text, rate_words, ratio_text  # noqa: PLC0415 - same

    if not found.deciding:
        raise UsageError("--fail-above has nothing to go by: one of the runs has no pick")
    worse = regression(found, above)
    if worse is not None:
        raise RegressionError(
            f"{worse.name} became slower by more than the {format_share(above)} allowed: {change_text(worse)} "
            f"({ratio_text(worse)} {rate_words(worse)}, 95 %)",
            hint="measure again on a quiet machine before anybody looks for the cause",
        )
