"""Workers that may run on fewer CPUs than the sweep (LT023): a library narrowed their mask, and they crowd together."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.judge.reasons import counted, label
from loadtune.record.cpu_lists import cpu_list, cpus_in
from loadtune.record.results import Affinity, Finding, TrialRecord

_MOST_MASKS = 3


def finding(records: Sequence[TrialRecord]) -> Finding | None:
    """Return what is to be said of narrowed masks; None where every process may run wherever the sweep may.

    Workers that are kept apart, each on CPUs of its own, are worth a word and no warning.
    """
    narrowed = [(one.affinity, one) for one in records if one.affinity is not None and _is_narrowed(one.affinity)]
    if not narrowed:
        return None
    # Most in want of CPUs first; a trial without workers says least.
    masks, worst = max(narrowed, key=lambda pair: (_lack(pair[0]), _share_lost(pair[0]), len(pair[0].workers)))
    crowded = _lack(masks) > 0 or _lost(masks.trial, masks)
    return Finding(
        code="LT023",
        severity="warning" if crowded else "info",
        message=f"{_who(masks)}, where the sweep may run on {_on(masks.sweep)}{_price(masks)}; seen in "
        f"{len(narrowed)} of {counted(len(records), 'trial')}, here with {label(worst.config)}",
        advice="widen it in worker_init_fn: os.sched_setaffinity(0, range(os.cpu_count())); unset OMP_PROC_BIND and "
        "GOMP_CPU_AFFINITY, or set KMP_AFFINITY=disabled, where a library does it"
        if crowded
        else "nothing, where they were pinned apart on purpose",
        numbers={
            "trials": float(len(narrowed)),
            "workers": float(len(masks.workers)),
            "narrowed_workers": float(sum(_lost(mask, masks) for mask in masks.workers)),
            "least_cpus": float(min(len(cpus_in(mask)) for mask in (masks.trial, *masks.workers))),
            "workers_cpus": float(len(_reach(masks))),
            "sweep_cpus": float(len(cpus_in(masks.sweep))),
        },
    )


def _is_narrowed(masks: Affinity) -> bool:
    return any(_lost(mask, masks) for mask in (masks.trial, *masks.workers))


def _lost(mask: str, masks: Affinity) -> bool:
    return len(cpus_in(mask)) < len(cpus_in(masks.sweep))


def _reach(masks: Affinity) -> frozenset[int]:
    """Return the CPUs that the processes which load may run on, all together."""
    return frozenset[int]().union(*(cpus_in(mask) for mask in masks.workers or (masks.trial,)))


def _lack(masks: Affinity) -> int:
    """Return how many CPUs fewer the workers have between them than they could keep busy."""
    return min(len(masks.workers), len(cpus_in(masks.sweep))) - len(_reach(masks)) if masks.workers else 0


def _share_lost(masks: Affinity) -> float:
    return 1 - len(_reach(masks)) / max(1, len(cpus_in(masks.sweep)))


def _who(masks: Affinity) -> str:
    if _lost(masks.trial, masks):
        with_workers = ", and so its workers," if masks.workers else ""
        return f"building the data set left its process{with_workers} {_on(masks.trial)} alone to run on"
    by_mask: dict[str, list[int]] = {}
    for number, mask in enumerate(masks.workers):
        if _lost(mask, masks):
            by_mask.setdefault(mask, []).append(number)
    parts = [
        f"{'worker' if len(numbers) == 1 else 'workers'} {cpu_list(numbers)} on {_on(mask)}"
        for mask, numbers in by_mask.items()
    ]
    more = f", and {len(parts) - _MOST_MASKS} more masks" if len(parts) > _MOST_MASKS else ""
    return f"the affinity of workers is narrowed: {', '.join(parts[:_MOST_MASKS])} alone{more}"


def _on(mask: str) -> str:
    return f"{'CPU' if len(cpus_in(mask)) == 1 else 'CPUs'} {mask}"


def _price(masks: Affinity) -> str:
    if _lack(masks) <= 0:
        return ""
    return f": {counted(len(masks.workers), 'worker')} share {counted(len(_reach(masks)), 'CPU')}"
