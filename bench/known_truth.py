"""Sleeping data sets: is every reported rate W / S, with S timed inside the worker (a sleep overshoots)?"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from pathlib import Path

from _report import Report

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "targets.py"


ROUNDS = 3
ABOUT = f"""A data set that sleeps for each sample; W workers give W·B/S samples/s, where S is the time of a batch timed
inside the workers, from first sample to collated batch, mean of all. {ROUNDS} rounds over all cases, since a shared
machine changes its speed within a trial. The claim: the median of every case within 3 %.
"""


def main() -> None:
    """Measure each case, print, keep."""
    report = Report("known_truth", "Rates against a known truth")
    report.line(ABOUT)
    cases = list(itertools.product((2, 5), (16, 64), (1, 2, 4, 8, 16)))
    rounds = [[measure(sleep / 1000, batch, workers) for sleep, batch, workers in cases] for _ in range(ROUNDS)]
    report.table(["sleep", "batch", "workers", "reported samples/s", "W·B/S", "median reported / truth (range)"])
    ratios = []
    for (sleep, batch, workers), trials in zip(cases, zip(*rounds, strict=True), strict=True):
        of_case = sorted(reported / truth for reported, truth in trials)
        ratios.append(statistics.median(of_case))
        reported, truth = next(trial for trial in trials if trial[0] / trial[1] == ratios[-1])
        spread = f"{ratios[-1]:.4f} ({of_case[0]:.4f} to {of_case[-1]:.4f})"
        report.row(f"{sleep} ms", batch, workers, f"{reported:,.0f}", f"{truth:,.0f}", spread)
    worst = max(abs(ratio - 1) for ratio in ratios)
    report.line(f"\nmedian ratio {statistics.median(ratios):.4f}, from {min(ratios):.4f} to {max(ratios):.4f}; worst")
    report.line(f"{worst:.2%} off: the claim of 3 % {'holds' if worst <= 0.03 else 'DOES NOT HOLD'}.")
    report.keep()


def measure(seconds: float, batch_size: int, num_workers: int) -> tuple[float, float]:
    """Return the reported rate and the true one, in samples/s."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"seconds": str(seconds), "folder": folder}
        setup = Setup(target=f"{TARGETS}:sleeping", arguments=arguments, device="cpu", seed=0, warm_seconds=0.0)
        with Supervisor(setup, trial_timeout_seconds=60) as supervisor:
            record = supervisor.run(
                TrialRequest(
                    order=0,
                    block=0,
                    phase="verify",
                    config=LoaderConfig(batch_size=batch_size, num_workers=num_workers),
                    measurement=Measurement(max_seconds=2.0, precision=0.005, real_epoch_seconds=0.0),
                    consumer=Consumer(),
                )
            )
        times = [float(line) for worker in range(num_workers) for line in lines(Path(folder) / f"{worker}.txt")]
    assert record.steady is not None, record.failure_reason
    reported = record.steady.samples_measured / record.steady.measured_seconds
    return reported, num_workers * batch_size / statistics.fmean(times)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    main()
