"""One thing that was looked at on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "look", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of several limits."""

    amount: str
    source: str
    binds: bool
    """Whether it is the one in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    topic: str
    verdict: Verdict
    value: str
    candidates: tuple[Candidate, ...] = ()
    """All the limits that were found, where the value is the least of several."""
    advice: str = ""
    """What to do; empty where all is well."""
