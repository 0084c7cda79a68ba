"""What a trial costs beside its measuring, how large the parent is, how quick the help page comes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from _report import Report

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, SweepPlan, TrialRequest
from loadtune.describe.space import SearchSpace
from loadtune.run import memory
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor
from loadtune.run.sweep import run_sweep

TRIALS = 12
BATCH_SIZE = 16
HELP = ((), ("sweep",))
ABOUT_TRIALS = f"""A trial of cifar10 in batches of {BATCH_SIZE} beyond the start-up of its loader (to the first batch,
and the 2·P·W batches that prime it) and its windows: fork, the end of the workers, the record. Median and range of
{TRIALS} trials. The claim: it adds at most 50 ms.

*Plain script* is what a script without loadtune pays for the same, in turns with the trials: it forks a process for the
loader, and waits until that and the workers have ended (the kernel takes some 16 ms to copy and to clear the memory
maps of one process that holds torch and the data).
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
    report.table(["workers", "trial", "plain script", "with a look at its memory", "look alone"])
    setup = Setup(target="cifar10", arguments={}, device="cpu", seed=0, warm_seconds=0.0)
    with Supervisor(setup, trial_timeout_seconds=60) as supervisor, PlainScript() as script:
        for num_workers in (0, 2, 4):
            seen = [
                (
                    beyond(supervisor, num_workers, None),
                    script.fork_and_end(num_workers),
                    beyond(supervisor, num_workers, 0.0),
                )
                for _ in range(TRIALS)
            ]
            ours, plain, looking = (list(column) for column in zip(*seen, strict=True))
            look = statistics.median(looking) - statistics.median(ours)
            report.row(
                num_workers, milliseconds(ours), milliseconds(plain), milliseconds(looking), f"{1000 * look:.0f} ms"
            )


class PlainScript:
    """The process of ``plain_script.py``."""

    def __enter__(self) -> PlainScript:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).parent / "plain_script.py"), "cifar10"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def fork_and_end(self, num_workers: int) -> float:
        """Return the seconds that one loader's process took to fork and to end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{BATCH_SIZE} {num_workers}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def beyond(supervisor: Supervisor, num_workers: int, pause: float | None) -> float:
    """Return the seconds of a trial that are neither start-up nor windows."""
    plan = Measurement(max_seconds=0.5, min_windows=1, real_epoch_seconds=0.0, pause_seconds=pause)
    record = supervisor.run(
        TrialRequest(
            order=0,
            block=0,
            phase="race",
            config=LoaderConfig(batch_size=BATCH_SIZE, num_workers=num_workers),
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
