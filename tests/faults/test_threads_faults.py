"""Threads beyond the cores and narrowed masks, really injected: what is counted, told, and not told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faults import loadtune
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.judge import affinity, threads
from loadtune.record.results import TrialRecord
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "crowded.py"
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

pytestmark = [
    pytest.mark.alone,
    pytest.mark.own_interpreter,
    pytest.mark.skipif(CPUS < 2, reason="with one CPU no library starts a second thread"),
]


@contextmanager
def supervisor(name: str) -> Iterator[Supervisor]:
    setup = Setup(target=f"{TARGETS}:{name}", arguments={}, device="cpu", seed=0, warm_seconds=0.0)
    with Supervisor(setup, trial_timeout_seconds=60.0) as running:
        yield running


def trial(
    running: Supervisor, num_workers: int, *, prefetch_factor: int | None = None, one_thread: bool = False
) -> TrialRecord:
    """Return a trial whose threads were counted often enough: a longer one where a count costs more."""
    for seconds in (2.5, 8.0):
        record = running.run(
            TrialRequest(
                order=0,
                block=0,
                phase="threads" if one_thread else "screen",
                config=LoaderConfig.normalised(batch_size=8, num_workers=num_workers, prefetch_factor=prefetch_factor),
                measurement=Measurement(max_seconds=seconds, precision=1e-6, real_epoch_seconds=0.0),
                consumer=Consumer(),
                one_thread=one_thread,
            )
        )
        if record.status != "ok" or record.threads.samples >= threads.MIN_COUNTS:
            break
    assert record.status == "ok", record.failure_reason
    assert record.threads.samples >= threads.MIN_COUNTS
    return record


def test_threads_of_blas_are_seen_and_held_to_one() -> None:
    """Two workers that multiply matrices run two threads each and more, beyond two CPUs; held, they run one."""
    with supervisor("Multiplying") as running:
        free = trial(running, 2)
        # A handful of counts now and then catches the threads of a worker's own queue: the least of three trials.
        held = min(
            (trial(running, 2, one_thread=True) for _ in range(3)), key=lambda one: one.threads.runnable_each or 9
        )
    assert free.threads.runnable_each is not None
    assert free.threads.runnable_each >= min(CPUS, 4) - 0.5
    assert threads.is_crowded(free.threads, 2.0)
    assert held.threads.runnable_each is not None
    assert held.threads.runnable_each <= 1.2
    assert not threads.is_crowded(held.threads, 2.0)
    assert (free.one_thread, held.one_thread) == (False, True)


@pytest.mark.parametrize("num_workers", [0, 4])
def test_a_busy_data_set_of_one_thread_is_not_accused(num_workers: int) -> None:
    """Workers that compute in Python, more of them than CPUs too, have one runnable thread each and all of the mask.

    Queues are deep: with two batches each, a worker whose turn was taken by a neighbour lets the others wait, idle. A
    machine that stands still for a moment does the same: of three trials, which all accuse nobody, one shows them all.
    """
    seen = []
    with supervisor("Busy") as running:
        while len(seen) < 3 and max(seen, default=0.0) < 0.7:
            record = trial(running, num_workers, prefetch_factor=16 if num_workers else None)
            assert record.threads.runnable_each is not None
            assert record.threads.runnable_each <= 1.3
            assert not threads.is_crowded(record.threads, 1.0)
            assert record.affinity is None
            seen.append(record.threads.runnable_each)
    assert max(seen) >= 0.7, seen


def test_workers_narrowed_to_one_cpu_are_named() -> None:
    """Three workers that their worker_init_fn puts on the first CPU are told with mask, numbers and the way out."""
    with supervisor("pinned") as running:
        record = trial(running, 3)
    first = min(os.sched_getaffinity(0))
    assert record.affinity is not None
    assert record.affinity.workers == (str(first),) * 3
    assert record.affinity.trial == record.affinity.sweep
    found = affinity.finding([record])
    assert found is not None
    assert found.severity == "warning"
    assert f"workers 0-2 on CPU {first} alone" in found.message
    assert (found.numbers["narrowed_workers"], found.numbers["least_cpus"]) == (3.0, 1.0)
    assert found.numbers["sweep_cpus"] == CPUS


def test_a_data_set_that_narrows_its_process_is_named() -> None:
    """A mask that building the data set narrowed is that of the trial and its workers, and not of the sweep."""
    with supervisor("narrowing") as running:
        record = trial(running, 2)
    first = str(min(os.sched_getaffinity(0)))
    assert record.affinity is not None
    assert (record.affinity.trial, record.affinity.workers) == (first, (first, first))
    found = affinity.finding([record])
    assert found is not None
    assert "building the data set left its process" in found.message


def test_a_sweep_tries_one_thread_each_and_says_what_it_gave(tmp_path: Path) -> None:
    """A whole sweep over BLAS finds the crowd, tries it in pairs with one thread, and gives LT022 with the numbers."""
    done = loadtune(
        "sweep", f"{TARGETS}:multiplying_loader", "--arg", f"num_workers={CPUS}", "--batch-size", "8",
        "--num-workers", str(CPUS), "--drop-last", "off", "--precision", "90%", "--time-budget", "40s",
        "--output", "run", "--export-json", "-", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tried = [json.loads(line) for line in (tmp_path / "run" / "trials.jsonl").read_text().splitlines()]
    pairs = [one for one in tried if one["phase"] == "threads"]
    each = {
        held: [one["threads"]["runnable_each"] for one in pairs if one["one_thread"] is held] for held in (True, False)
    }
    result: dict[str, Any] = json.loads(done.stdout)
    found = next(one for one in result["findings"] if one["code"] == "LT022")
    assert found["numbers"]["workers"] == CPUS
    assert found["numbers"]["runnable"] > 1.25 * CPUS
    assert found["numbers"]["pairs"] >= 1
    assert found["numbers"]["gain_low"] <= found["numbers"]["gain"] <= found["numbers"]["gain_high"]
    # A handful of counts now and then catches the thread of a worker's own queue: one trial held may show more.
    assert min(each[True]) <= 1.3
    assert max(each[True]) < min(each[False])
    orders = {order for row in result["trials"] for order in row["order"]}
    assert not orders & {one["order"] for one in pairs}
    assert not [one for one in result["findings"] if one["code"] == "LT023"]
