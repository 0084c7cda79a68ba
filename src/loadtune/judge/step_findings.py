"""A training step of a fixed time: whether it is kept fed, and what it says of batches of different sizes."""

from __future__ import annotations

from loadtune.judge.case import Case
from loadtune.record.results import Finding, TrialResult
from loadtune.units import format_seconds

FED = 0.05
"""A step that waits for a smaller share of the time is kept fed: the loader is not the limit."""


def wait_share(row: TrialResult, step_seconds: float) -> float | None:
    """Return the share of the time that the step waits for batches, start-up left out; None where it is not known."""
    if step_seconds <= 0 or not row.samples_per_second or not row.batch_size:
        return None
    return min(1.0, max(0.0, 1 - step_seconds * row.samples_per_second / row.batch_size))


def per_batch(case: Case) -> Finding | None:
    """Return LT032 where batches of several sizes were held to one step time, which favours the largest."""
    seconds = case.plan.consumer.step_seconds
    sizes = sorted({row.batch_size for row in case.choice.rows if row.batch_size and row.status == "ok"})
    if not seconds or len(sizes) < 2:  # noqa: PLR2004 - one size has nothing to compare with
        return None
    small, large = sizes[0], sizes[-1]
    return Finding(
        code="LT032",
        severity="warning",
        message=f"the step of {format_seconds(seconds)} is held for each batch, whatever its size: {large:,} samples "
        f"in the time of {small:,} favour the largest batch, and no real step is like that",
        advice=f"give the one batch size that the time is of, as in --batch-size {small} --step-time "
        f"{step_time_option(seconds)}; for others sweep again, each with the step time that it has",
        numbers={"step_seconds": seconds, "smallest_batch": float(small), "largest_batch": float(large)},
    )


def step_time_option(seconds: float) -> str:
    """Return a step time as the option takes it."""
    return f"{1000 * seconds:g}ms"
