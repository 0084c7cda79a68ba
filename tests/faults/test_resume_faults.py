"""A sweep that is ended from outside in mid-trial: what is left, and that it is gone on with."""

from __future__ import annotations

import json
import os
import shlex
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from faults import SHORT, in_mid_trial, lines, loadtune, started


@pytest.fixture
def temporary() -> Iterator[Path]:
    """An empty folder for what is temporary, with a name that leaves room for sockets in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_sweep_that_is_killed_loses_its_trial_and_nothing_else(tmp_path: Path, temporary: Path) -> None:
    """SIGKILL in mid-trial leaves no process and no torn run; it can be shown, and is gone on with."""
    run = tmp_path / "run"
    with started(*SHORT, "--output", "run", cwd=tmp_path, TMPDIR=str(temporary)) as sweep:
        below = in_mid_trial(sweep, run, 2)
        kept = lines(run)
        sweep.kill()
    assert len(below) >= 2, "trial host and trial were there"
    _, alive = psutil.wait_procs(below, timeout=3)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert (run / "trials.jsonl").read_bytes() == b"".join(kept)
    assert len(os.listdir(temporary)) == 1, "nobody was left who could have removed the scratch folder"

    shown = loadtune("show", "run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"ended after {len(kept)} trials" in " ".join(shown.stdout.split())
    assert shown.stderr == "loadtune: this run was not finished; go on with: loadtune sweep --resume run\n"

    resumed = loadtune("sweep", "--resume", "run", cwd=tmp_path, TMPDIR=str(temporary))
    assert resumed.returncode == 0, resumed.stderr
    assert lines(run)[: len(kept)] == kept
    result = json.loads((run / "run.json").read_text())
    assert result["finished"] is True
    assert [resume["order"] for resume in result["resumes"]] == [len(kept)]
    assert result["cost"]["trials"] == len(lines(run)) > len(kept)
    screened = [json.loads(line)["config"] for line in lines(run) if json.loads(line)["phase"] == "screen"]
    assert len(screened) == len({json.dumps(config) for config in screened}), "no configuration was screened twice"
    assert os.listdir(temporary) == [], "the next start has removed the scratch folder of the killed one"


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupted_sweep_prints_the_command_that_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM exit with 130, keep every whole trial, and the command on stderr finishes the run."""
    run = tmp_path / "my run"
    with started(*SHORT, "--output", "my run", cwd=tmp_path) as sweep:
        below = in_mid_trial(sweep, run, 2)
        kept = lines(run)
        sweep.send_signal(number)
        _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert [one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert lines(run) == kept
    assert json.loads((run / "run.json").read_text())["cost"]["trials"] == len(kept)
    sentence, command = said.splitlines()[-2:]
    assert sentence == f"loadtune: interrupted; {len(kept)} trials are kept: loadtune show 'my run' prints them"
    assert command == "  go on with: loadtune sweep --resume 'my run'"
    resumed = loadtune(*shlex.split(command.partition(": ")[2])[1:], cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert lines(run)[: len(kept)] == kept
    assert json.loads((run / "run.json").read_text())["finished"] is True
