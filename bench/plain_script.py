"""What a plain script pays to start and end one process with a loader, for ``cost.py``: no loadtune around the loop.

Reads ``batch_size num_workers`` a line, answers with the seconds of a fork and of the end: from the last batch until
the process and its workers are gone.
"""

from __future__ import annotations

import os
import sys
import time

from torch.utils.data import DataLoader

from loadtune.workloads.resolve import resolve_target
from loadtune.workloads.source import Source

SECONDS = 0.5


def main(target: str) -> None:
    """Fork a process for each line, as a sweep written by hand does to measure each loader in a process of its own."""
    source = resolve_target(target, {})
    for line in sys.stdin:
        batch_size, num_workers = map(int, line.split())
        print(fork_and_end(source, batch_size, num_workers), flush=True)


def fork_and_end(source: Source, batch_size: int, num_workers: int) -> float:
    """Return the seconds of the fork and of the end."""
    receive, send = os.pipe()
    asked = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.write(send, f"{time.perf_counter()!r} ".encode())
        last_batch = iterate(source, batch_size, num_workers)
        os.write(send, f"{last_batch!r}".encode())
        os._exit(0)
    os.close(send)
    os.waitpid(pid, 0)
    ended = time.perf_counter()
    begun, last_batch = map(float, os.read(receive, 1000).split())
    os.close(receive)
    return begun - asked + ended - last_batch


def iterate(source: Source, batch_size: int, num_workers: int) -> float:
    """Iterate a loader for a while and shut it down as torch does; return when the last batch came."""
    assert source.workload is not None
    loader = DataLoader(source.workload.dataset, batch_size=batch_size, num_workers=num_workers, shuffle=True)
    iterator = iter(loader)
    started = time.perf_counter()
    while (now := time.perf_counter()) - started < SECONDS:
        next(iterator)
    del iterator
    return now


if __name__ == "__main__":
    main(sys.argv[1])
