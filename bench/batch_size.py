"""The largest batch under 6 GiB of address space: loadtune beside accelerate, Lightning's two searches and toma.

The same model and the same limit for all, on the CPU, each in a process of its own that begins with nothing imported.
The truth is a bisection to the last sample, each size tried in a fresh process for three optimiser steps and an
evaluation.
Needs ``pip install -e .[bench]`` (accelerate, lightning, toma): ``python bench/batch_size.py``.
"""

# ruff: noqa: PLC0415 - each way imports its own, in a process of its own
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

LIMIT = int(float(os.environ.get("BENCH_LIMIT_GIB", "6")) * 2**30)
"""Of address space; torch alone takes 1 to 4 GiB of it, by its build."""
SAMPLES = 100_000
WIDTH, HIDDEN, LAYERS = 256, 8_192, 24
START, MOST = 16, 8_192
"""Where those that grow begin, and where those that shrink do."""
STEPS = 3


def make_model() -> Any:
    """Return a model whose memory is activations, and whose step is short: 24 activations of 8,192 numbers a sample."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(WIDTH, HIDDEN), *(torch.nn.Tanh() for _ in range(LAYERS)), torch.nn.Linear(HIDDEN, 10)
    )


class Numbers:
    """Samples of 256 numbers and a label."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.zeros(WIDTH), index % 10


def train(batch_size: int, steps: int = STEPS) -> None:
    """Train for some steps and evaluate once, from nothing."""
    import torch

    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs, targets = torch.zeros(batch_size, WIDTH), torch.zeros(batch_size, dtype=torch.long)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    with torch.no_grad():
        torch.nn.functional.cross_entropy(model.eval()(inputs), targets)


def fits(batch_size: int) -> bool:
    """Return whether a batch size runs in a forked process that has done nothing yet."""
    pid = os.fork()
    if pid == 0:
        try:
            train(batch_size)
        except BaseException:  # noqa: BLE001 - whatever it is, it did not fit
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def truth() -> dict[str, Any]:
    import torch  # noqa: F401 - imported before the forks

    low, high, probes = 0, MOST, 0
    while high - low > 1:
        middle = (low + high) // 2
        probes += 1
        low, high = (middle, high) if fits(middle) else (low, middle)
    return {"largest": low, "probes": probes}


def by_loadtune() -> dict[str, Any]:
    import loadtune

    workload = loadtune.Workload(dataset=Numbers(), model=make_model)
    found = loadtune.find_batch_size(None, workload, find_best=False, time_budget="600s", trial_timeout="180s")
    verified = next(probe for probe in found.probes if probe.batch_size == found.largest)
    used, predicted = verified.used_bytes["address_space"], verified.predicted_bytes.get("address_space")
    return {
        "largest": found.largest,
        "probes": len(found.probes),
        "exact": found.exact,
        "prediction_error": predicted / used - 1 if predicted else None,
        "tried": [[probe.batch_size, probe.fit] for probe in found.probes],
    }


def by_accelerate() -> dict[str, Any]:
    from accelerate.utils import find_executable_batch_size

    tried: list[int] = []

    @find_executable_batch_size(starting_batch_size=MOST)
    def run(batch_size: int) -> int:
        tried.append(batch_size)
        train(batch_size)
        return batch_size

    return {"largest": run(), "probes": len(tried)}


def by_toma() -> dict[str, Any]:
    import toma

    tried: list[int] = []

    @toma.batch(initial_batchsize=MOST)
    def run(batchsize: int) -> int:
        tried.append(batchsize)
        train(batchsize)
        return batchsize

    return {"largest": run(), "probes": len(tried)}


def by_lightning(mode: str) -> dict[str, Any]:
    import lightning
    import torch
    from lightning.pytorch.tuner import Tuner

    tried: list[int] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.batch_size = START
            self.model = make_model()

        def training_step(self, batch: Any, _number: int) -> Any:
            inputs, targets = batch
            return torch.nn.functional.cross_entropy(self.model(inputs), targets)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

        def train_dataloader(self) -> Any:
            tried.append(self.batch_size)
            return torch.utils.data.DataLoader(Numbers(), batch_size=self.batch_size)  # type: ignore[arg-type]

    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **silent)
    found = Tuner(trainer).scale_batch_size(Module(), mode=mode, init_val=START, steps_per_trial=STEPS, max_trials=25)
    return {"largest": found, "probes": len(set(tried))}


WAYS = {
    "truth": truth,
    "loadtune": by_loadtune,
    "accelerate": by_accelerate,
    "lightning power": lambda: by_lightning("power"),
    "lightning binsearch": lambda: by_lightning("binsearch"),
    "toma": by_toma,
}


def one(name: str) -> None:
    """Run one way in this process, under the limit."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    warnings.simplefilter("ignore")
    print("RESULT", json.dumps(WAYS[name]()), flush=True)


def main(names: list[str]) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for name in names or list(WAYS):
        began = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
        said = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        failed = {"error": (done.stderr.splitlines() or ["?"])[-1]}
        row = json.loads(said[-1].removeprefix("RESULT ")) if said else failed
        rows[name] = {**row, "seconds": round(time.monotonic() - began, 1)}
        print(name, rows[name], flush=True)
    most = rows.get("truth", {}).get("largest")
    if most:
        for name, row in rows.items():
            if row.get("largest"):
                print(f"{name:20} {row['largest']:6} {row['largest'] / most:7.1%} {row['seconds']:7.1f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        one(sys.argv[2])
    else:
        main(sys.argv[1:])
