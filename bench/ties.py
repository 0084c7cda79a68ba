"""Whole adaptive sweeps of configurations that are all the same, on a scripted machine: how often is a gain claimed?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _report import Report

sys.path.append(str(Path(__file__).parent.parent / "tests" / "unit"))

from scripted_machine import Machine, a_probe, an_environment

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.state import State
from loadtune.record.results import MemoryLimits

GRID = tuple(LoaderConfig(batch_size=size, num_workers=count) for size in (64, 128) for count in range(5))
WINDOW_SD, TRIAL_SD, BLOCK_SD = 0.03, 0.02, 0.05


def claims_a_gain(seed: int) -> tuple[bool, bool]:
    """Return whether the choice is called faster than the baseline, and whether it is the cheapest."""
    machine = Machine(rate=lambda _: 1000.0, seed=seed, window_sd=WINDOW_SD, trial_sd=TRIAL_SD, block_sd=BLOCK_SD)
    plan = SweepPlan(target="equal", seed=seed, time_budget_seconds=25.0)
    machine.sweep(plan, GRID, environment=an_environment())
    records = tuple(machine.records)
    choice = State(plan=plan, configs=GRID, records=records, probe=a_probe(), limits=MemoryLimits()).choice()
    return choice.gain is not None and choice.gain.low > 1, choice.chosen == "b64-w0"


def main() -> None:
    """Sweep, count, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000)
    count = parser.parse_args().sweeps
    seen = [claims_a_gain(seed) for seed in range(count)]
    claims, cheapest = (sum(one[place] for one in seen) for place in (0, 1))
    report = Report("ties", "Equal configurations, in simulated sweeps")
    report.line(f"{count:,} adaptive sweeps of {len(GRID)} configurations of one rate, 25 s each. Windows differ by")
    report.line(
        f"{WINDOW_SD:.0%}, trials by {TRIAL_SD:.0%}, blocks by {BLOCK_SD:.0%}. A gain over the baseline is claimed"
    )
    report.line(f"in {claims} ({claims / count:.1%}; the claim is at most 5 %), the cheapest is chosen in {cheapest}.")
    report.keep()


if __name__ == "__main__":
    main()
