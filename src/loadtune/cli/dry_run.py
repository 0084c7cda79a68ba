"""``loadtune sweep --dry-run``: look at the data set, say what would be done."""

from __future__ import annotations

from loadtune.cli.consoles import console_for_people
from loadtune.cli.options import SessionOptions
from loadtune.cli.surroundings import environment
from loadtune.describe.plan import SweepPlan
from loadtune.run.dry_run import dry_run
from loadtune.show.dry_run import lines


def tell(plan: SweepPlan, session: SessionOptions) -> int:
    """Print what the sweep would do and return 0.

    Raises:
        UsageError: A target, limit or search that cannot be used.
    """
    found = dry_run(plan, environ=environment())
    console = console_for_people(color=session.color)
    for line in lines(found):
        # Whoever reads a pipe takes it line by line.
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    return 0
