"""Trials that really fail: what ended them is told from evidence, and the failing sample is found in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cgroup_lab import NoGroups, nest, set_memory
from one_by_one import BROKEN, records, request, setup

from faults import can_mount
from loadtune.record.failure import FailureEvidence
from loadtune.record.results import TrialRecord
from loadtune.run.supervisor import Supervisor

MIB = 2**20
SCRIPT = str(Path(__file__).parent / "one_by_one.py")


def evidence_of(record: TrialRecord) -> FailureEvidence:
    assert record.failure_evidence is not None, record.failure_reason
    return record.failure_evidence


def done(command: list[str], **options: Any) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110, **options)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("context", [None, "spawn"])
def test_a_sample_that_breaks_a_worker_alone_is_said_to_load_well_elsewhere(context: str | None) -> None:
    """Sample 37 segfaults in workers only: the signal is in the evidence, its batch too, and all of it loads alone."""
    workers = request(num_workers=2, multiprocessing_context=context)
    broken, sound = records("in_a_worker", workers, request(num_workers=0), deed="segfault")
    assert (broken.status, broken.failure_kind, sound.status) == ("failed", "worker_killed", "ok")
    seen = evidence_of(broken)
    assert [end.signal for end in seen.workers] == ["SIGSEGV"]
    assert "37" in seen.batch
    assert seen.alone is not None
    assert seen.alone.all_well
    assert seen.alone.loaded == len(seen.batch)
    assert f"the {len(seen.batch)} samples given to it load alone without error" in (broken.failure_reason or "")


def test_a_sample_that_breaks_any_process_is_named() -> None:
    """Sample 37 ends a worker, then the process that loads it alone, and a trial without workers that is replayed."""
    wanted = (request(num_workers=2), request(num_workers=0), request(batch_size=16, num_workers=0))
    worker, trial, again = records("anywhere", *wanted, deed="segfault")
    assert worker.failure_reason == (
        f"{evidence_of(worker).workers[0]}; alone in one process sample 37 ends it: it was killed by SIGSEGV"
    )
    for record in (trial, again):
        assert record.failure_kind == "trial_killed"
        assert record.failure_reason == (
            "the measuring process was killed by SIGSEGV; alone in one process sample 37 ends it: it was killed by "
            "SIGSEGV"
        )
    assert "dataset[37]" in (worker.failure_advice or "")


def test_a_bus_error_of_another_file_is_no_want_of_shared_memory() -> None:
    """A mapped file that was cut short raises SIGBUS while /dev/shm has room: the kind and the reason say so."""
    (broken,) = records("in_a_worker", request(num_workers=2), deed="bus")
    assert broken.failure_kind == "worker_killed"
    assert "free, so it is another file that fell short" in (broken.failure_reason or "")


def test_a_pickle_that_a_sample_reads_is_none_that_is_sent() -> None:
    """One that was cut short: the data set's mistake, with workers and without, and no word of what cannot be sent."""
    worker, alone = records("anywhere", request(num_workers=2), request(num_workers=0), deed="cut")
    assert (worker.failure_kind, alone.failure_kind) == ("worker_error", "user_error")
    assert alone.failure_reason == "sample 37 raised EOFError: Ran out of input"


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("mute", "MuteError: <exception str() failed>; alone in one process sample 37 raises MuteError: "),
        ("two arguments", "sample 37 raises PairError: a broken pair, in a worker and alone in one process"),
        ("newlines", "sample 37 raises ValueError, in a worker and alone in one process"),
    ],
)
def test_an_exception_that_torch_cannot_make_again_is_told_as_it_was(deed: str, reason: str) -> None:
    """Without words, of several arguments, of newlines alone: type, words and sample are those of the worker's own."""
    (record,) = records("anywhere", request(num_workers=2), deed=deed)
    assert record.failure_kind == "worker_error"
    assert (record.failure_reason or "").startswith(reason)
    assert "in misbehave" in record.stderr_tail


def test_the_last_of_ten_thousand_samples_is_found() -> None:
    """9,999 raises in a worker and alone, in any order of batches, and its traceback is the true one; 0 workers too."""
    wanted = [
        request(batch_size=64, real_epoch_seconds=60.0, **settings)
        for settings in ({"num_workers": 2}, {"num_workers": 2, "in_order": False}, {"num_workers": 0})
    ]
    ordered, free, alone = records("at_the_last", *wanted)
    for record in (ordered, free):
        said = "sample 9999 raises ValueError: a broken picture, in a worker and alone in one process"
        assert (record.failure_kind, record.failure_reason) == ("worker_error", said)
        assert "in misbehave" in record.stderr_tail
        assert "in DataLoader worker process" not in record.stderr_tail
    assert alone.failure_kind == "user_error"
    assert alone.failure_reason == "sample 9999 raised ValueError: a broken picture"


def test_a_worker_killed_for_memory_is_told_from_the_counters() -> None:
    """Workers that hoard under 1800 MiB are killed by the kernel: host_oom at the limit, and the next trial runs.

    Under a limit so far above the 700 MiB of a process with torch that one of them, and none else, holds the most.
    """
    try:
        with nest("memory") as groups:
            set_memory(groups, 1800 * MIB)
            killed, sound = json.loads(done(groups.command(sys.executable, SCRIPT, "hoarding", "20", "8x2", "8x0")))
            inner = str(groups.inner)
    except NoGroups as none:
        pytest.skip(str(none))
    seen = killed["failure_evidence"]
    assert (killed["failure_kind"], sound["status"]) == ("host_oom", "ok")
    assert killed["failure_reason"].startswith("the kernel killed worker ")
    assert "1.8 GiB of 1.8 GiB" in killed["failure_reason"]
    assert seen["oom_kills"] >= 1
    assert any(label.split()[2].endswith(inner.split("/")[-2] + "/inner") for label in seen["oom_counters"])
    assert seen["host_limit_bytes"] == 1800 * MIB
    assert seen["alone"] is None
    assert "--num-workers 1" in killed["failure_advice"]


