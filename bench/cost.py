"""What a trial costs beside its measuring, how large the parent is, how quick the help page comes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import threading
import time

from _report import Report

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, SweepPlan, TrialRequest
from loadtune.describe.space import SearchSpace
from loadtune.run import memory
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor
from loadtune.run.sweep import run_sweep

TRIALS = 12
HELP = ((), ("sweep",))
ABOUT_TRIALS = f"""A trial of cifar10 in batches of 16 beyond the loader's own start-up (to its first batch, and the
2·P·W batches that prime it) and its windows: fork, the end of the workers, the record. Median and range of
{TRIALS} trials. The claim: at most 50 ms.
"""


def main() -> None:
    """Measure each, print, keep."""
    report = Report("cost", "What loadtune itself costs")
    trials(report)
    parent(report)
    help_pages(report)
    report.keep()


def trials(report: Report) -> None:
    """What is left beside start-up and windows is loadtune's, and the few batches of priming."""
    report.line(ABOUT_TRIALS)
    report.table(["workers", "trial", "with a look at its memory", "look alone"])
    setup = Setup(target="cifar10", arguments={}, device="cpu", seed=0, warm_seconds=0.0)
    with Supervisor(setup, trial_timeout_seconds=60) as supervisor:
        for num_workers in (0, 2, 4):
            plain = [beyond(supervisor, num_workers, None) for _ in range(TRIALS)]
            looking = [beyond(supervisor, num_workers, 0.0) for _ in range(TRIALS)]
            look = statistics.median(looking) - statistics.median(plain)
            report.row(num_workers, milliseconds(plain), milliseconds(looking), f"{1000 * look:.0f} ms")


def beyond(supervisor: Supervisor, num_workers: int, pause: float | None) -> float:
    """Return the seconds of a trial that are neither start-up nor windows."""
    plan = Measurement(max_seconds=0.5, min_windows=1, real_epoch_seconds=0.0, pause_seconds=pause)
    record = supervisor.run(
        TrialRequest(
            order=0,
            block=0,
            phase="race",
            config=LoaderConfig(batch_size=16, num_workers=num_workers),
            measurement=plan,
            consumer=Consumer(),
        )
    )
    assert record.steady is not None, record.failure_reason
    seen = record.steady
    rate = seen.batches_measured / seen.measured_seconds
    priming = max(0, 2 * record.config.batches_in_flight - 1) / rate
    return record.seconds - seen.first_batch_seconds - priming - seen.measured_seconds - seen.discarded_seconds


def milliseconds(values: list[float]) -> str:
    """Return median and range."""
    low, middle, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.0f} ms ({low:.0f} to {high:.0f})"


def parent(report: Report) -> None:
    """The parent of a real sweep, sampled all along."""
    seen: list[int] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.25):
            if (now := memory.read_process(os.getpid())) is not None:
                seen.append(now.pss)

    thread = threading.Thread(target=sample)
    thread.start()
    space = SearchSpace.parse(batch_size="64,256", num_workers="0..2")
    run_sweep(SweepPlan(target="cifar10", space=space, time_budget_seconds=20.0))
    over.set()
    thread.join()
    report.line(
        "\nThe parent of a 20 s sweep of cifar10, proportional set size sampled four times a second. The claim: at"
    )
    report.line(
        f"most 150 MB. Seen: {max(seen) / 1e6:.0f} MB at the most, median {statistics.median(seen) / 1e6:.0f} MB."
    )


def help_pages(report: Report) -> None:
    """Processor time of the help pages, and whether they import what they must not."""
    report.line(
        "\nProcessor time (user and system) of the help pages, ten runs each. The claim: at most 200 ms, and neither"
    )
    report.line("torch nor pandas imported.\n")
    report.table(["command", "processor time", "imports torch or pandas"])
    for words in HELP:
        command = [sys.executable, "-m", "loadtune.cli.app", *words, "--help"]
        times = [processor_seconds(command) for _ in range(10)]
        imports = subprocess.run(
            [sys.executable, "-X", "importtime", *command[1:]], capture_output=True, text=True, check=True
        ).stderr
        heavy = any(line.rsplit("|", 1)[-1].strip() in ("torch", "pandas") for line in imports.splitlines())
        report.row(f"`loadtune {' '.join((*words, '--help'))}`", milliseconds(times), "yes" if heavy else "no")


def processor_seconds(command: list[str]) -> float:
    """Return what a command used of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    time.sleep(0.05)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
