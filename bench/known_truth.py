"""Sleeping data sets: is every reported rate W / S, with S timed inside the worker (a sleep overshoots)?"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _report import Report

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "targets.py"


ROUNDS = 3
BUSY = 0.5
"""From this share of the cores on, the processor has a part in the rate, and W·B/S is no truth any more."""
ABOUT = f"""A data set that sleeps for each sample; W workers give W·B/S samples/s, where S is the time of a batch timed
inside the workers, from first sample to collated batch, mean of all but each worker's first 2·P, which prime the trial
and are in no window. {ROUNDS} rounds over all cases, since a shared machine changes its speed within a trial. The truth
holds while the cores wait: a case in which the loader keeps {BUSY:.0%} of them busy or more is shown, and not counted.
The claim: the median of every case within 3 %.
"""


@dataclass(frozen=True)
class Seen:
    """One trial: rates in samples/s, and the share of the cores that the loader's processes used."""

    reported: float
    truth: float
    busy: float

    @property
    def ratio(self) -> float:
        """Reported over truth."""
        return self.reported / self.truth


def main() -> None:
    """Measure each case, print, keep."""
    report = Report("known_truth", "Rates against a known truth")
    report.line(ABOUT)
    cases = list(itertools.product((2, 5), (16, 64), (1, 2, 4, 8, 16)))
    rounds = [[measure(sleep / 1000, batch, workers) for sleep, batch, workers in cases] for _ in range(ROUNDS)]
    report.table(["sleep", "batch", "workers", "reported samples/s", "W·B/S", "reported / truth (range)", "cores busy"])
    counted = []
    for (sleep, batch, workers), trials in zip(cases, zip(*rounds, strict=True), strict=True):
        least, *_, most = ordered = sorted(trials, key=lambda seen: seen.ratio)
        middle = ordered[len(ordered) // 2]
        busy = statistics.median(seen.busy for seen in trials)
        if busy < BUSY:
            counted.append(middle.ratio)
        spread = f"{middle.ratio:.4f} ({least.ratio:.4f} to {most.ratio:.4f})"
        mark = f"{busy:.0%}" if busy < BUSY else f"{busy:.0%}, not counted"
        report.row(f"{sleep} ms", batch, workers, f"{middle.reported:,.0f}", f"{middle.truth:,.0f}", spread, mark)
    worst = max(abs(ratio - 1) for ratio in counted)
    report.line(
        f"\n{len(counted)} cases counted: median ratio {statistics.median(counted):.4f}, from {min(counted):.4f} to"
    )
    report.line(
        f"{max(counted):.4f}; worst {worst:.2%} off: the claim of 3 % {'holds' if worst <= 0.03 else 'DOES NOT HOLD'}."
    )
    report.keep()


def measure(seconds: float, batch_size: int, num_workers: int) -> Seen:
    """Return what a trial reported, and the truth."""
    config = LoaderConfig(batch_size=batch_size, num_workers=num_workers)
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"seconds": str(seconds), "folder": folder}
        setup = Setup(target=f"{TARGETS}:sleeping", arguments=arguments, device="cpu", seed=0, warm_seconds=0.0)
        with Supervisor(setup, trial_timeout_seconds=60) as supervisor:
            record = supervisor.run(
                TrialRequest(
                    order=0,
                    block=0,
                    phase="verify",
                    config=config,
                    measurement=Measurement(max_seconds=2.0, precision=0.005, real_epoch_seconds=0.0),
                    consumer=Consumer(),
                )
            )
        priming = 2 * (config.prefetch_factor or 2)
        times = [
            float(line) for worker in range(num_workers) for line in lines(Path(folder) / f"{worker}.txt")[priming:]
        ]
    steady = record.steady
    assert steady is not None, record.failure_reason
    return Seen(
        reported=steady.samples_measured / steady.measured_seconds,
        truth=num_workers * batch_size / statistics.fmean(times),
        busy=(steady.cpu_seconds or 0.0) / steady.measured_seconds / (os.cpu_count() or 1),
    )


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    main()