@pytest.mark.parametrize(
    ("name", "process"),
    [("hoarding_everywhere", "loaded the first samples of"), ("hoarding_when_built", "builds the data set")],
)
def test_a_data_set_that_is_killed_for_memory_before_any_trial_is_told_from_the_counters(
    name: str, process: str, tmp_path: Path
) -> None:
    """Under 900 MiB the kernel ends the process that looks at it or builds it: the error says so, with the limit."""
    words = ("sweep", f"{BROKEN}:{name}", "--batch-size", "8", "--num-workers", "0", "--time-budget", "20s")
    try:
        with nest("memory") as groups:
            set_memory(groups, 900 * MIB)
            command = groups.command(sys.executable, "-m", "loadtune", *words, "--output", str(tmp_path / "run"))
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    except NoGroups as none:
        pytest.skip(str(none))
    assert ended.returncode == 2, ended.stderr
    assert not (tmp_path / "run").exists()
    said = " ".join(ended.stderr.split())
    assert f"the process that {process}" in said
    assert "was killed by SIGKILL" in said
    assert "by the kernel, at 900 MiB of 900 MiB of memory" in said
    assert "a smaller batch" in said


def test_a_data_set_that_opens_its_file_at_the_first_sample_is_sent_to_spawned_workers() -> None:
    """What the first look opens is not open in what is sent; what is open from the beginning is named."""
    seen = []
    for name in ("opens_at_first", "opens_when_built"):
        wanted = msgspec.structs.replace(setup(name), start_methods=("spawn",))
        with Supervisor(wanted, trial_timeout_seconds=20.0) as running:
            seen.append(running.probe.unpicklable)
    lazily, early = seen
    assert lazily is None
    assert (early or "").startswith("dataset.file (BufferedReader): TypeError")


def test_workers_that_hang_in_their_start_are_not_put_down_to_a_sample() -> None:
    """A spawned worker waits while it unpickles the data set: no sample is named, and none is advised to be loaded."""
    wanted = msgspec.structs.replace(setup("stuck_at_start"), start_methods=("spawn",))
    with Supervisor(wanted, trial_timeout_seconds=12.0) as running:
        record = running.run(request(num_workers=1, multiprocessing_context="spawn"))
    assert (record.status, record.failure_kind) == ("hung", "hung")
    assert "no process was loading a sample" in (record.failure_reason or "")
    assert "a worker's start (imports, unpickling, worker_init_fn)" in (record.failure_advice or "")


@pytest.mark.skipif(not can_mount(), reason="this machine lets no test mount a file system of its own")
@pytest.mark.parametrize(("name", "status"), [("stacked", "failed"), ("in_a_list", "hung")])
def test_a_full_shared_memory_is_named_whether_it_raises_or_hangs(name: str, status: str) -> None:
    """48 MiB a batch and two workers under 64 MiB, where the first look saw 4 bytes a sample; other trials run.

    A stacking collate raises in the worker. A list of tensors is lost by its feeder thread, and nobody is told.
    """
    mount = 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"'
    command = [sys.executable, SCRIPT, name, "4", "48x2", "48x0", "4x1"]
    for _ in range(3):  # a worker that raises gives its part back at once, often before anybody looks
        full, *others = json.loads(done(["unshare", "--mount", "sh", "-c", mount, "sh", *command]))
        if full["failure_evidence"]["shm_free_bytes"] < 48 * MIB:
            break
    assert [one["status"] for one in others] == ["ok", "ok"]
    assert (full["status"], full["failure_kind"]) == (status, "shm_full")
    assert "/dev/shm has 64.0 MiB" in full["failure_reason"]
    assert full["failure_evidence"]["shm_total_bytes"] == 64 * MIB
    assert full["failure_evidence"]["shm_free_bytes"] < 48 * MIB
    assert "docker run --shm-size=" in full["failure_advice"]
    if status == "hung":
        assert "a worker lost its batch: RuntimeError: unable to allocate shared memory" in full["failure_reason"]


UNGUARDED = """
import multiprocessing, pathlib, sys, threading
import cloudpickle
from one_by_one import Setup, Supervisor, request
from torch.utils.data import Dataset

class Mine(Dataset):
    def __len__(self):
        return 2000
    def __getitem__(self, index):
        return index

def measure():
    path = pathlib.Path("mine.pickle")
    path.write_bytes(cloudpickle.dumps(Mine()))
    setup = Setup(target="Mine", arguments={}, pickle_path=str(path), device="cpu", seed=0, warm_seconds=0.0)
    with Supervisor(setup, trial_timeout_seconds=60.0) as running:
        record = running.run(request(num_workers=1, multiprocessing_context="spawn"))
    print(record.status, record.failure_reason, flush=True)

def in_a_thread():
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
"""
DAEMON = """
child = multiprocessing.get_context("fork").Process(target=in_a_thread, daemon=True)
child.start()
child.join()
sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("end", ["measure()", DAEMON])
def test_an_unguarded_script_from_stdin_starts_spawned_workers(end: str, tmp_path: Path) -> None:
    """No guard, no file; in the main process, and in a thread of a daemonic process: each starts its workers."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    said = done([sys.executable, "-"], input=UNGUARDED + end, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert said.strip() == "ok None"
