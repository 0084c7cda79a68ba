"""The end of a sweep: from what was measured to the result, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.barred import barred
from loadtune.judge.case import Case
from loadtune.judge.choose import Choice
from loadtune.judge.evidence import speaking
from loadtune.judge.findings import findings
from loadtune.judge.memory_rows import with_memory
from loadtune.judge.reasons import baseline_reason, chosen_reason, fastest_reason, row_interval, with_warnings
from loadtune.judge.reopen import as_compared
from loadtune.judge.state import State
from loadtune.judge.summary import left_out
from loadtune.judge.unique import counting_unique
from loadtune.record.results import (
    Cost,
    Environment,
    Finding,
    MemoryLimits,
    Pick,
    Probe,
    Resume,
    RunResult,
    TrialRecord,
    TrialResult,
)


def conclude(
    *,
    plan: SweepPlan,
    environment: Environment,
    probe: Probe,
    limits: MemoryLimits,
    records: Sequence[TrialRecord],
    configs: Sequence[LoaderConfig],
    command: Sequence[str],
    started_at: str,
    elapsed_seconds: float,
    finished: bool = True,
    resumes: Sequence[Resume] = (),
) -> RunResult:
    """Return the result of a sweep: a row for each configuration, the choice with its reason, the findings.

    Nothing measured that meets the limits is a result too: ``best`` is None, and finding LT013 says what would fit.

    Args:
        plan: Of the sweep.
        environment: The machine.
        probe: The data set and the baseline.
        limits: In force, in bytes.
        records: Every trial, in any order.
        configs: The grid; the baseline and what was measured beyond the grid get their rows as well.
        command: Command line that makes the same sweep again.
        started_at: UTC, ISO 8601.
        elapsed_seconds: What the sweep took.
        finished: Whether it came to its end by itself.
        resumes: When it was taken up again.
    """
    # numpy and scipy are for the end of a sweep
    from loadtune.judge.prediction import predict  # noqa: PLC0415
    from loadtune.judge.search.done import is_done  # noqa: PLC0415

    delivered = as_compared(records, resumes)
    compared = counting_unique(delivered, probe)
    state = State(
        plan=plan,
        configs=tuple(configs),
        records=speaking(compared),
        probe=probe,
        limits=limits,
        environment=environment,
        workers_open_ended=plan.space.num_workers == "auto",
    )
    choice, done = state.choice(), is_done(state)
    prediction = predict(
        speaking(delivered),
        tuple(row.config for row in choice.rows),
        probe=probe,
        plan=plan,
        environment=environment,
        pick=next((row.config for row in choice.rows if row.chosen), None),
    )
    case = Case(
        plan=plan,
        environment=environment,
        probe=probe,
        limits=limits,
        records=compared,
        choice=choice,
        finished=finished,
        resumes=resumes,
        model=prediction.model,
        cut_short=not done,
    )
    found = findings(case)
    rows, model = with_memory(
        prediction.on(choice.rows), prediction.model, speaking(delivered), probe=probe, limits=limits
    )
    return RunResult(
        target=plan.target,
        command=tuple(command),
        started_at=started_at,
        environment=environment,
        plan=plan,
        limits=limits,
        probe=probe,
        **_picks(case, found),
        trials=left_out(rows) if finished and done and plan.search == "adaptive" else rows,
        findings=found,
        model=model,
        cost=Cost(seconds=elapsed_seconds, trials=len(records)),
        finished=finished,
        resumes=tuple(resumes),
    )


def _picks(case: Case, found: Sequence[Finding]) -> dict[str, Any]:
    """Return what is pointed out, by its field of the result."""
    choice, out = case.choice, barred(case)
    reason = f"{chosen_reason(choice)}; {out.words}" if out else chosen_reason(choice)
    return {
        "best": _pick(choice, choice.chosen, with_warnings(reason, found)),
        "fastest": _pick(choice, choice.fastest, fastest_reason(choice)),
        "baseline": _pick(choice, choice.baseline, baseline_reason(choice)),
        "gain": choice.gain,
        "tied": choice.tied,
    }


def _pick(choice: Choice, config_id: str | None, reason: str) -> Pick | None:
    row = next((row for row in choice.rows if row.config_id == config_id), None)
    return _measured_pick(row, reason) if row is not None and row.samples_per_second is not None else None


def _measured_pick(row: TrialResult, reason: str) -> Pick:
    return Pick(
        config_id=row.config_id,
        config=row.config,
        samples_per_second=row_interval(row),
        host_peak_bytes=row.host_peak_bytes,
        gpu_peak_bytes=row.gpu_peak_bytes,
        reason=reason,
    )
