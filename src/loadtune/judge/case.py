"""What findings are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtune.describe.plan import SweepPlan
from loadtune.judge.choose import Choice
from loadtune.judge.evidence import by_group, group_of, is_verified
from loadtune.record.results import Environment, MemoryLimits, Model, Probe, Resume, TrialRecord, TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that findings are drawn from."""

    plan: SweepPlan
    environment: Environment
    probe: Probe
    limits: MemoryLimits
    records: Sequence[TrialRecord]
    choice: Choice
    finished: bool = True
    resumes: Sequence[Resume] = ()
    model: Model = field(default_factory=Model)
    """The pipeline model, as fitted to the trials."""
    cut_short: bool = True
    """Whether the search would have tried more, had there been time."""

    def row(self, config_id: str | None) -> TrialResult | None:
        """Return the row with this id, or None."""
        return next((row for row in self.choice.rows if row.config_id == config_id), None)

    def is_verified(self, row: TrialResult) -> bool:
        """Return whether a row was measured again, often enough to go by that alone."""
        return is_verified(by_group(self.records).get(group_of(row.config), []))

    def longer(self) -> str:
        """Return a time budget of twice the length, as the option takes it."""
        return f"{math.ceil(2 * self.plan.time_budget_seconds)}s"
