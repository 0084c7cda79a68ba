"""What a limit decided: the fastest of what is told to be faster than the choice and is over a limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from loadtune.judge.case import Case
from loadtune.judge.choose import told_faster
from loadtune.judge.gain import gain_words
from loadtune.judge.memory import limited
from loadtune.judge.reasons import apart
from loadtune.judge.statistics import Difference
from loadtune.record.results import TrialResult
from loadtune.units import format_bytes

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """A configuration that a limit alone keeps from being chosen."""

    words: str
    """How much faster than the choice it is, and what it needs against the limit: a clause."""
    advice: str
    """The limits that would let it be chosen, as options."""


def barred(case: Case) -> Barred | None:
    """Return the fastest of what is over a limit and told to be faster than the choice; None where nothing is."""
    chosen, faster = case.row(case.choice.chosen), _faster(case)
    if chosen is None or not faster:
        return None
    config_id, ahead = max(faster.items(), key=lambda item: item[1].log_ratio)
    row = case.row(config_id)
    excesses = list(_excesses(case, row)) if row is not None else []
    if row is None or not excesses:
        return None
    needs, options = zip(*excesses, strict=True)
    return Barred(
        words=f"{apart(row.config, chosen.config)} would give {gain_words(ahead.ratio())} its rate, "
        f"but {' and '.join(needs)}",
        advice=f"to have it, raise the limit: {' '.join(options)}",
    )


def _faster(case: Case) -> dict[str, Difference]:
    ahead = case.choice.over_limits.items()
    return {key: difference for key, difference in ahead if told_faster(difference, case.choice.tie)}


def _excesses(case: Case, row: TrialResult) -> Iterator[tuple[str, str]]:
    """Return each limit that a row is over: what it needs against it, and the option that would allow that."""
    for name, need, limit in limited(case.limits):
        if (needed := need(row)) is not None and needed > limit:
            words = f"{format_bytes(needed)} of {name}, over the limit of {format_bytes(limit)}"
            option = "--host-memory" if name == "host memory" else "--gpu-memory"
            yield f"needs {words}", f"{option} {math.ceil(needed / MIB)}MiB"
    most, size = case.plan.limits.max_batch_size, row.batch_size
    if most is not None and size is not None and size > most:
        yield f"is over the limit of batch {most}", f"--max-batch-size {size}"
