"""Every error loadtune raises on purpose, and the exit code each one means.

LoadtuneError                    1  a fault of loadtune itself
├── UsageError                   2  what the caller gave cannot be used
│   ├── TargetError              2  TARGET names nothing that can be loaded from
│   ├── OutputError              2  a file or directory cannot be written, or is there already
│   └── RunDirectoryError        2  a directory holds no run, or a run this version cannot read
├── NothingFitsError             3  no configuration meets the limits
├── TooNoisyError                4  --strict, and the precision asked for was not reached
├── RegressionError              5  --fail-above, and the new run is slower by more than that
└── TrialHostError               1  the process that runs the trials is gone
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class LoadtuneError(Exception):
    """A fault with one sentence for people, and a hint when there is a next step.

    Args:
        message: One sentence: the value that is wrong, and what is allowed.
        hint: What to do next; shown on a line of its own.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint is not None and hasattr(self, "add_note"):  # from Python 3.11 on
            self.add_note(hint)


class UsageError(LoadtuneError):
    """An option, argument or setting that cannot be used."""

    exit_code = 2


class TargetError(UsageError):
    """A TARGET that gives no data set, loader, workload or factory."""


class OutputError(UsageError):
    """A place that cannot be written, or holds something that would be overwritten."""


class RunDirectoryError(UsageError):
    """A directory that holds no run, or one that this version cannot read."""


class NothingFitsError(LoadtuneError):
    """No configuration that was measured meets the limits."""

    exit_code = 3


class TooNoisyError(LoadtuneError):
    """The precision asked for with ``--strict`` was not reached."""

    exit_code = 4


class RegressionError(LoadtuneError):
    """A run is slower than the one it is compared with, by more than ``--fail-above`` allows."""

    exit_code = 5


class TrialHostError(LoadtuneError):
    """The process that holds the data set and runs the trials ended by itself."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name with the fewest slips, or None where each has more than one in three letters."""
    bare = {one: one.lstrip("-").lower() for one in allowed}
    asked = name.lstrip("-").lower()
    slips = {one: _slips(asked, word) for one, word in bare.items()}
    near = [one for one, count in slips.items() if count <= max(len(asked), len(bare[one])) // 3]
    return min(near, key=lambda one: (slips[one], _slips(name, one)), default=None)


def _slips(first: str, second: str) -> int:
    """Return the letters put in, left out, exchanged or swapped with their neighbour between two words.

    The optimal string alignment distance (Damerau, Communications of the ACM 7, 1964).
    """
    before: list[int] = []
    last = list(range(len(second) + 1))
    for row, letter in enumerate(first, start=1):
        now = [row]
        for column, other in enumerate(second, start=1):
            best = min(last[column] + 1, now[column - 1] + 1, last[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == second[column - 2] and first[row - 2] == other:
                best = min(best, before[column - 2] + 1)
            now.append(best)
        before, last = last, now
    return last[-1]


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    match = nearest(name, allowed)
    return f"; did you mean '{match}'?" if match else ""
