"""What a trial leaves: processes that the kernel does not end, files in shared memory; the sweep goes on."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cgroup_lab import Nest, NoGroups, nest

from faults import loadtune
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.run import watch
from loadtune.run.protocol import Setup
from loadtune.run.residue import Residue
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).with_name("residue_targets.py")


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
    setup = Setup(
        target=f"{TARGETS}:freezing", arguments={"group": str(freezer.inner)}, device="cpu", seed=0, warm_seconds=0.0
    )
    with Supervisor(setup, trial_timeout_seconds=4.0) as running:
        stuck = running.run(_request(batch_size=16, num_workers=2))
        sound = running.run(_request(batch_size=8, num_workers=2))
    assert (stuck.status, sound.status, sound.left_behind) == ("hung", "ok", None)
    assert stuck.left_behind is not None
    assert [str(pid) for pid in stuck.left_behind.processes] == (freezer.inner / "cgroup.procs").read_text().split()
    assert stuck.seconds < 9


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


def test_what_a_killed_worker_left_under_torchs_name_is_removed(tmp_path: Path) -> None:
    """Of the files that are new only those of an ended process of the trial go; another's stay and are told."""
    (tmp_path / "torch_7_1_0").write_bytes(b"before")
    residue = Residue(tmp_path)
    gone = psutil.Process().pid + 10_000_000
    for name in (f"torch_{gone}_2_0", f"torch_{gone + 1}_2_0"):
        (tmp_path / name).write_bytes(b"x" * 5000)
    left = residue.after([gone])
    assert left is not None
    assert (left.processes, left.shm_files, left.shm_bytes) == ((), 1, 8192)
    assert left.shm_names == (f"torch_{gone + 1}_2_0",)
    assert set(os.listdir(tmp_path)) == {"torch_7_1_0", f"torch_{gone + 1}_2_0"}
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / f"torch_{gone + 1}_2_0").unlink()
    assert residue.after([gone]) is None


def _request(*, batch_size: int, num_workers: int) -> TrialRequest:
    return TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig.normalised(batch_size=batch_size, num_workers=num_workers),
        measurement=Measurement(max_seconds=1.0, real_epoch_seconds=0.0),
        consumer=Consumer(),
    )
