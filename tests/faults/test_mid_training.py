"""A sweep in the middle of a training, and from an interactive session: what it leaves of the process that called."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hard_targets import Timed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import loadtune

STEPS = 6


def flags() -> dict[str, Any]:
    """Return what a training sets for its process and no other."""
    cudnn = torch.backends.cudnn
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "dtype": torch.get_default_dtype(),
        "precision": torch.get_float32_matmul_precision(),
        "anomaly": torch.is_anomaly_enabled(),
        "cuda": torch.cuda.is_initialized(),
        "path": list(sys.path),
        "threads alive": {thread.name for thread in threading.enumerate()},
    }


def trained(*, sweep_after: int | None) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Train a few steps, all of whose randomness is global; return the weights, and all that else is there to compare.

    The loader is in the middle of an epoch, a gradient has been accumulated, one layer is in eval mode and one frozen.
    """
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002 - the global stream is what must not move
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    model[1].eval()
    model[0].bias.requires_grad_(requires_grad=False)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=8, shuffle=True)
    batches = iter(loader)
    for step in range(STEPS):
        loss = (model(next(batches)[0]) * random.random() + float(np.random.rand())).square().mean()  # noqa: NPY002, S311
        loss.backward()
        if step == sweep_after:
            before = flags(), [module.training for module in model.modules()]
            loadtune.sweep(loader, batch_size=8, num_workers=[0, 1], drop_last=False, time_budget="4s")
            assert (flags(), [module.training for module in model.modules()]) == before
        if step % 2:
            optimiser.step()
            optimiser.zero_grad()
    rest = {"random": random.getstate(), "numpy": np.random.get_state()[1].tobytes(), "torch": torch.get_rng_state()}  # type: ignore[index, union-attr] # noqa: NPY002
    return [parameter.detach().clone() for parameter in model.parameters()], rest


def test_a_training_goes_on_bit_for_bit_as_if_there_had_been_no_sweep() -> None:
    """Weights after 6 steps, with a sweep in the midst of accumulated gradients and an epoch, are those without one."""
    alone, streams = trained(sweep_after=None)
    beside, streams_beside = trained(sweep_after=2)
    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))
    assert torch.equal(streams.pop("torch"), streams_beside.pop("torch"))
    assert streams == streams_beside


def test_unusual_flags_are_left_as_they_are() -> None:
    """A process without gradients, deterministic, with another precision and one thread, is that afterwards."""
    torch.use_deterministic_algorithms(mode=True)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            before = flags()
            loadtune.sweep(Timed(400, 0.001), batch_size=8, num_workers=[0, 1], drop_last=False, time_budget="4s")
            assert flags() == before
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.benchmark = False
        torch.set_num_threads(threads)


SESSION = """
import time, loadtune
from torch.utils.data import Dataset

class Mine(Dataset):
    def __len__(self): return 4000
    def __getitem__(self, index): time.sleep(0.004); return index

run = loadtune.sweep(Mine(), batch_size=8, num_workers=[0, 2], drop_last=False, time_budget="10s")
kinds = {row.failure_kind for row in run.trials}
print("file:", globals().get("__file__"), "pick:", run.best.config.num_workers, kinds)
"""


def test_an_interactive_session_is_tuned_like_a_script(tmp_path: Path) -> None:
    """In a session whose __main__ has no file, a class typed in a moment ago is measured, with workers too."""
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=SESSION,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONSTARTUP": ""},
        check=False,
        timeout=100,
    )
    assert "file: None pick: 2 {None}" in done.stdout, done.stdout + done.stderr
    assert os.listdir(tmp_path) == [], "nothing was kept that nobody asked for"
