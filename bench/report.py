"""What a report and a table of many trials take: processor time and size, beside what is claimed."""

from __future__ import annotations

import io
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from _report import Report
from rich.console import Console

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from factories import make_detailed_result
from loadtune.record.results import RunResult
from loadtune.show import page
from loadtune.show.terminal import VERBOSE, print_result

TURNS = 3
MOST_PAGE_SECONDS, MOST_TABLE_SECONDS = 5.0, 1.0
MOST_BYTES = {(50, False): 300_000, (500, False): 1_000_000, (50, True): 2_500_000, (500, True): 2_500_000}
"""Of a page, by the configurations in it, and whether it is interactive."""


def main() -> None:
    """Measure each, print, keep."""
    report = Report("report", "What a report takes")
    results = {count: make_detailed_result(count=count) for count in sorted({count for count, _ in MOST_BYTES})}
    report.line("Pages as `loadtune report` makes them, in a process of their own that ends with the page: processor")
    report.line(
        f"time of that process with its start, median and range of {TURNS}, on made-up runs that have all that a"
    )
    report.line("page can show.\n")
    report.table(["configurations", "page", "processor time", "claim", "size", "claim"])
    for (count, interactive), most in MOST_BYTES.items():
        result, sizes = results[count], set[int]()
        seconds = [child_seconds(lambda: sizes.add(render(result, interactive=interactive))) for _ in range(TURNS)]  # noqa: B023
        report.row(
            len(result.trials),
            "interactive" if interactive else "static",
            spread(seconds),
            f"{MOST_PAGE_SECONDS:g} s",
            f"{max(sizes) / 1000:,.0f} kB",
            f"{most / 1000:,.0f} kB",
        )
    report.line(
        "\nThe table of every configuration in a terminal, `loadtune show -v`: processor time without the start of"
    )
    report.line("Python.\n")
    report.table(["configurations", "processor time", "claim"])
    for result in results.values():
        seconds = [own_seconds(lambda: print_all(result)) for _ in range(TURNS)]  # noqa: B023
        report.row(len(result.trials), spread(seconds), f"{MOST_TABLE_SECONDS:g} s")
    report.keep()


def render(result: RunResult, *, interactive: bool) -> int:
    """Return the bytes of the page."""
    return len(page.render_apart(result, interactive=interactive).encode())


def print_all(result: RunResult) -> None:
    """Print what ``show -v`` does, to nowhere."""
    print_result(result, Console(file=io.StringIO(), width=120), VERBOSE)


def child_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of the processes that ``work`` starts and waits for, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def own_seconds(work: Callable[[], object]) -> float:
    """Return the processor time that ``work`` takes in this process, in seconds."""
    before = time.process_time()
    work()
    return time.process_time() - before


def spread(seconds: list[float]) -> str:
    """Return ``median s (min to max)``."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
