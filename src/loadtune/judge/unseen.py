"""Samples that no trial loaded: where trials failed on a sample, what the pick's trials have not met yet."""

from __future__ import annotations

import math
from collections.abc import Iterable

from loadtune.judge.case import Case
from loadtune.judge.evidence import by_group, group_of, measured
from loadtune.judge.reasons import counted
from loadtune.record.results import Finding, TrialRecord
from loadtune.units import format_share

OF_A_SAMPLE = ("worker_killed", "worker_error", "user_error")
"""Failures that one sample can cause, whatever the settings."""
ALL = 0.999
"""From this share on every sample counts as loaded."""


def seen_share(records: Iterable[TrialRecord]) -> float | None:
    """Return about which share of the data set these trials loaded; None where its length is not known.

    A trial reads shuffled passes, no sample twice before all were; trials of one block read the same, others anew.
    """
    longest: dict[int, float] = {}
    for record in measured(records):
        passes = record.steady.passes if record.steady is not None else None
        if passes is None:
            return None
        longest[record.block] = max(passes, longest.get(record.block, 0.0))
    return 1 - math.prod(max(0.0, 1 - passes) for passes in longest.values())


def finding(case: Case) -> Finding | None:
    """Return LT033 where trials failed on a sample, and the choice went well without having loaded all."""
    row, samples = case.row(case.choice.chosen), case.probe.dataset_samples
    failed = [r for r in case.records if r.failure_kind in OF_A_SAMPLE and not _loads_alone(r)]
    if row is None or samples is None or not failed:
        return None
    trials = by_group(case.records).get(group_of(row.config), [])
    share = seen_share(trials)
    if share is None or share >= ALL:
        return None
    missed = round((1 - share) * samples)
    they = "it" if len(failed) == 1 else "them"
    return Finding(
        code="LT033",
        severity="warning",
        message=f"{counted(len(failed), 'trial')} failed as one sample can make {they}{_named(failed)}, and the trials "
        f"of the choice loaded about {format_share(share, 0)} of the data set: about {missed:,} of "
        f"{counted(samples, 'sample')} were never loaded with it, and it may fail on one of them as well",
        advice="load every sample once before training with it, as in: for batch in loader: pass; LT008 has what is "
        "known of the failures",
        numbers={"failed_trials": float(len(failed)), "seen_share": share, "samples_not_loaded": float(missed)},
    )


def _loads_alone(record: TrialRecord) -> bool:
    """Return whether all samples of the failing batch loaded without a worker: then no sample is to blame."""
    alone = record.failure_evidence.alone if record.failure_evidence is not None else None
    return alone is not None and alone.all_well


def _named(failed: Iterable[TrialRecord]) -> str:
    """Return the samples that failed, as far as they are known."""
    known = [evidence for record in failed if (evidence := record.failure_evidence) is not None]
    names = [(one.alone.sample if one.alone is not None else None) or one.sample for one in known]
    found = list(dict.fromkeys(name for name in names if name))
    return f" (sample {', '.join(found[:3])}{' and others' if len(found) > 3 else ''})" if found else ""  # noqa: PLR2004
