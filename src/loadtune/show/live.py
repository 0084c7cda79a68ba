"""What is seen while a sweep runs: a live line and a bar in a terminal, one plain line a trial elsewhere."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan, TrialRequest
from loadtune.judge.reasons import counted
from loadtune.record.results import Environment, MemoryLimits, Probe, RunResult, TrialRecord
from loadtune.run.events import Progress
from loadtune.run.sweep import grid
from loadtune.show.words import config_words, plain
from loadtune.units import format_bytes, format_rate, format_seconds

REDRAWS_PER_SECOND = 2
"""Drawing must not disturb what is measured beside it."""

LOG_WIDTH = 80
"""Columns of a plain line, where no terminal says how many it has."""

_LOOKS = {"screen": "first look", "race": "compared", "verify": "measured again", "threads": "threads"}
"""What kind of trial a plain line is of."""
_PHASES = {
    "screen": "measuring",
    "race": "comparing",
    "verify": "measuring the pick again",
    "threads": "comparing threads:",
}


class RichListener:
    """Shows a sweep live: what is being measured, a bar with the time left, the best so far. Nothing of it stays.

    Use it as a context manager, so that the terminal is left as it was when the sweep is interrupted.

    Args:
        console: Where to draw.
        clock: Seconds that only go forward.
        every_trial: Leave a line for each trial above the bar.
    """

    def __init__(
        self, console: Console, *, clock: Callable[[], float] = time.monotonic, every_trial: bool = False
    ) -> None:
        self._console = console
        self._clock = clock
        self._every_trial = every_trial
        self._live: Live | None = None
        self._doing = Text("starting")
        self._last: Text | None = None
        self._progress: Progress | None = None
        self._seen_at = 0.0

    def __enter__(self) -> RichListener:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the live view away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def preparing(self, plan: SweepPlan) -> None:
        """Show that the data set is being loaded."""
        self._doing = Text(f"preparing {plain(plan.target)}")
        self._live = Live(
            self,
            console=self._console,
            transient=True,
            refresh_per_second=REDRAWS_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def started(self, plan: SweepPlan, environment: Environment, probe: Probe, limits: MemoryLimits) -> None:
        """Show that the trials begin."""
        del environment, limits
        count = counted(len(grid(plan, probe)), "configuration")
        self._doing = Text(f"{plain(probe.name or plan.target)}: {count}")

    def trial_started(self, request: TrialRequest, progress: Progress) -> None:
        """Show which configuration is being measured."""
        self._note(progress)
        self._doing = Text(request_words(request))

    def measured(self, record: TrialRecord, progress: Progress) -> None:
        """Show the rate."""
        self._ended(record, progress)

    def failed(self, record: TrialRecord, progress: Progress) -> None:
        """Show why there is none."""
        self._ended(record, progress)

    def finished(self, result: RunResult) -> None:
        """Take the live view away."""
        del result
        self.close()

    def _ended(self, record: TrialRecord, progress: Progress) -> None:
        self._note(progress)
        self._last = Text(record_words(record), style="" if record.status == "ok" else "yellow")
        if self._every_trial:
            self._console.print(self._last)

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        self._seen_at = self._clock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; called by rich, at most twice a second."""
        lines = [self._doing, self._bar(), self._best(), self._last]
        for line in lines:
            if isinstance(line, Text):
                line.no_wrap, line.overflow = True, "ellipsis"
        yield Group(*(line for line in lines if line is not None))

    def _bar(self) -> Table | None:
        progress = self._progress
        if progress is None:
            return None
        elapsed = min(progress.elapsed_seconds + self._clock() - self._seen_at, progress.budget_seconds)
        left = Text(f"at most {format_seconds(round(progress.budget_seconds - elapsed))} left")
        row = Table.grid(padding=(0, 1), expand=False)
        done = counted(progress.trials_done, "trial")
        bar = ProgressBar(total=max(progress.budget_seconds, 1e-9), completed=elapsed, width=24)
        row.add_row(bar, left, Text(done, style="dim"))
        return row

    def _best(self) -> Text | None:
        progress = self._progress
        if progress is None or progress.best is None:
            return None
        rate = format_rate(progress.best_samples_per_second)
        return Text.assemble("best so far: ", (f"{config_words(progress.best)}, {rate}", "green"))


class PlainListener:
    """Writes one plain line a trial, a long one on several: for logs and for what is no terminal.

    Args:
        stream: Where to.
        width: Columns that a line may take.
    """

    def __init__(self, stream: TextIO, *, width: int = LOG_WIDTH) -> None:
        self._stream = stream
        self._width = width

    def preparing(self, plan: SweepPlan) -> None:
        """Write that the data set is being loaded."""
        self._write(f"preparing {plain(plan.target)}")

    def started(self, plan: SweepPlan, environment: Environment, probe: Probe, limits: MemoryLimits) -> None:
        """Write what is swept, and under which limits."""
        del environment
        samples = f", {counted(probe.dataset_samples, 'sample')}" if probe.dataset_samples is not None else ""
        memory = limits.host_memory_bytes
        limit = f", host memory at most {format_bytes(memory)}" if memory is not None else ""
        count = counted(len(grid(plan, probe)), "configuration")
        name = plain(probe.name or plan.target)
        budget = format_seconds(plan.time_budget_seconds)
        self._write(f"{name}{samples}: {count} in at most {budget}{limit}")

    def trial_started(self, request: TrialRequest, progress: Progress) -> None:
        """Write nothing: the line comes when the trial has ended."""

    def measured(self, record: TrialRecord, progress: Progress) -> None:
        """Write the rate."""
        self._ended(record, progress)

    def failed(self, record: TrialRecord, progress: Progress) -> None:
        """Write why there is none."""
        self._ended(record, progress)

    def finished(self, result: RunResult) -> None:
        """Write nothing: the result is printed by whoever asked for it."""

    def _ended(self, record: TrialRecord, progress: Progress) -> None:
        look = _LOOKS.get(record.phase, record.phase)
        self._write(f"{format_seconds(progress.elapsed_seconds)}, {look}: {record_words(record)}")

    def _write(self, line: str) -> None:
        lines = textwrap.wrap(
            line, self._width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()


def request_words(request: TrialRequest) -> str:
    """Return ``measuring batch 256, 4 workers``."""
    return f"{_PHASES[request.phase]} {_tried(request.config, request.drop_last, one_thread=request.one_thread)}"


def _tried(config: LoaderConfig, drop_last: tuple[bool, ...], *, one_thread: bool) -> str:
    """Return the settings of a trial; of one that speaks for the last batch both kept and dropped, neither is said."""
    words = config_words(replace(config, drop_last=drop_last == (True,)))
    return f"{words}{', one thread each' if one_thread else ''}"


def record_words(record: TrialRecord) -> str:
    """Return ``batch 256, 4 workers: 3,032 samples/s, 412 MiB``, or why there is no number."""
    name = _tried(record.config, record.drop_last, one_thread=record.one_thread)
    if record.steady is None or record.status != "ok":
        return f"{name}: {record.status}, {plain(record.failure_reason or record.failure_kind or 'without a reason')}"
    rate = record.steady.samples_measured / record.steady.measured_seconds if record.steady.measured_seconds else None
    memory = f", {format_bytes(record.memory.host_peak_bytes)}" if record.memory.host_peak_bytes is not None else ""
    return f"{name}: {format_rate(rate)}{memory}"
