"""The sentence that says why nothing is chosen, and what would fit."""

from __future__ import annotations

from dataclasses import dataclass

from loadtune.judge.choose import judged_rate
from loadtune.judge.lack import Lack
from loadtune.judge.memory import limited, needed_bytes
from loadtune.judge.reasons import label, rate_text
from loadtune.record.results import MemoryLimits, TrialResult
from loadtune.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What would fit where nothing does."""

    message: str
    advice: str
    least_bytes: int | None
    """The lowest host peak of any configuration."""
    best_bytes: int | None
    """The host peak of the fastest."""


_ADVICE = {
    "memory": "try smaller batches and fewer workers, or give the run more memory",
    "unknown": "a peak that is limited could not be measured: sweep without that limit, and watch the memory otherwise",
    "time": "give it more time with --time-budget, or fewer values on the axes",
    "failed": "mend what LT008 names, the most frequent first, and sweep again",
}


def shortfall(missing: Lack, limits: MemoryLimits, max_batch_size: int | None = None) -> Shortfall:
    """Return why nothing is chosen, and what would fit where the limits are the cause."""
    ran = [row for row in missing.over if judged_rate(row) is not None]
    if not ran:
        return Shortfall(
            message=missing.message, advice=_ADVICE.get(missing.cause, ""), least_bytes=None, best_bytes=None
        )
    least = min(ran, key=lambda row: (needed_bytes(row) or 0, row.gpu_peak_bytes or 0))
    best = max(ran, key=lambda row: judged_rate(row) or 0.0)
    asked = [f"{format_bytes(limit)} of {name}" for name, _, limit in limited(limits)]
    if max_batch_size is not None:
        asked.append(f"batch {max_batch_size}")
    message = (
        f"no configuration that was measured meets the limit{'s' if len(asked) > 1 else ''} of "
        f"{' and '.join(asked) or 'the sweep'}: the smallest of them, {label(least.config)}, needs {_need(least)}"
    )
    return Shortfall(
        message=message,
        advice=f"the fastest, {label(best.config)} at {rate_text(best)}, needs {_need(best)}: raise the limit to that, "
        "or try smaller batches and fewer workers",
        least_bytes=needed_bytes(least),
        best_bytes=needed_bytes(best),
    )


def _need(row: TrialResult) -> str:
    host = needed_bytes(row)
    needs = [f"{format_bytes(host)} of host memory"] if host is not None else []
    if row.gpu_peak_bytes is not None:
        needs.append(f"{format_bytes(row.gpu_peak_bytes)} of device memory")
    return " and ".join(needs) or "an amount that was not measured"
