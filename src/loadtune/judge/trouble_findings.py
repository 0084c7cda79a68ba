"""What findings say of trouble: failures, limits, quotas, and that nothing can be chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtune.judge.case import Case
from loadtune.judge.evidence import FAILED, SPOILT
from loadtune.judge.failure_pattern import failure_pattern
from loadtune.judge.lack import by_cause, lack
from loadtune.judge.memory import limited
from loadtune.judge.reasons import counted, label
from loadtune.judge.shortfall import shortfall
from loadtune.judge.throttle import is_telling, throttled_share
from loadtune.record.results import Finding, TrialResult
from loadtune.record.shared_memory import SHM
from loadtune.units import format_bytes, format_cpus, format_seconds


def failures(case: Case) -> tuple[Finding, ...]:
    """Return LT008 for each cause for which configurations gave no number, the most frequent first."""
    failed = [row for row in case.choice.rows if row.status in SPOILT]
    return tuple(_failure(case, rows) for rows in sorted(by_cause(failed), key=len, reverse=True))


def _failure(case: Case, rows: Sequence[TrialResult]) -> Finding:
    """Return what kept these from a number, with the words and the advice of the one that was tried first."""
    first = _first_to_fail(case, rows)
    kinds = " or ".join(dict.fromkeys(row.failure_kind for row in rows if row.failure_kind not in (None, row.status)))
    how = f"{first.status}, {kinds}" if kinds else first.status
    own = [first.failure_advice] if first.failure_advice else []
    general = "it is never chosen" if len(rows) == 1 else "none of them is ever chosen"
    return Finding(
        code="LT008",
        severity="info" if first.status == "refused" else "warning",
        message=f"{len(rows):,} of {counted(len(case.choice.rows), 'configuration')}{_trials(case, rows)} gave no "
        f"usable number ({how}); {_common(case, rows)}{_which(first, rows)}: "
        f"{first.failure_reason or 'no reason is known'}",
        advice="; ".join([*own, f"{general}, and trials.jsonl has what each trial said at its end, under stderr_tail"]),
        numbers={"configurations": float(len(rows))},
    )


def _first_to_fail(case: Case, rows: Sequence[TrialResult]) -> TrialResult:
    """Return the row whose trial failed first; it may have had others before."""
    failed = {record.order for record in case.records if record.status in SPOILT}
    return min(rows, key=lambda row: min(failed.intersection(row.order), default=math.inf))


def _trials(case: Case, rows: Sequence[TrialResult]) -> str:
    """Return how many trials failed, where they are not as many as the rows that they speak for."""
    orders = {order for row in rows for order in row.order}
    causes = {(row.status, row.failure_kind) for row in rows if row.status in FAILED}
    tried = sum(record.order in orders and (record.status, record.failure_kind) in causes for record in case.records)
    if tried in (0, len(rows)):
        return ""
    are_pairs = 2 * len({row.config.steady for row in rows}) == len(rows)
    return f" ({counted(tried, 'trial')}{', shared with and without drop_last' if are_pairs else ''})"


def _common(case: Case, rows: Sequence[TrialResult]) -> str:
    """Return the pattern of what was tried and failed; what was refused was not tried, and proves nothing.

    What gave a number before it failed of another cause is known not to fail of this one at once.
    """
    failed = [row.config for row in rows if row.status in FAILED]
    worked = [row for row in case.choice.rows if row.samples_per_second is not None and row not in rows]
    did = "gave a number first" if any(row.status in FAILED for row in worked) else "gave a number"
    pattern = failure_pattern(failed, [row.config for row in worked], did=did)
    return f"{pattern}; " if pattern else ""


def _which(first: TrialResult, rows: Sequence[TrialResult]) -> str:
    """Return the name of the first, or of the one group where they differ in ``drop_last`` alone."""
    if len(rows) == 1:
        return label(first.config)
    if len({row.config.steady for row in rows}) == 1:
        return f"{label(first.config.steady)}, with and without drop_last"
    return f"the first, {label(first.config)}"


def small_shared_memory(case: Case) -> Finding | None:
    """Return LT028 where /dev/shm has no room for the batches of some configurations."""
    short, total = [row for row in case.choice.rows if row.failure_kind == "shm_full"], case.environment.shm_total_bytes
    if not short or total is None:
        return None
    sample = case.probe.shared_bytes_per_sample or 0.0
    needed = max(row.config.batches_at_once * sample * (row.batch_size or 0) for row in short)
    most = f", up to {format_bytes(needed)}" if needed > total else ""
    return Finding(
        code="LT028",
        severity="warning",
        message=f"shared memory is small: {SHM} has {format_bytes(total)}, and "
        f"{counted(len(short), 'configuration')} of {len(case.choice.rows):,} need more for the batches between "
        f"workers and main process{most}",
        advice="give it more (docker run --shm-size=8g or --ipc=host; an emptyDir of medium Memory in Kubernetes), or "
        "load fewer batches ahead with fewer workers, --prefetch-factor 1, a smaller batch",
        numbers={"configurations": float(len(short)), "shm_total_bytes": float(total), "needed_bytes": needed},
    )


def over_limits(case: Case) -> Finding | None:
    """Return LT009 where limits left configurations out."""
    out = [row for row in case.choice.rows if row.status == "ok" and row.within_limits is not True]
    if not out or case.choice.chosen is None:
        return None
    unknown = sum(row.within_limits is None for row in out)
    memories = [
        f"{format_bytes(limit)} of {name}"
        for name, need, limit in limited(case.limits)
        if any((size := need(row)) is None or size > limit for row in out)
    ]
    most = case.plan.limits.max_batch_size
    too_large = most is not None and any((row.batch_size or 0) > most for row in out)
    limits = [*memories, *([f"batch {most}"] if too_large else [])]
    at = ", at their measured peak or at the peak expected by the end of an epoch," if memories else ""
    note = f"; the memory of {unknown} could not be measured" if unknown else ""
    return Finding(
        code="LT009",
        severity="info",
        message=f"{_count(len(out))} over the limit of {', '.join(limits)}{at or ','} and not to be chosen{note}",
        advice="within_limits in trials.csv names them; raise the limit to have them considered",
        numbers={"configurations": float(len(out))},
    )


def _count(configurations: int) -> str:
    return "1 configuration is" if configurations == 1 else f"{configurations} configurations are"


def nothing(case: Case) -> Finding | None:
    """Return LT013 where nothing can be chosen."""
    if case.choice.chosen is not None:
        return None
    missing = lack(case.choice.rows, case.plan, case.probe)
    short = shortfall(missing, case.limits, case.plan.limits.max_batch_size)
    numbers = {"least_bytes": short.least_bytes, "best_bytes": short.best_bytes}
    return Finding(
        code="LT013",
        severity="error",
        message=short.message,
        advice=short.advice,
        numbers={name: float(value) for name, value in numbers.items() if value is not None},
    )


def throttled(case: Case) -> Finding | None:
    """Return LT015 where a CPU quota throttled trials."""
    throttled = [record for record in case.records if is_telling(throttled_share(record))]
    if not throttled:
        return None
    seconds = sum(record.throttled_seconds or 0.0 for record in throttled)
    worst = max(throttled, key=lambda record: throttled_share(record) or 0.0)
    cores = "1 CPU is" if case.environment.usable_cpus == 1 else f"{format_cpus(case.environment.usable_cpus)} CPUs are"
    return Finding(
        code="LT015",
        severity="warning",
        message=f"the CPU quota throttled {len(throttled)} of {counted(len(case.records), 'trial')}: threads were held "
        f"back for {format_seconds(seconds)} in all, most with {label(worst.config)}; {cores} usable "
        f"({case.environment.usable_cpus_source})",
        advice="the rates hold under this quota alone: raise it (docker --cpus, resources.limits.cpu in Kubernetes), "
        "or keep to fewer workers with one thread each (OMP_NUM_THREADS=1)",
        numbers={
            "trials": float(len(throttled)),
            "throttled_seconds": seconds,
            "worst_share": throttled_share(worst) or 0.0,
            "usable_cpus": case.environment.usable_cpus,
        },
    )
