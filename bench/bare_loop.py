"""A bare loop over a loader, for ``instrument.py``: reads ``batch_size num_workers`` a line, answers with batches/s."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.measure.stream import Stream
from loadtune.workloads.resolve import resolve_target
from loadtune.workloads.source import Source

PRIMING_SECONDS = 0.5
"""Uncounted: a trial finds its transient and cuts it off."""


def main(target: str, seconds: float) -> None:
    """Run a loop in a forked child for each line."""
    source = resolve_target(target, {})
    for line in sys.stdin:
        batch_size, num_workers = map(int, line.split())
        pid = os.fork()
        if pid == 0:
            config = LoaderConfig(batch_size=batch_size, num_workers=num_workers)
            print(batches_per_second(source, config, seconds), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)


def batches_per_second(source: Source, config: LoaderConfig, seconds: float) -> float:
    """Return the rate of taking batches and doing nothing else."""
    stream = Stream(source, config, seed=0)
    stream.start()
    iterator = stream._iterator  # noqa: SLF001 - the loader's own iterator, without anything of ours around it
    count_rounds(iterator, config.num_workers, PRIMING_SECONDS)
    rate = count_rounds(iterator, config.num_workers, seconds)
    stream.kill()
    return rate


def count_rounds(iterator: Any, size: int, seconds: float) -> float:
    """Return the batches/s of whole rounds over at least so many seconds."""
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(size):
            next(iterator)
        batches += size
    return batches / (time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
