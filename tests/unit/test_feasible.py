"""What is refused before it runs: exact bounds, one below and one above."""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from factories import make_environment, make_probe
from loadtune.describe.config import LoaderConfig
from loadtune.describe.workload import Workload
from loadtune.judge.feasible import Refusal, refusal
from loadtune.measure.batches import shared_tensors
from loadtune.measure.pickling import unpicklable
from loadtune.record import cgroups
from loadtune.record.results import MemoryLimits
from loadtune.workloads.source import source_from_workload

MIB = 2**20
FOUR = LoaderConfig(batch_size=16, num_workers=4)
"""(2 · 4 + 1) batches of 16: 144 samples at once."""


def judged(config: LoaderConfig, **facts: Any) -> Refusal | None:
    """Judge with facts of the probe, the environment and the limits told apart by their names."""
    of_probe = {name: facts.pop(name) for name in list(facts) if hasattr(make_probe(), name)}
    of_environment = {name: facts.pop(name) for name in list(facts) if hasattr(make_environment(), name)}
    return refusal(
        config,
        probe=make_probe(**of_probe),
        environment=make_environment(**of_environment),
        limits=MemoryLimits(**facts),
    )


@pytest.mark.parametrize(("free", "refused"), [(144 * MIB, False), (144 * MIB - 1, True)])
def test_shared_memory_must_hold_all_batches_in_flight_and_the_one_in_use(free: int, *, refused: bool) -> None:
    """(P·W + 1)·B·M is compared with what is free, to the byte, and the row says what there is room for."""
    found = judged(FOUR, shared_bytes_per_sample=float(MIB), shm_free_bytes=free)
    assert (found is not None) == refused
    if found:
        assert found.kind == "shm_full"
        assert found.reason == (
            "9 batches (prefetch_factor 2 × 4 workers + 1) of 16.0 MiB need 144 MiB of shared memory, and /dev/shm has "
            "144 MiB free: room for 8 of these batches"
        )


@pytest.mark.parametrize(
    "facts",
    [
        {"shared_bytes_per_sample": None},  # not known
        {"shared_bytes_per_sample": 0.0},  # arrays and texts go through a pipe
        {"shared_bytes_per_sample": float(MIB), "shm_free_bytes": None},  # a system without it
    ],
)
def test_shared_memory_refuses_nothing_that_is_not_known(facts: dict[str, Any]) -> None:
    """Nobody is refused for a figure that is not there."""
    assert judged(FOUR, **{"shm_free_bytes": 1, **facts}) is None


def test_without_workers_nothing_is_shared_opened_or_started() -> None:
    """In the main process no batch is handed over, whatever the limits are."""
    alone = dataclasses.replace(FOUR, num_workers=0, prefetch_factor=None)
    facts = {"shm_free_bytes": 1, "shared_bytes_per_sample": 1.0, "open_files_most": 1, "tensors_per_batch": 2.0}
    assert judged(alone, tasks_free=0, unpicklable="dataset", default_start_method="spawn", **facts) is None


@pytest.mark.parametrize(("limit", "refused"), [(144 * MIB, False), (144 * MIB - 1, True)])
def test_batches_alone_may_not_fill_the_host_memory(limit: int, *, refused: bool) -> None:
    """What is in flight may not be more than the limit of host memory, to the byte."""
    found = judged(FOUR, bytes_per_sample=float(MIB), host_memory_bytes=limit)
    assert (found is not None) == refused
    assert found is None or found.kind == "host_oom"


@pytest.mark.parametrize(("limit", "refused"), [(644 * MIB, False), (644 * MIB - 1, True)])
def test_one_process_and_its_batches_may_not_exceed_what_the_machine_allows(limit: int, *, refused: bool) -> None:
    """500 MiB of a process and 144 MiB in flight are compared with the machine's limit, to the byte, with its source.

    A lower limit that was asked for is measured against: nothing is killed for it.
    """
    facts = {"bytes_per_sample": float(MIB), "resident_bytes": 500 * MIB, "host_memory_limit_bytes": limit}
    found = judged(FOUR, **facts, host_memory_limit_source="cgroup v2 /a memory.max", host_memory_bytes=200 * MIB)
    assert (found is not None) == refused
    if found:
        assert found.kind == "host_oom"
        assert "has 500 MiB, and with 9 batches" in found.reason
        assert "that is 644 MiB of host memory before any worker's own" in found.reason
        assert found.reason.endswith("own, of 644 MiB (cgroup v2 /a memory.max)")


