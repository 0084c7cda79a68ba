"""What is said of threads beyond the cores (LT022), with what the trials of one thread each gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loadtune.judge.choose import Choice
from loadtune.judge.evidence import asides, measured
from loadtune.judge.reasons import label
from loadtune.judge.statistics import Difference
from loadtune.judge.threads import Question, gain, question
from loadtune.record.results import Environment, Finding, Interval, TrialRecord
from loadtune.units import format_cpus

_PASTE = (
    "hold each process to one thread: threadpoolctl.threadpool_limits(1) and, with OpenCV, cv2.setNumThreads(0) in "
    "worker_init_fn, or OMP_NUM_THREADS=1 in the environment before Python starts; then sweep again"
)
_LEAVE = "leave the threads as they are; pools that the data set makes for itself were not held back in these trials"


def finding(records: Sequence[TrialRecord], choice: Choice, environment: Environment) -> Finding | None:
    """Return what is to be said; None where no configuration has more runnable threads than CPUs."""
    asked = question(records, choice, environment.usable_cpus)
    if asked is None:
        return None
    found = gain(records)
    ratio = found.ratio() if found is not None else None
    severity, outcome, advice = _outcome(asked, ratio, records)
    return Finding(
        code="LT022",
        severity=severity,
        message=f"{_crowd(asked, environment.usable_cpus)}; {outcome}",
        advice=advice,
        numbers=_numbers(asked, found, ratio, environment.usable_cpus),
    )


def _crowd(asked: Question, cpus: float) -> str:
    seen = asked.seen
    where = "each worker" if asked.crowded.num_workers else "its process"
    return (
        f"more threads than cores: {seen.runnable:.1f} threads ran or waited for {format_cpus(cpus)} "
        f"usable {'CPU' if cpus == 1 else 'CPUs'} with {label(asked.crowded)}, {seen.runnable_each:.1f} in {where}, "
        f"of {seen.alive_each:.1f} that it has"
    )


def _outcome(
    asked: Question, ratio: Interval | None, records: Sequence[TrialRecord]
) -> tuple[Literal["info", "warning"], str, str]:
    """Return the severity, what became of the trials with one thread each, and the next step."""
    tried = asides(records)
    if ratio is None:
        failed = next((record for record in tried if record not in measured(tried)), None)
        if failed is not None:
            why = failed.failure_reason or "no reason is known"
            return "info", f"one thread each was tried and gave no rate: {why}", _PASTE
        return "info", "one thread each was not tried for want of time", f"{_PASTE}, or give more time"
    against = "" if asked.pick == asked.crowded else f" of the choice, {label(asked.pick)}"
    interval = f"{ratio.estimate:.2f} × ({ratio.low:.2f} to {ratio.high:.2f}) the rate{against}"
    if ratio.low > 1:
        return "warning", f"one thread each gave {interval}", _PASTE
    if ratio.high < 1:
        return "info", f"one thread each was slower, {interval}", _LEAVE
    return "info", f"one thread each made no difference beyond the noise, {interval}", _LEAVE


def _numbers(asked: Question, found: Difference | None, ratio: Interval | None, cpus: float) -> dict[str, float]:
    seen = asked.seen
    numbers = {
        "usable_cpus": cpus,
        "workers": float(asked.crowded.num_workers),
        "runnable": seen.runnable or 0.0,
        "runnable_each": seen.runnable_each or 0.0,
        "alive_each": seen.alive_each or 0.0,
    }
    if found is not None and ratio is not None:
        numbers |= {"gain": ratio.estimate, "gain_low": ratio.low, "gain_high": ratio.high, "pairs": float(found.pairs)}
    return numbers
