"""What it would take to be surer: the time, as far as it is plausible, else a quieter machine."""

from __future__ import annotations

import math

from loadtune.judge import verify
from loadtune.judge.case import Case
from loadtune.judge.contest import steady_contest
from loadtune.judge.evidence import fresh
from loadtune.judge.statistics import PRIOR_TRIAL_SD
from loadtune.record.results import TrialResult
from loadtune.units import format_cpus, format_half_width, format_number, format_share

SURE = 2.0
"""Standard errors in half of a 95 % interval."""
MARGIN = 1.25
"""The noise is itself known to about this factor of time."""
LONGEST_SECONDS = 1800.0
"""Nobody gives a sweep more than half an hour for the sake of an interval."""


def advice(case: Case, row: TrialResult, share: float) -> str:
    """Return how the rate of ``row`` would come to be known to ``share``, from the noise that was seen."""
    trials = needed_trials(case, share)
    seconds = _needed_seconds(case, row, trials)
    if trials <= verify.MAX_BLOCKS and seconds <= LONGEST_SECONDS:
        return (
            f"about {trials} trials of each would do at this noise, as with --time-budget {math.ceil(seconds)}s (the "
            f"interval narrows with the root of the time); {quiet_words(case)}"
        )
    sd = trial_sd(case)
    reached = SURE * sd / math.sqrt(verify.MAX_BLOCKS)
    most = _needed_seconds(case, row, verify.MAX_BLOCKS)
    budget = f", as with --time-budget {math.ceil(most)}s" if most <= LONGEST_SECONDS else ""
    return (
        f"±{format_share(share, 0)} is out of reach at this noise, where trials of one configuration differ by "
        f"{_spread_words(sd)}: {verify.MAX_BLOCKS} of them, the most that are made, would "
        f"{'give about' if reached <= 1 else 'leave it'} {format_half_width(reached)}{budget}; {quiet_words(case)}"
    )


def _spread_words(sd: float) -> str:
    """Return a standard deviation of a log rate: as a share where it is small, else as a factor."""
    return format_share(sd, 0) if sd <= 1 else f"a factor of {format_number(math.exp(sd))}"


def trial_sd(case: Case) -> float:
    """Return by how much the trials of one configuration differ, as a share (standard deviation)."""
    noise = steady_contest(case.records, case.probe).noise
    return math.sqrt(noise.trial_variance) if noise.trial_df > 0 else PRIOR_TRIAL_SD


def needed_trials(case: Case, share: float) -> int:
    """Return how many trials of one configuration give an interval of ±``share``; two at least."""
    return max(2, math.ceil((SURE * trial_sd(case) / share) ** 2))


def _needed_seconds(case: Case, row: TrialResult, trials: int) -> float:
    """Return the time budget for so many fresh trials of the rows that are verified."""
    verified = fresh(case.records)
    blocks = len({record.block for record in verified})
    spent = sum(record.seconds for record in case.records)
    members = len({row.config.steady, case.probe.baseline.steady})
    per_block = (
        sum(record.seconds for record in verified) / blocks if blocks else members * spent / max(1, len(case.records))
    )
    missing = max(1, trials - blocks)
    return MARGIN * max(case.plan.time_budget_seconds, spent + missing * per_block)


def is_loaded(case: Case) -> bool:
    """Return whether other programs ran before the sweep: a load average of a quarter of the usable CPUs or more."""
    return (case.environment.load_average or 0.0) >= case.environment.usable_cpus / 4


def quiet_words(case: Case) -> str:
    """Return what to do about the noise, with the load that there was before the sweep."""
    load, cpus = case.environment.load_average, case.environment.usable_cpus
    if not is_loaded(case):
        return "keep other work off this machine"
    seen = f"the load average was {load:.1f} on {format_cpus(cpus)} usable CPU{'' if cpus == 1 else 's'}"
    return f"close other programs: {seen} before the sweep began"
