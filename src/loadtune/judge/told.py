"""What a row keeps of its single trials, so that its report can be drawn from it: bounded, however long they were."""

from __future__ import annotations

import statistics as plain
from collections.abc import Sequence

from loadtune.record.results import MemoryLook, SteadyMeasurement, TrialRecord, TrialRun

RUNS_KEPT = 64
LOOKS_KEPT = 32


def told_runs(trials: Sequence[TrialRecord]) -> tuple[TrialRun, ...]:
    """Return each trial's place in the run and its rate; evenly chosen ones where there are very many."""
    found = [
        TrialRun(
            order=record.order,
            phase=record.phase,
            samples_per_second=record.steady.samples_measured / record.steady.measured_seconds,
        )
        for record in sorted(trials, key=lambda record: record.order)
        if record.steady is not None and record.steady.measured_seconds > 0
    ]
    return tuple(found[place] for place in _evenly(len(found), RUNS_KEPT))


def told_waits(seen: Sequence[SteadyMeasurement]) -> tuple[float, ...]:
    """Return the distribution of the waits: at each share the median over the trials; empty in runs from before it."""
    kept = [one.batch_wait_quantiles_seconds for one in seen if one.batch_wait_quantiles_seconds]
    if not kept or len({len(one) for one in kept}) > 1:
        return ()
    return tuple(plain.median(values) for values in zip(*kept, strict=True))


def told_looks(trials: Sequence[TrialRecord]) -> tuple[MemoryLook, ...]:
    """Return how memory went in the trial in which it went highest; evenly chosen moments where there are very many."""
    looked = [record.memory.looks for record in trials if record.memory.looks]
    if not looked:
        return ()
    # Of trials with like peaks the one that was looked at most often tells most.
    highest = max(looked, key=lambda looks: (len(looks) > 1, max(look.resident_bytes for look in looks)))
    return tuple(highest[place] for place in _evenly(len(highest), LOOKS_KEPT))


def _evenly(count: int, most: int) -> Sequence[int]:
    """Return at most ``most`` of ``count`` places, the first and the last among them."""
    if count <= most:
        return range(count)
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]
