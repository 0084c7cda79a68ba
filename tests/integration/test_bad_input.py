"""Targets that cannot be used: found out in the trial host, said in one sentence, and nothing written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtune.cli.app import main

TARGETS = """
import time
from torch.utils.data import Dataset, IterableDataset

class Numbers(Dataset):
    def __init__(self, length=8): self.length = length
    def __len__(self): return self.length
    def __getitem__(self, index): return index

class Slow(Numbers):
    def __getitem__(self, index):
        time.sleep(0.002)
        return index

class Nothing(IterableDataset):
    def __iter__(self): return iter(())

def empty(): return Numbers(0)
def nothing(): return Nothing()
def slow(): return Slow(4096)
def raises(): raise FileNotFoundError("there is no /data/train")
def text(): return "a string"
def needs(root, split): return Numbers()
def numbers(length="8"): return Numbers(int(length))
number = 7
def learn(batch): pass
def made(): raise FileNotFoundError("there are no weights")
"""

CASES = [
    ("nowhere", (), "'nowhere'"),
    ("cifar", (), "did you mean 'cifar10'?"),
    ("nowhere.module:thing", (), "nowhere"),
    ("missing.py:thing", (), "'missing.py'"),
    ("targets.py:number_of", (), "'number_of'; did you mean"),
    ("targets.py:number", (), "'targets.py:number' is of type int"),
    ("targets.py:text", (), "'targets.py:text'"),
    ("targets.py:needs", (), "root, split"),
    ("targets.py:numbers", ("--arg", "lenght=8"), "'lenght'; did you mean 'length'?"),
    ("targets.py:raises", (), "there is no /data/train"),
    ("targets.py:empty", (), "targets.py:empty"),
    ("targets.py:nothing", (), "targets.py:nothing"),
    ("targets.py:", (), "'targets.py"),
    ("targets.py:numbers", ("--step", "targets.py:lern"), "'lern'; did you mean 'learn'?"),
    ("targets.py:numbers", ("--step", "targets.py:made"), "there are no weights"),
    ("targets.py:numbers", ("--step", "model"), "the target has no model"),
]


@pytest.fixture
def folder(empty_folder: Path) -> Path:
    (empty_folder / "targets.py").write_text(TARGETS, encoding="utf-8")
    return empty_folder


@pytest.mark.parametrize(("target", "options", "says"), CASES, ids=[" ".join((case[0], *case[1])) for case in CASES])
def test_a_bad_target_is_said(
    target: str, options: tuple[str, ...], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each target that gives no data set exits with 2, names the value, and writes nothing."""
    assert main(["sweep", target, *options]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.startswith("loadtune: ")
    assert "a fault of loadtune" not in printed.err
    assert {entry.name for entry in folder.iterdir()} <= {"targets.py", "__pycache__"}


def test_a_factory_that_raises_shows_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The factory's own traceback is shown, short: the user's line, none of loadtune's."""
    assert main(["sweep", "targets.py:raises"]) == 2
    said = capsys.readouterr().err
    assert "in raises" in said
    assert "FileNotFoundError: there is no /data/train" in said
    assert "loadtune/run" not in said
    assert len(said.splitlines()) <= 12
    assert not (folder / "reports").exists()


def test_a_device_that_is_not_there_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A named accelerator that this machine lacks exits with 2 and names it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["sweep", "targets.py:numbers", "--device", "cuda:0"]) == 2
    assert "--device 'cuda:0'" in capsys.readouterr().err
    assert not (folder / "reports").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_sweep_keeps_its_trials(number: int, folder: Path) -> None:
    """Interrupted after its first trial, a sweep exits with 130, leaves no process, and its run can be shown."""
    command = [sys.executable, "-m", "loadtune.cli.app", "sweep", "targets.py:slow", "--output", "run", "--color=never"]
    with subprocess.Popen(
        [*command, "--batch-size", "16", "--num-workers", "0..2"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        wait_for_a_trial(folder / "run" / "trials.jsonl", process)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "kept: loadtune show run prints" in said
    assert "Traceback" not in said
    files = {path.name for path in (folder / "run").iterdir()}
    assert files == {"run.json", "trials.jsonl", "trials.csv", "report.html"}
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    shown = subprocess.run([*command[:3], "show", "run"], cwd=folder, capture_output=True, text=True, check=False)
    assert "batch" in shown.stdout, shown.stderr


def wait_for_a_trial(journal: Path, process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not (journal.is_file() and journal.read_bytes().endswith(b"\n")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no trial ended"
        time.sleep(0.05)
