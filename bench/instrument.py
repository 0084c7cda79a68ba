"""What measuring costs: the rate under loadtune over the rate of a bare loop on the same loader."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from _report import Report, mean_ratio, quartiles

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

CASES = (("cifar10", 16), ("images", 32))
WORKERS = 2
PAIRS = 16
SECONDS = 2.0
SEGMENTS = 100
SEGMENT_SECONDS = {"cifar10": 0.2, "images": 0.5}


ABOUT = """The claim: the rate under loadtune is at least 0.99 of the rate of a bare loop. Ratios are loadtune / bare.

- *Trials*: a whole trial as `loadtune sweep` runs it, watched from outside, against a bare `next(iterator)` loop over
  the same loader in a process of its own, in turns (ABBA). From one such trial to the next a shared machine changes by
  several percent.
- *Loop*: in one process and on one iterator, short segments in turns, bare and as a trial takes batches.
- *Work*: what a trial does for a batch besides `next`, timed alone on batches that cost nothing, as a share of the time
  that a batch takes. It is the most that a rate can lose, where the main process is what everything waits for.
"""


def main() -> None:
    """Compare, print, keep."""
    report = Report("instrument", "What measuring costs")
    report.line(ABOUT)
    report.table(["target", "batch", "what", "batches/s", "median ratio (range)", "mean ratio", "95 % interval"])
    for target, batch_size in CASES:
        config = LoaderConfig(batch_size=batch_size, num_workers=WORKERS)
        for what, compare in (("loop", compare_loops), ("trials", compare_trials)):
            pairs = compare(target, config)
            ratios = [ours / bare for ours, bare in pairs]
            mean, low, high = mean_ratio([math.log(ratio) for ratio in ratios])
            rate = statistics.median(bare for _, bare in pairs)
            interval = f"{low:.4f} to {high:.4f}"
            report.row(target, batch_size, what, f"{rate:,.0f}", quartiles(ratios), f"{mean:.4f}", interval)
        work = seconds_of_work(target, config)
        report.row(target, batch_size, "work", "", f"{1e6 * work:.1f} µs a batch", f"{1 - work * rate:.4f}", "")
    report.keep()


def compare_trials(target: str, config: LoaderConfig) -> list[tuple[float, float]]:
    """Return batches/s under loadtune and bare, pair by pair."""
    setup = Setup(target=target, arguments={}, device="cpu", seed=0, warm_seconds=0.0)
    plan = Measurement(max_seconds=SECONDS, min_windows=4, precision=1e-6, real_epoch_seconds=0.0)
    with Supervisor(setup, trial_timeout_seconds=60) as supervisor, BareHost(target) as bare:

        def ours() -> float:
            record = supervisor.run(
                TrialRequest(order=0, block=0, phase="race", config=config, measurement=plan, consumer=Consumer())
            )
            assert record.steady is not None, record.failure_reason
            return record.steady.batches_measured / record.steady.measured_seconds

        pairs = []
        for number in range(PAIRS):
            if number % 2:
                first = ours()
                pairs.append((first, bare.rate(config)))
            else:
                second = bare.rate(config)
                pairs.append((ours(), second))
    return pairs


class BareHost:
    """The process of ``bare_loop.py``: forks a child for each bare loop, as the trial host does, and nothing else."""

    def __init__(self, target: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "bare_loop.py"), target, str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def rate(self, config: LoaderConfig) -> float:
        """Return the batches/s of one bare loop."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{config.batch_size} {config.num_workers}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> BareHost:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def seconds_of_work(target: str, config: LoaderConfig) -> float:
    """Return what a trial does for one batch besides waiting for it, in seconds; measured in a child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(time_loop_alone(target, config)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        seconds = float(answer.read())
    os.waitpid(pid, 0)
    return seconds


def time_loop_alone(target: str, config: LoaderConfig) -> float:
    """Time the loop of a trial over one batch that is handed out again and again."""
    from loadtune.measure.consumer import Consumer as Taker  # noqa: PLC0415 - torch stays out of the parent
    from loadtune.measure.stream import Stream  # noqa: PLC0415
    from loadtune.measure.trial import _Loop  # noqa: PLC0415
    from loadtune.workloads.resolve import resolve_target  # noqa: PLC0415

    stream = Stream(resolve_target(target, {}), config, seed=0)
    stream.start()
    batch = stream.next()
    stream._asked = None  # noqa: SLF001
    stream._constant = config.batch_size  # noqa: SLF001
    stream.next = lambda: batch  # type: ignore[method-assign]
    loop = _Loop(stream, Taker(Consumer(), pinned=False), [0])
    loop.take(1000)
    started = time.perf_counter()
    for _ in range(10_000):
        loop.round(1)
    seconds = (time.perf_counter() - started) / 10_000
    stream.kill()
    return seconds


def compare_loops(target: str, config: LoaderConfig) -> list[tuple[float, float]]:
    """Return batches/s of segments of one iterator, taken as a trial does and bare; measured in a child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        pairs = alternate(target, config)
        os.write(writer, "".join(f"{ours} {bare}\n" for ours, bare in pairs).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        found = [tuple(map(float, line.split())) for line in lines]
    os.waitpid(pid, 0)
    return [(ours, bare) for ours, bare in found]


def alternate(target: str, config: LoaderConfig) -> list[tuple[float, float]]:
    """Take segments of one stream in turns, each way."""
    from loadtune.measure.consumer import Consumer as Taker  # noqa: PLC0415
    from loadtune.measure.stream import Stream  # noqa: PLC0415
    from loadtune.measure.trial import _Loop  # noqa: PLC0415
    from loadtune.workloads.resolve import resolve_target  # noqa: PLC0415

    stream = Stream(resolve_target(target, {}), config, seed=0)
    stream.start()
    loop = _Loop(stream, Taker(Consumer(), pinned=False), [0])
    size = config.num_workers

    def bare() -> None:
        for _ in range(size):
            next(stream._iterator)  # noqa: SLF001
            stream.expected_samples()

    loop.take(20 * size)
    pairs = []
    for number in range(SEGMENTS):
        ways: list[Callable[[], object]] = [lambda: loop.round(size), bare]
        rates = [0.0, 0.0]
        for way in (0, 1) if number % 2 else (1, 0):
            rates[way] = segment(ways[way], size, SEGMENT_SECONDS[target])
        pairs.append((rates[0], rates[1]))
    stream.kill()
    return pairs


def segment(take: Callable[[], object], size: int, seconds: float) -> float:
    """Return the batches/s of one segment."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        take()
        count += size
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
