"""Finding LT014: what ``--cache cold`` did, and whether files were cold indeed. Never a silent claim."""

from __future__ import annotations

import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.describe.plan import SweepPlan
from loadtune.judge.reasons import counted
from loadtune.record.results import CacheDrop, Finding, Probe, TrialRecord
from loadtune.units import format_bytes, format_share

CODE = "LT014"
TELLING_SHARE = 0.01
"""A share of bytes that stayed in the cache, or was not known, is not worth a word below this."""
TELLING_EXCESS = 0.05
"""A trial may read so much of the data a second time without a word: its only window has to be whole."""
UNSEEN_BYTES = 1 << 16
"""Reading so much while no file was seen is no accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Why files were not cold, and the next step."""

    message: str
    advice: str


def finding(plan: SweepPlan, probe: Probe, records: Sequence[TrialRecord]) -> Finding | None:
    """Return what was done to the page cache, a warning where files were not surely cold; None unless that was asked.

    Args:
        plan: Whether cold files were asked for.
        probe: What the untimed pass has seen.
        records: Every trial.
    """
    drops = [record.cache for record in records if record.cache is not None]
    if plan.cache != "cold" or not drops:
        return None
    numbers = _numbers(drops, records)
    if not numbers["opened_files"]:
        return _nothing_opened(probe, numbers)
    problems = [one for one in (_unknown(drops), _kept(drops), _reread(records), _unchecked(drops)) if one is not None]
    done = (
        f"cold files: before each of {counted(len(drops), 'trial')} what had been read was taken out of the page cache;"
        f" a trial opened {counted(round(numbers['opened_files']), 'file')} of"
        f" {format_bytes(round(numbers['opened_bytes']))} (median)"
    )
    if not problems:
        verified = f"of what was dropped {format_share(numbers['cached_share'])} stayed cached"
        return _finding(
            "info", f"{done}, {verified}", "compare these rates with those of other cold sweeps only", numbers
        )
    # One of the rates may be warm: the reader is to learn that first.
    message = f"{done}; but {'; and '.join(problem.message for problem in problems)}"
    return _finding("warning", message, problems[0].advice, numbers)


def _finding(severity: str, message: str, advice: str, numbers: dict[str, float]) -> Finding:
    return Finding(
        code="LT014",
        severity="info" if severity == "info" else "warning",
        message=message,
        advice=advice,
        numbers=numbers,
    )


def _numbers(drops: Sequence[CacheDrop], records: Sequence[TrialRecord]) -> dict[str, float]:
    passes = [record.steady.passes for record in records if record.steady and record.steady.passes is not None]
    numbers = {
        "trials": len(drops),
        "opened_files": plain.median(drop.opened_files for drop in drops),
        "opened_bytes": plain.median(drop.opened_bytes for drop in drops),
        "dropped_bytes": sum(max(0, drop.cached_before_bytes - drop.cached_after_bytes) for drop in drops),
        "cached_share": _share(drops, "cached_after_bytes", "checked_bytes"),
        "known_share": _share(drops, "opened_cold_bytes", "opened_bytes"),
        "unchecked_files": max(drop.unchecked_files for drop in drops),
        "most_passes": max(passes, default=0.0),
        "seconds": sum(drop.seconds for drop in drops),
    }
    return {name: float(value) for name, value in numbers.items()}


def _share(drops: Sequence[CacheDrop], part: str, whole: str) -> float:
    """Return the share of one sum in another; 0 of nothing."""
    total = sum(getattr(drop, whole) for drop in drops)
    return sum(getattr(drop, part) for drop in drops) / total if total else 0.0


def _nothing_opened(probe: Probe, numbers: dict[str, float]) -> Finding:
    read = probe.pass_read_bytes
    if probe.lists_files:
        sign = "though the data set lists files"
    elif read is None:
        sign = "and what was read is not known"
    else:
        sign = f"though {format_bytes(read)} were read from some"
    if probe.lists_files or read is None or read > UNSEEN_BYTES:
        return _finding(
            "warning",
            f"files were not cold: none was seen to be opened for a sample, {sign}; what native code opens and closes "
            "again is not seen",
            "take the rates for those of --cache as-is, or open the files in Python and hand over what they hold",
            numbers,
        )
    return _finding(
        "info",
        "cold changed nothing: no file was seen to be opened for a sample, as is so where the data set is held in "
        "memory",
        "--cache as-is is the same here, and spares the untimed pass",
        numbers,
    )


def _unknown(drops: Sequence[CacheDrop]) -> _Problem | None:
    known = _share(drops, "opened_cold_bytes", "opened_bytes")
    if known >= 1 - TELLING_SHARE:
        return None
    return _Problem(
        message=f"only {format_share(known)} of the bytes of files that trials opened were known before and dropped, "
        "others were as they lay",
        advice="a longer --time-budget lets the untimed pass find more of the files",
    )


def _kept(drops: Sequence[CacheDrop]) -> _Problem | None:
    kept = _share(drops, "cached_after_bytes", "checked_bytes")
    if kept <= TELLING_SHARE:
        return None
    return _Problem(
        message=f"{format_share(kept)} of the bytes that were to be dropped stayed cached: a process has them mapped, "
        "or their file system lies in memory",
        advice="keep the data set on a disk, and open it when the first sample is asked for, not before",
    )


def _unchecked(drops: Sequence[CacheDrop]) -> _Problem | None:
    most = max(drop.unchecked_files for drop in drops)
    if not most:
        return None
    return _Problem(
        message=f"of {counted(most, 'file')} the system does not tell whether anything stayed cached: it tells those "
        "who may write a file",
        advice="to have it verified, run as the owner of the files",
    )


def _reread(records: Sequence[TrialRecord]) -> _Problem | None:
    passes = [record.steady.passes for record in records if record.steady and record.steady.passes is not None]
    again = [one for one in passes if one > 1 + TELLING_EXCESS]
    if not again:
        return None
    return _Problem(
        message=f"{len(again)} of {counted(len(passes), 'trial')} read the data set more than once, up to "
        f"{max(again):.1f} times, from the cache after the first",
        advice="a data set this small is read from the cache in training too: take --cache warm, or a larger one",
    )
