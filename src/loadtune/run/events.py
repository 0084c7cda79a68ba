"""What a sweep tells whoever listens: the terminal, a notebook, a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan, TrialRequest
from loadtune.record.results import Environment, MemoryLimits, Probe, RunResult, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a sweep stands."""

    elapsed_seconds: float
    budget_seconds: float
    trials_done: int
    best: LoaderConfig | None = None
    """The fastest so far, by steady rate."""
    best_samples_per_second: float | None = None


class Listener(Protocol):
    """Is told each thing as it happens; what it does must not disturb the measuring."""

    def preparing(self, plan: SweepPlan) -> None:
        """The process that holds the data set is being started."""

    def started(self, plan: SweepPlan, environment: Environment, probe: Probe, limits: MemoryLimits) -> None:
        """The data set is there and looked at; the axes of ``plan.space`` are resolved."""

    def trial_started(self, request: TrialRequest, progress: Progress) -> None:
        """A trial begins."""

    def measured(self, record: TrialRecord, progress: Progress) -> None:
        """A trial gave its numbers."""

    def failed(self, record: TrialRecord, progress: Progress) -> None:
        """A trial gave none, and says why."""

    def finished(self, result: RunResult) -> None:
        """Everything is measured and chosen."""


class SilentListener:
    """A listener that does nothing."""

    def preparing(self, plan: SweepPlan) -> None:
        """Do nothing."""

    def started(self, plan: SweepPlan, environment: Environment, probe: Probe, limits: MemoryLimits) -> None:
        """Do nothing."""

    def trial_started(self, request: TrialRequest, progress: Progress) -> None:
        """Do nothing."""

    def measured(self, record: TrialRecord, progress: Progress) -> None:
        """Do nothing."""

    def failed(self, record: TrialRecord, progress: Progress) -> None:
        """Do nothing."""

    def finished(self, result: RunResult) -> None:
        """Do nothing."""
