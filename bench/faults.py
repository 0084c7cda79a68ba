"""A soak: does every trial get its row with the right kind, and is nothing left, whatever dies or hangs, and when?"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from _report import Report
from fault_targets import FAULTS, FILLER

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.errors import RunDirectoryError
from loadtune.record.journal import read_journal
from loadtune.record.results import TrialRecord
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "fault_targets.py"
SEED = 20250101
TRIALS = 300
TIMEOUT_SECONDS = 6.0
QUICK = Measurement(window_seconds=0.1, max_seconds=0.2, priming_seconds=0.1, real_epoch_seconds=0.0)
KINDS = {
    "worker SIGKILL": {"worker_killed"},
    "worker SIGSEGV": {"worker_killed"},
    "worker _exit(3)": {"worker_error"},
    "worker raises": {"worker_error"},
    "worker hangs": {"hung"},
    "worker hangs, deaf to SIGTERM": {"hung"},
    "worker cannot allocate": {"host_oom"},
    "/dev/shm filled": {"shm_full"},
    "trial SIGKILL": {"trial_killed"},
    "trial host SIGKILL": {"trial_killed"},
}
"""What each fault is to be called; a trial without a fault is ``ok``."""

KILLS = 50
SWEEP = ("--batch-size", "8,16", "--num-workers", "0,1,2", "--drop-last", "off", "--time-budget", "6s")
LATEST_KILL_SECONDS = 3.0
IN_START_SHARE = 0.25
"""Of the kills, at a moment of the start; the others come after another trial was kept."""
GONE_SECONDS = 5.0
"""By when the kernel has ended what a killed process leaves."""

ABOUT = f"""**Trials.** {TRIALS} trials in one supervisor, every third with a fault drawn at random (seed {SEED}), at 1
to 4 workers. A row is lost where a trial ends in an exception or under another number; a kind is wrong where it is not
the fault's own, or where a trial without a fault is not `ok`. What is left is counted after each trial: processes
but the guardian, the host and the child that waits for the next trial, entries of /dev/shm, which is the soak's own and
64 MiB large.

**Kills.** `loadtune sweep` is killed with SIGKILL at a random moment, of its start or up to {LATEST_KILL_SECONDS:.0f} s
after another trial was kept, and gone on with by `--resume`, which is killed too, until there are {KILLS} kills and
every sweep is finished. A row is lost where a line that was in the journal before is not there after, or where the
journal has a gap. Processes are counted {GONE_SECONDS:.0f} s after a kill at most, /dev/shm when all is finished.

The claim: every count is 0.
"""


class Counts(Counter[str]):
    """What went wrong, by what it is called in the table."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(("rows lost", "wrong kinds", "processes left", "shm left", "torn runs"), 0))

    def rows(self, report: Report, done: str) -> None:
        report.table([done, *self])
        report.row("", *self.values())


APART = 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"'
"""What gives the soak a /dev/shm of its own: others' files are not counted, and it can be filled."""


def main() -> None:
    """Break everything, count, keep."""
    if "--apart" not in sys.argv:
        os.execvp(  # noqa: S606
            "unshare",  # noqa: S607
            ["unshare", "--mount", "sh", "-c", APART, "sh", sys.executable, __file__, "--apart"],
        )
    report = Report("faults", "What is left when things break")
    report.line(ABOUT)
    soaked, killed = soak(report), kills(report)
    wrong = sum(soaked.values()) + sum(killed.values())
    report.line(f"\nIn all {wrong}: the claim {'holds' if wrong == 0 else 'DOES NOT HOLD'}.")
    report.keep()


def soak(report: Report) -> Counts:
    """Run trials of which every third breaks."""
    dice, counts, seen = random.Random(SEED), Counts(), Counter[tuple[str, str]]()
    started, before = time.monotonic(), shared_memory()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fault"
        file.write_text("")
        setup = Setup(target=f"{TARGETS}:faulty", arguments={"file": str(file)}, device="cpu", seed=0, warm_seconds=0.0)
        with Supervisor(setup, trial_timeout_seconds=TIMEOUT_SECONDS) as supervisor:
            for order in range(TRIALS):
                fault = dice.choice(list(FAULTS)) if order % 3 == 2 else ""
                file.write_text(fault)
                record = run(supervisor, order, dice.randint(1, 4))
                FILLER.unlink(missing_ok=True)
                tally(counts, seen, fault, order, record)
                counts["processes left"] += left_of_a_trial()
                counts["shm left"] += len(shared_memory() - before)
        counts["processes left"] += len(psutil.Process().children(recursive=True))
    report.line(f"## Trials\n\n{TRIALS} trials in {time.monotonic() - started:.0f} s.\n")
    report.table(["fault", "trials", "called"])
    for (fault, kind), count in sorted(seen.items()):
        report.row(fault or "none", count, f"`{kind}`")
    report.line()
    counts.rows(report, "trials")
    return counts


