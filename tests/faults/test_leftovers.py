"""Shared memory after a trial: what its killed processes had there is gone, what others have is not touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hard_targets import LEFT
from single_trials import HARD, asked, setup_of, trial_host

from faults import TARGETS, until
from loadtune.measure.witness import FILE_PREFIX
from loadtune.run.leftovers import names, sweep_up
from loadtune.run.scratch import Scratch
from loadtune.run.supervisor import Supervisor

pytestmark = pytest.mark.shared_memory

GONE = 2**22 + 1
"""A process id that no process has."""


def left_in_shared_memory() -> set[str]:
    """Return the files of dead workers that hold tensors, and the semaphores of trials."""
    return {name for name in os.listdir("/dev/shm") if name.endswith(LEFT) or name.startswith("sem.loadtune-")}


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_nothing_of_a_killed_worker_stays_in_shared_memory(context: str) -> None:
    """A file that a worker was killed with before it could unlink it, and the semaphores of its queues, are removed."""
    with trial_host("leaving") as running:
        record = running.run(asked(batch_size=8, num_workers=2, multiprocessing_context=context))
        assert record.status == "ok", record.failure_reason
        assert left_in_shared_memory() == set()


def test_nothing_of_a_worker_of_the_contents_check_stays_in_shared_memory() -> None:
    """Workers that the check of the contents has killed leave as much as those of trials: it goes."""
    setup = setup_of(f"{HARD}:leaving", worker_counts=(0, 2))
    with Supervisor(setup, trial_timeout_seconds=60.0) as running:
        assert running.probe.contents is not None
        assert running.probe.contents.checksums is not None, running.probe.contents.skipped
        assert left_in_shared_memory() == set()


def test_what_a_killed_supervisor_leaves_goes_with_the_next_start() -> None:
    """SIGKILL of the parent in mid-trial leaves files in shared memory; the next that starts removes them."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]; from single_trials import *\n"
        "with trial_host('leaving') as running:\n"
        "    running.run(asked(batch_size=8, num_workers=2, measurement=Measurement(max_seconds=60.0, precision=0.0)))"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(TARGETS.parent), str(Path(__file__).parent)]) as parent:
        until(lambda: len(left_in_shared_memory()) >= 2)
        parent.kill()
    assert left_in_shared_memory()
    with Scratch():
        assert left_in_shared_memory() == set()


def test_only_what_belongs_to_dead_processes_of_the_trial_is_removed(tmp_path: Path) -> None:
    """Files of living processes, of processes of others, and of other names stay."""
    folder, shm = tmp_path / "scratch", tmp_path / "shm"
    folder.mkdir()
    shm.mkdir()
    for pid in (GONE, os.getpid()):
        (folder / f"{FILE_PREFIX}{pid}").touch()
    ours = {f"torch_{GONE}_123_4", f"sem.loadtune-{GONE}-abc"}
    others = {f"torch_{GONE + 1}_1_1", f"torch_{os.getpid()}_1_1", f"sem.mp-{GONE}", f"{GONE}", f"my_torch_{GONE}_1"}
    for name in ours | others:
        (shm / name).touch()
    assert sweep_up(folder, shm=shm) == 2
    assert set(os.listdir(shm)) == others
    assert os.listdir(folder) == [f"{FILE_PREFIX}{os.getpid()}"], "who lives may be asked again"


def test_tensors_of_another_container_with_the_same_process_id_stay(tmp_path: Path) -> None:
    """Shared memory may be common where numbers of processes are not: what was there before a trial is no leftover."""
    folder, shm = tmp_path / "scratch", tmp_path / "shm"
    folder.mkdir()
    shm.mkdir()
    theirs, ours = shm / f"torch_{GONE}_1_1", shm / f"torch_{GONE}_2_2"
    theirs.touch()
    before = names(shm)
    os.utime(theirs, (1.0, 1.0))
    for keep in (before, None):  # of the trial before which it was listed, and by age
        (folder / f"{FILE_PREFIX}{GONE}").touch()
        ours.touch()
        assert sweep_up(folder, keep=keep, shm=shm) == 1
        assert os.listdir(shm) == [theirs.name]


def test_a_system_without_shared_memory_has_nothing_to_remove(tmp_path: Path) -> None:
    """A folder that is not there is no error."""
    (tmp_path / f"{FILE_PREFIX}{GONE}").touch()
    assert sweep_up(tmp_path, shm=tmp_path / "none") == 0
