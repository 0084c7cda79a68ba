"""What a trial leaves: processes that the kernel does not end, files in shared memory; the sweep goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroup_lab import Nest, NoGroups, nest
from single_trials import asked, host_of

from faults import loadtune
from loadtune.record.results import LeftBehind
from loadtune.run import watch
from loadtune.run.leftovers import Leftovers

pytestmark = pytest.mark.shared_memory

TARGETS = Path(__file__).with_name("leaving_targets.py")


@pytest.fixture
def freezer() -> Iterator[Nest]:
    try:
        with nest("freezer") as made:
            if made.version != 1:
                pytest.skip("a process frozen by version 2 of control groups can be killed")
            yield made
            (made.inner / "freezer.state").write_text("THAWED")
            time.sleep(0.2)
    except NoGroups as why:
        pytest.skip(str(why))


def test_a_worker_that_cannot_be_killed_costs_its_trial_and_not_the_sweep(
    freezer: Nest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker frozen in the kernel outlives SIGKILL: the trial is hung and names its pid; the next trial is sound."""
    monkeypatch.setattr(watch, "ABANDONED_SECONDS", 1.0)
    with host_of(f"{TARGETS}:freezing", timeout=4.0, group=str(freezer.inner)) as running:
        stuck = running.run(asked(batch_size=16, num_workers=2))
        sound = running.run(asked(batch_size=8, num_workers=2))
    assert (stuck.status, sound.status, sound.left_behind) == ("hung", "ok", None)
    assert stuck.left_behind is not None
    assert [str(pid) for pid in stuck.left_behind.processes] == (freezer.inner / "cgroup.procs").read_text().split()
    assert stuck.seconds < 30, "a new host and its import of torch included"


def test_a_file_left_in_shared_memory_is_told(tmp_path: Path) -> None:
    """A data set that leaves 2 MiB in /dev/shm for each worker: rows are there, and LT024 has names and sizes."""
    name = f"loadtune-left-{os.getpid()}"
    try:
        done = loadtune(
            "sweep", f"{TARGETS}:leaving", "--arg", f"name={name}", "--batch-size", "8", "--num-workers", "0,1",
            "--time-budget", "6s", "--export-json", "-", cwd=tmp_path,
        )  # fmt: skip
        finding = next(one for one in json.loads(done.stdout)["findings"] if one["code"] == "LT024")
        assert finding["numbers"]["shm_bytes"] == finding["numbers"]["shm_files"] * (2 << 20) > 0
        assert name in finding["message"]
        assert {row["status"] for row in json.loads(done.stdout)["trials"]} == {"ok"}
    finally:
        for path in Path("/dev/shm").glob(f"{name}*"):
            path.unlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file away")
def test_what_others_have_is_no_leftover(tmp_path: Path) -> None:
    """A file from before is none, nor one of another user; one that is new and stays is told with its size."""
    (tmp_path / "before").write_bytes(b"x")
    leftovers = Leftovers(tmp_path)
    assert leftovers.after([2**22 + 1]) is None
    (tmp_path / "of-another-user").write_bytes(b"x")
    os.chown(tmp_path / "of-another-user", 12345, 12345)
    (tmp_path / "new").write_bytes(b"x" * 5000)
    (tmp_path / f"torch_{os.getpid()}_1_1").touch()  # of a process that runs
    (tmp_path / f"torch_{2**22 + 1}_1_1").touch()  # of one that is gone and was no process of the trial
    left = leftovers.after([])
    assert left is not None
    assert left == LeftBehind(shm_files=1, shm_bytes=left.shm_bytes, shm_names=("new",))
    block = os.statvfs(tmp_path).f_frsize
    assert left.shm_bytes == -(-5000 // block) * block, "whole blocks of this file system"
    of_the_trial = leftovers.after([2**22 + 1])
    assert of_the_trial is not None
    assert set(of_the_trial.shm_names) == {"new", f"torch_{2**22 + 1}_1_1"}
