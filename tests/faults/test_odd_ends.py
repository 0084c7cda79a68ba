"""Processes that stop, fall silent or end without a word, and data sets that cannot be built: the words are true."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from single_trials import asked, host_of, setup_of

import loadtune
from faults import COMMAND, SHORT, in_mid_trial, lines, started, until
from loadtune.errors import TargetError
from loadtune.run.host import TrialHost

ODD = Path(__file__).with_name("odd_targets.py")
ONE_TRIAL = (
    "--batch-size", "8", "--num-workers", "2", "--drop-last", "off", "--time-budget", "3s", "--trial-timeout", "6s",
)  # fmt: skip
"""Of one configuration; after 2 s without a batch it hangs."""
CLINGING = Path(__file__).with_name("clinging_targets.py")


def test_what_stops_or_ends_a_worker_without_a_word_is_told_as_it_is() -> None:
    """SIGSTOP, KeyboardInterrupt, a blocked signal, StopIteration in workers: each row says so; the next is sound."""
    with host_of(f"{ODD}:odd", timeout=6.0) as running:
        stopped, interrupted, ended, deaf = (
            running.run(asked(batch_size=size, num_workers=2)) for size in (2, 3, 4, 5)
        )
        alone = running.run(asked(batch_size=4, num_workers=0))
        sound = running.run(asked(batch_size=8, num_workers=2))
    assert (stopped.status, deaf.status, sound.status) == ("hung", "hung", "ok")
    assert re.search(r": worker [01] \(process \d+\) is stopped \(SIGSTOP", stopped.failure_reason or "")
    # torch sees after 5 s that it has ended, unless the watch from outside was first.
    assert interrupted.status in ("hung", "failed")
    assert "KeyboardInterrupt" in (interrupted.failure_reason or "")
    assert re.search(r"a?worker( \d)? stood .*in odd_targets\.py:\d+ \(_deaf\)", deaf.failure_reason or "")
    assert (ended.status, ended.failure_kind) == ("failed", "worker_error")
    assert (alone.status, alone.failure_kind) == ("failed", "user_error")
    assert "StopIteration" in (ended.failure_reason or "")
    assert "StopIteration" in (alone.failure_reason or "")
    assert stopped.failure_evidence is not None
    assert stopped.failure_evidence.open_files_first is not None


def test_a_temporary_folder_that_the_data_set_clears_costs_the_next_trials_nothing() -> None:
    """Samples that remove what lies in the temporary folder take loadtune's own along: it is made anew."""
    with host_of(f"{ODD}:odd") as running:
        cleared, *after = (running.run(asked(batch_size=size, num_workers=2)) for size in (10, 8, 8))
    assert cleared.status in ("ok", "failed")
    assert [record.status for record in after] == ["ok", "ok"], after[0].failure_reason


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sample_that_comes_back_twice_is_measured_once(num_workers: int) -> None:
    """A sample that forks, and returns in both processes, costs the trial no time and leaves nothing."""
    with host_of(f"{ODD}:odd") as running:
        doubled = running.run(asked(batch_size=9, num_workers=num_workers))
        sound = running.run(asked(batch_size=8, num_workers=2))
        below = psutil.Process(running._host.pid).children(recursive=True)
    assert (doubled.status, sound.status) == ("ok", "ok")
    assert doubled.seconds < 6.0, "it was measured for 1 s"
    assert doubled.left_behind is None
    assert len(below) <= 1, "nothing but the process of the next trial"


def test_a_data_set_that_can_be_gone_through_once_is_told_so() -> None:
    """With 0 workers and with 2 the reason is the same: no word of shards, nor of workers that ended as they should."""
    with host_of(f"{ODD}:once", timeout=20.0) as running:
        alone, workers = (running.run(asked(batch_size=8, num_workers=count)) for count in (0, 2))
    for record in (alone, workers):
        assert (record.status, record.failure_kind) == ("failed", "user_error")
        assert record.failure_reason == "the data set gives its samples only once: its __iter__ must start anew"


