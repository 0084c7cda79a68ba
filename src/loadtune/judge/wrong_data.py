"""Findings LT019, LT020 and LT021: samples delivered twice or not as claimed, wrong in workers; shared files."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.judge.reasons import counted, label
from loadtune.judge.unique import is_repeating
from loadtune.record.contents import Contents, Delivery
from loadtune.record.results import Finding, Severity, TrialResult
from loadtune.units import format_rate, format_share

SHOWN = 3
"""Files that are named."""
_DIVIDE = (
    "divide them in __iter__ before they are read: info = get_worker_info(), and then load "
    "indices[info.id :: info.num_workers], of indices, keys or files, where info is not None; to read all samples and "
    "skip those of other workers gains nothing"
)


def findings(contents: Contents, rows: Sequence[TrialResult], chosen: TrialResult | None) -> tuple[Finding, ...]:
    """Return what the check of the contents has to say.

    Args:
        contents: What it found.
        rows: Of the configurations, for what duplicates did to their rates.
        chosen: The row of the choice, or None.
    """
    found = (
        _duplicates(contents, rows, chosen),
        _undecided(contents),
        _idle(contents, chosen),
        _length(contents),
        _checksums(contents),
        _shared_files(contents),
    )
    return tuple(finding for finding in found if finding is not None)


def _duplicates(contents: Contents, rows: Sequence[TrialResult], chosen: TrialResult | None) -> Finding | None:
    shares = {
        one.num_workers: one.unique_share
        for one in contents.deliveries
        if one.unique_share is not None and is_repeating(one.unique_share)
    }
    if not shares:
        return None
    is_chosen = chosen is not None and is_repeating(chosen.unique_share)
    listed = ", ".join(f"{format_share(share)} with {workers}" for workers, share in shares.items())
    return Finding(
        code="LT019",
        severity="error" if is_chosen else "warning",
        message=f"workers deliver the same samples: unique among those delivered are {listed} workers{_example(rows)}; "
        "rates and epochs count each sample once",
        advice=_DIVIDE,
        numbers={f"unique_share_{workers}_workers": share for workers, share in shares.items()},
    )


def _example(rows: Sequence[TrialResult]) -> str:
    """Return what the row with the most delivered samples delivered, and what of it counts."""
    repeating = [row for row in rows if is_repeating(row.unique_share) and row.delivered_samples_per_second]
    if not repeating:
        return ""
    row = max(repeating, key=lambda row: row.delivered_samples_per_second or 0.0)
    return (
        f"; {label(row.config)} delivered {format_rate(row.delivered_samples_per_second)}, "
        f"which is {format_rate(row.samples_per_second)} of unique ones"
    )


def _undecided(contents: Contents) -> Finding | None:
    if not contents.alike_under_equal_seeds:
        return None
    return Finding(
        code="LT019",
        severity="warning",
        message="it cannot be told whether workers deliver the same samples: with equal seeds they do, with seeds of "
        "their own not, as a data set does that is not divided and shuffles or augments, and one that draws at random; "
        "no pass came to its end, and rates count all samples",
        advice=f"where samples are stored and not drawn, {_DIVIDE}",
    )


def _idle(contents: Contents, chosen: TrialResult | None) -> Finding | None:
    idle = [one for one in contents.deliveries if one.idle_workers]
    if not idle:
        return None
    useful = max(_useful(one) for one in idle)
    is_chosen = chosen is not None and chosen.num_workers > useful
    listed = ", ".join(f"{one.idle_workers} of {one.num_workers}" for one in idle)
    return Finding(
        code="LT019",
        severity="warning" if is_chosen else "info",
        message=f"workers beyond {useful} are idle: {listed} ended without a sample, as the data set is divided into "
        f"{counted(useful, 'shard')}",
        advice=f"keep to --num-workers 0..{useful}, or divide the data into more shards",
        numbers={"useful_workers": float(useful)},
    )


def _useful(delivery: Delivery) -> int:
    return delivery.num_workers - delivery.idle_workers


def _length(contents: Contents) -> Finding | None:
    length = contents.length
    if length is None:
        return None
    seen = f"{counted(length.seen, 'sample')}" if length.ended else f"more than {length.seen - 1:,} samples"
    taken = "an epoch is taken to have what it gives" if length.ended else "what an epoch takes is left out"
    return Finding(
        code="LT019",
        severity="warning",
        message=f"the length of the data set is not what it gives: __len__ says {length.claimed:,}, and one worker "
        f"delivers {seen}; {taken}",
        advice="have __len__ return what __iter__ yields in one process, or leave it out",
        numbers={"claimed_samples": float(length.claimed), "seen_samples": float(length.seen)},
    )


def _checksums(contents: Contents) -> Finding | None:
    sums = contents.checksums
    if sums is None or not sums.differing:
        return None
    told = (
        f"{sums.differing:,} of {counted(sums.samples, 'sample')} differ between 0 and {sums.num_workers} workers, the "
        f"first at index {sums.first_index}, though one process loads the same each time"
    )
    if sums.cured:
        severity: Severity = "error"
        message = f"{told}; with file offsets of their own the workers load what one process loads"
        advice = (
            "the workers move the offset of one open file under each other: open the file in the worker (in "
            "worker_init_fn, or with the first sample), or read with os.pread"
        )
    else:
        severity = "warning"
        message = f"{told}; no shared file explains it"
        advice = "look for what depends on the worker or its process: get_worker_info(), os.getpid(), a shared state"
    return Finding(
        code="LT020",
        severity=severity,
        message=message,
        advice=advice,
        numbers={"differing": float(sums.differing), "samples": float(sums.samples)},
    )


def _shared_files(contents: Contents) -> Finding | None:
    files = contents.shared_files
    if not files:
        return None
    moved = [file for file in files if file.moved]
    names = ", ".join(file.path for file in files[:SHOWN])
    more = f" and {contents.shared_file_count - SHOWN:,} more" if contents.shared_file_count > SHOWN else ""
    opened = counted(contents.shared_file_count, "file")
    told = f"{opened} opened while the data set was built and inherited open by forked workers: {names}{more}"
    return Finding(
        code="LT021",
        severity="warning" if moved else "info",
        message=f"{told}; all share one offset, {'which moved while samples were loaded' if moved else 'which stood'}",
        advice="open files in the worker, with the first sample, or read them with os.pread",
        numbers={"files": float(contents.shared_file_count), "moved": float(len(moved))},
    )
