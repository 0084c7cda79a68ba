"""The Python API in a process that trains: what it finds, and that it leaves that process as it was."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from targets import Sleeping
from torch.utils.data import DataLoader, Dataset

import loadtune
from loadtune import LoaderConfig
from loadtune.record.results import CSV_COLUMNS


@pytest.mark.sleeps
# torch warns of more workers than cores; that more are faster here was measured.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_data_set_defined_in_the_script_is_tuned_and_the_run_comes_back(tmp_path: Path) -> None:
    """A class that exists in no module travels by value; 3 workers on a sleeping data set beat 0 by 2 to 3.2 times."""

    class Local(Dataset[Any]):
        def __len__(self) -> int:
            return 3000

        def __getitem__(self, index: int) -> torch.Tensor:
            time.sleep(0.004)
            return torch.tensor(float(index))

    run = loadtune.sweep(
        Local(),
        batch_size=16,
        num_workers=[0, 3],
        time_budget="10s",
        precision=0.2,
        output=tmp_path / "run",
        arguments=None,
    )
    assert run.best.config.num_workers == 3
    assert run.baseline is not None
    assert run.baseline.config == LoaderConfig(batch_size=64)
    assert run.gain is not None
    assert 2.0 < run.gain.estimate < 3.2
    assert loadtune.load(tmp_path / "run").result == run.result
    assert {entry.name for entry in (tmp_path / "run").iterdir()} == {
        "run.json",
        "trials.jsonl",
        "trials.csv",
        "report.html",
    }
    frame = run.to_frame()
    assert tuple(frame.columns) == CSV_COLUMNS
    assert frame["chosen"].sum() == 1
    batch = next(iter(run.best.loader(Sleeping(samples=64, seconds=0.0), shuffle=True)))
    assert len(batch[0]) == 16


@pytest.mark.sleeps
def test_a_given_loader_is_the_baseline() -> None:
    """The settings of the loader in the script are measured beside the grid, and the gain is over them."""
    given = DataLoader(Sleeping(seconds=0.004), batch_size=8, num_workers=1, shuffle=True)
    run = loadtune.sweep(given, batch_size=[16], num_workers=[0, 2], time_budget="10s", precision=0.2)
    assert run.baseline is not None
    assert run.baseline.config == LoaderConfig(batch_size=8, num_workers=1)
    assert run.best.config.num_workers == 2
    assert run.gain is not None
    assert run.gain.estimate == pytest.approx(2.0, rel=0.15)


def test_a_script_is_tuned_with_workers_that_are_not_forked(tmp_path: Path) -> None:
    """A data set of the running script reaches workers of a forkserver too, as it would in the script itself."""
    script = tmp_path / "train.py"
    script.write_text(
        "import time, loadtune\n"
        "from torch.utils.data import Dataset\n"
        "class Mine(Dataset):\n"
        "    def __len__(self): return 20000\n"
        "    def __getitem__(self, index): time.sleep(0.004); return index\n"
        "if __name__ == '__main__':\n"
        "    run = loadtune.sweep(Mine(), batch_size=16, num_workers=[0, 2], time_budget='28s',\n"
        "                         multiprocessing_context='forkserver', precision=0.5)\n"
        "    print(run.best.config.num_workers, {trial.status for trial in run.trials})\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout.split() == ["2", "{'ok'}"], done.stdout + done.stderr


def test_the_calling_process_is_as_it_was() -> None:
    """Random streams of Python, numpy and torch go on where they were, bit for bit; environment, start method, too."""
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002 - the global stream is what must not move
    torch.manual_seed(3)
    before = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())  # type: ignore[index, union-attr] # noqa: NPY002
    surroundings = (dict(os.environ), Path.cwd(), multiprocessing.get_start_method(allow_none=True))
    flags = (torch.is_grad_enabled(), torch.backends.cudnn.benchmark, torch.get_num_threads())
    loadtune.sweep(Sleeping(seconds=0.001), batch_size=16, num_workers=[0, 1], time_budget="5s")
    after = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())  # type: ignore[index, union-attr] # noqa: NPY002
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert torch.equal(after[2], before[2])
    assert (dict(os.environ), Path.cwd(), multiprocessing.get_start_method(allow_none=True)) == surroundings
    assert (torch.is_grad_enabled(), torch.backends.cudnn.benchmark, torch.get_num_threads()) == flags


def test_settings_of_every_kind_are_accepted_by_torch() -> None:
    """loader_kwargs is what DataLoader takes, without workers and with all options on."""
    for config in (
        LoaderConfig(batch_size=4),
        LoaderConfig(batch_size=4, num_workers=1, prefetch_factor=3, persistent_workers=True, in_order=False),
        LoaderConfig(batch_size=None, num_workers=1, multiprocessing_context="spawn"),
    ):
        DataLoader(Sleeping(), **config.loader_kwargs())