def run(supervisor: Supervisor, order: int, num_workers: int) -> TrialRecord | None:
    """Return the row of a trial; None where there is none, which must not be."""
    config = LoaderConfig(batch_size=4, num_workers=num_workers)
    try:
        return supervisor.run(
            TrialRequest(
                order=order, block=0, phase="screen", config=config, measurement=QUICK, consumer=Consumer(), seed=order
            )
        )
    except Exception as error:  # noqa: BLE001 - a trial never raises: that is what is counted
        print(f"trial {order}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def tally(counts: Counts, seen: Counter[tuple[str, str]], fault: str, order: int, record: TrialRecord | None) -> None:
    """Count a row that is lost or called wrong, and keep what it was called."""
    if record is None or record.order != order:
        counts["rows lost"] += 1
        return
    kind = record.failure_kind or record.status
    seen[fault, kind] += 1
    if kind not in KINDS.get(fault, {"ok"}):
        counts["wrong kinds"] += 1
        print(f"trial {order}, {fault or 'no fault'}: {kind}: {record.failure_reason}\n{record.stderr_tail}")


def left_of_a_trial() -> int:
    """Return how many processes there are but the guardian, the trial host, and the child that waits for its trial."""
    hosts = [one for guardian in psutil.Process().children() for one in guardian.children()]
    below = [one for host in hosts for one in host.children(recursive=True)]
    return max(0, len(hosts) - 1) + max(0, len(below) - 1)


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))  # noqa: PTH208 - its names are what is compared


def kills(report: Report) -> Counts:
    """Kill sweeps at random moments, and go on with each until it is finished."""
    dice, counts, before = random.Random(SEED), Counts(), shared_memory()
    started, killed, finished, kept = time.monotonic(), 0, 0, 0
    while killed < KILLS:
        with tempfile.TemporaryDirectory() as folder:
            place, over = Path(folder), False
            while not over:
                over = not sweep(place, dice if killed < KILLS else None, counts)
                killed += not over
                kept += 0 if over else len(whole_lines(place))
            finished += 1
    counts["shm left"] += len(shared_memory() - before)
    report.line(f"\n## Kills\n\n{killed} kills of {finished} sweeps in {time.monotonic() - started:.0f} s; in the mean")
    report.line(f"{kept / killed:.1f} trials had been kept by then.\n")
    counts.rows(report, "kills")
    return counts


def sweep(place: Path, dice: random.Random | None, counts: Counts) -> bool:
    """Start or resume a sweep, kill it some time, and see what is left; return whether it was killed."""
    run_directory, before = place / "run", whole_lines(place)
    resumes = (run_directory / "run.json").exists()
    words = ["--resume", "run"] if resumes else [f"{TARGETS}:faulty", "--arg", f"file={os.devnull}", *SWEEP]
    new = [] if resumes else ["--output", "run", *(["--force"] if run_directory.exists() else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtune.cli.app", "sweep", *words, *new],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    below: list[psutil.Process] = []
    if dice is not None and wait_for_a_moment(process, place, len(before), dice):
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    _, said = process.communicate()
    if process.returncode > 0:
        counts["torn runs"] += 1
        print(f"exit {process.returncode}: {said}")
    _, alive = psutil.wait_procs(below, timeout=GONE_SECONDS)
    counts["processes left"] += sum(map(is_left, alive))
    examine(place, before, counts)
    return process.returncode < 0


def wait_for_a_moment(process: subprocess.Popen[str], place: Path, lines: int, dice: random.Random) -> bool:
    """Wait for a moment of the start, or one after another trial was kept; return whether the process still runs."""
    in_start = dice.random() < IN_START_SHARE
    while not in_start and process.poll() is None and len(whole_lines(place)) <= lines:
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(dice.uniform(0.0, LATEST_KILL_SECONDS))
    return process.poll() is None


def is_left(process: psutil.Process) -> bool:
    """Whether a process runs that should not, which is said."""
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            print(
                f"left: {process.pid} {process.status()} {process.cmdline()} of {process.ppid()}, {process.threads()}"
            )
            return True
    return False


def examine(place: Path, before: list[bytes], counts: Counts) -> None:
    """Count lines that were there and are not, and journals and runs that cannot be read."""
    after = whole_lines(place)
    counts["rows lost"] += sum(one != other for one, other in zip(before, after, strict=False))
    counts["rows lost"] += max(0, len(before) - len(after))
    try:
        journal = read_journal(place / "run" / "trials.jsonl")
    except RunDirectoryError as error:
        counts["torn runs"] += 1
        print(error)
        return
    counts["rows lost"] += len(after) - len(journal.records)
    header = place / "run" / "run.json"
    if header.exists():
        json.loads(header.read_text(encoding="utf-8"))


def whole_lines(place: Path) -> list[bytes]:
    path = place / "run" / "trials.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


if __name__ == "__main__":
    main()
