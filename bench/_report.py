"""What the benches share: figures with their range, printed and kept under reports/bench."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import scipy.special

REPORTS = Path(__file__).parent.parent / "reports" / "bench"


class Report:
    """Collects lines, prints each, and keeps them as ``reports/bench/<name>.md``."""

    def __init__(self, name: str, title: str) -> None:
        self._path = REPORTS / f"{name}.md"
        self._lines: list[str] = []
        day = datetime.now(timezone.utc).date()
        machine = f"{os.cpu_count()} shared cores, {platform.system()} {platform.machine()}, Python"
        self.line(f"# {title}")
        self.line(f"\n{day}, {machine} {platform.python_version()}. Made by `./scripts/bench bench/{name}.py`.\n")

    def line(self, text: str = "") -> None:
        print(text, flush=True)
        self._lines.append(text)

    def table(self, header: Sequence[str]) -> None:
        self.line("| " + " | ".join(header) + " |")
        self.line("|" + "---|" * len(header))

    def row(self, *cells: object) -> None:
        self.line("| " + " | ".join(str(cell) for cell in cells) + " |")

    def keep(self) -> None:
        REPORTS.mkdir(parents=True, exist_ok=True)
        self._path.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        print(f"Wrote {self._path.relative_to(Path.cwd()) if self._path.is_relative_to(Path.cwd()) else self._path}")


def mean_ratio(logs: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of ratios and its 95 % interval, from their logarithms."""
    mean = statistics.fmean(logs)
    half = float(scipy.special.stdtrit(len(logs) - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def quartiles(values: Sequence[float]) -> str:
    """Return ``median (min to max)``."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