def test_a_measuring_process_that_ends_is_told_what_to_do_about_that_end() -> None:
    """SIGTERM and exit code 7 are no kill for want of memory: the step asks who sends the one and calls the other."""
    with host_of(f"{ODD}:odd", timeout=20.0) as running:
        terminated, exited = (running.run(asked(batch_size=size, num_workers=0)) for size in (6, 7))
    assert (terminated.failure_kind, exited.failure_kind) == ("trial_killed", "trial_killed")
    assert "find out who sends SIGTERM" in (terminated.failure_advice or "")
    assert "find what ends the measuring process with exit code 7" in (exited.failure_advice or "")


def test_a_factory_that_hangs_is_ended_and_says_where_it_stood() -> None:
    """One that waits for an hour is given its second, and the error has file, line and function, and the stack."""
    setup = msgspec.structs.replace(
        setup_of(f"{CLINGING}:hanging", seconds="3600"), probe=False, build_timeout_seconds=1.0
    )
    with TrialHost(setup) as host, pytest.raises(TargetError, match=r"not over after 1\.00 s") as raised:
        host.ready()
    assert re.search(r"it stood in clinging_targets\.py:\d+ \(hanging\)", str(raised.value))
    assert "most recent call first" in (raised.value.hint or "")


@pytest.mark.parametrize(("name", "probe"), [("closing", False), ("closing_at_samples", True)])
def test_a_target_that_closes_the_line_is_told_so(name: str, *, probe: bool) -> None:
    """os.closerange while the target is built or loaded from: the error says what was closed, and no exit code."""
    setup = msgspec.structs.replace(setup_of(f"{CLINGING}:{name}"), probe=probe)
    with TrialHost(setup) as host, pytest.raises(TargetError, match="closes descriptors that are not its own"):
        host.ready()


def test_a_run_directory_removed_in_mid_sweep_ends_it_at_the_next_trial(tmp_path: Path) -> None:
    """Its removal is one sentence and exit 2 at the next trial, and nothing promises a resume."""
    run = tmp_path / "run"
    with started(*SHORT, "--output", "run", cwd=tmp_path) as sweep:
        until(lambda: len(lines(run)) >= 1)
        shutil.rmtree(run)
        _, said = sweep.communicate(timeout=20)
    assert sweep.returncode == 2
    assert len(said.splitlines()) == 1, said
    assert said.startswith("loadtune: 'run' was removed, moved or replaced while the sweep wrote to it")


@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_sweep_that_was_stopped_finds_no_trial_hung(*, all_of_it: bool, tmp_path: Path) -> None:
    """SIGSTOP of all its processes, or of the sweep alone, for twice as long as is a stall: no trial is hung or failed.

    On a busy machine the time budget may cut the last one short.
    """
    run = tmp_path / "run"
    with started(*SHORT[:2], *ONE_TRIAL, "--output", "run", cwd=tmp_path) as sweep:
        below = in_mid_trial(sweep, run, 0)
        stopped = [psutil.Process(sweep.pid), *(below if all_of_it else ())]
        for one in stopped:
            one.suspend()
        time.sleep(4.0)
        for one in reversed(stopped):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()
        _, said = sweep.communicate(timeout=30)
    assert sweep.returncode == 0, said
    assert {json.loads(line)["status"] for line in lines(run)} in ({"ok"}, {"ok", "interrupted"})


def test_without_a_place_for_temporary_files_there_is_one_sentence(tmp_path: Path) -> None:
    """Where no file may grow no temporary directory can be used: exit 2, with what to set, and no traceback."""
    command = " ".join([*COMMAND, *SHORT, "--output", "run"])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; {command}"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stderr
    sentence, hint = done.stderr.splitlines()
    assert sentence.startswith("loadtune: no temporary file can be made: ")
    assert "TMPDIR" in hint


@pytest.mark.parametrize(("name", "kind"), [("unsendable", "pickle"), ("waiting_at_start", "hung")])
def test_a_hang_before_the_first_batch_leaves_the_others_their_time(name: str, kind: str, tmp_path: Path) -> None:
    """With the timeout as long as the time budget, as by default, two workers hang, and what has none is measured."""
    run = loadtune.sweep(
        f"{ODD}:{name}", batch_size=16, num_workers=[0, 2], drop_last=False, time_budget="15s", precision=0.5,
        output=tmp_path / "run",
    )  # fmt: skip
    rows = {row.num_workers: row for row in run.trials}
    assert (rows[2].status, rows[2].failure_kind) == ("hung", kind), rows[2].failure_reason
    assert rows[0].status == "ok"
    assert run.best.config.num_workers == 0