@pytest.mark.parametrize(
    ("tensors", "each", "needed", "who"),
    [
        (100.0, 0.0, 316, "each worker"),  # 16 + 100 · (2 + 1)
        (0.0, 10.0, 496, "each worker"),  # a list of 160 tensors: 16 + 160 · 3
        (2.0, 0.0, 32, "the main process"),  # 16 + 2 · 2 + 3 · 4
    ],
)
def test_descriptors_are_counted_by_process(tensors: float, each: float, needed: int, who: str) -> None:
    """The process that needs the most open files decides, to the one."""
    facts = {"tensors_per_batch": tensors, "tensors_per_sample": each}
    assert judged(FOUR, open_files_most=needed, **facts) is None
    found = judged(FOUR, open_files_most=needed - 1, **facts)
    assert found is not None
    assert found.kind == "open_files"
    assert f"need {needed} open files in {who}, and no more than {needed - 1} are allowed" in found.reason


@pytest.mark.parametrize(("free", "refused"), [(8, False), (7, True), (None, False)])
def test_a_worker_is_two_tasks(free: int | None, *, refused: bool) -> None:
    """Two tasks a worker are compared with what the group still allows."""
    found = judged(FOUR, tasks_free=free, tasks_free_source="cgroup v2 /a pids.max 12")
    assert (found is not None) == refused
    assert found is None or (found.kind == "environment" and "(cgroup v2 /a pids.max 12)" in found.reason)


@pytest.mark.parametrize(
    ("asked", "default", "refused"),
    [("spawn", "fork", True), ("forkserver", "fork", True), (None, "spawn", True), ("fork", "spawn", False)],
)
def test_what_cannot_be_pickled_is_refused_where_workers_are_no_forks(
    asked: str | None, default: str, *, refused: bool
) -> None:
    """A fork is sent nothing; all other ways of starting a worker need the pickle."""
    config = dataclasses.replace(FOUR, multiprocessing_context=asked)
    found = judged(config, unpicklable="dataset.f (function <lambda>): why", default_start_method=default)
    assert (found is not None) == refused
    assert found is None or (found.kind == "pickle" and "dataset.f (function <lambda>)" in found.reason)


def test_tensors_are_counted_by_their_memory() -> None:
    """Views of one tensor are sent as one; empty tensors, arrays and texts are not sent so."""
    whole = torch.zeros(4, 1000)
    assert shared_tensors([whole, whole[1], torch.zeros(10), torch.zeros(0), np.zeros(99), "text"]) == (2, 16_040)


def test_the_tightest_control_group_says_how_many_tasks_are_free(tmp_path: Path) -> None:
    """A group without a limit says nothing, the one with a limit what is left of it."""
    folder = tmp_path / "sys/fs/cgroup/a"
    folder.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (folder / "pids.max").write_text("512\n")
    (folder / "pids.current").write_text("500\n")
    (folder.parent / "pids.max").write_text("max\n")
    (folder.parent / "pids.current").write_text("900\n")
    found = cgroups.tasks_free(tmp_path)
    assert [(one.amount, one.source) for one in found] == [(12, "cgroup v2 /a pids.max 512")]


class Holder:
    """A data set with something in it."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return index


def _lambda() -> Callable[[], int]:
    return lambda: 1


def _local() -> object:
    class Local:
        pass

    return Local()


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"transform": _lambda()}, "dataset.transform (function _lambda.<locals>.<lambda>)"),
        (
            {"transform": Holder(transforms=[1, Holder(), _lambda()])},
            "dataset.transform.transforms[2] (function _lambda.<locals>.<lambda>)",
        ),
        ({"rows": (row for row in ())}, "dataset.rows (generator "),
        ({"guard": {"lock": threading.Lock()}}, "dataset.guard['lock'] (lock)"),
        ({"file": io.TextIOWrapper(io.BytesIO())}, "dataset.file (TextIOWrapper)"),
        ({"inner": _local()}, "dataset.inner (Local): AttributeError: Can't "),
    ],
)
def test_the_attribute_that_cannot_be_pickled_is_named(parts: dict[str, Any], path: str) -> None:
    """The path leads to the innermost thing that fails."""
    found = unpicklable(source_from_workload(Workload(dataset=Holder(**parts)), "x"))  # type: ignore[arg-type]
    assert found is not None
    assert found.startswith(path)


def test_what_a_worker_can_be_sent_is_no_problem() -> None:
    """Locks and queues of the same way of starting can be sent, and no tensor is moved by trying."""
    spawn = multiprocessing.get_context("spawn")
    parts = {"lock": spawn.Lock(), "queue": spawn.Queue(), "tensor": torch.zeros(3), "text": "x"}
    dataset: Any = Holder(**parts)
    assert unpicklable(source_from_workload(Workload(dataset=dataset), "x")) is None
    assert not dataset.tensor.is_shared()
