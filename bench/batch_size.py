"""The largest batch under 6 GiB of address space: loadtune beside accelerate, Lightning's two searches and toma.

The same model and the same limit for all, on the CPU, each in a process of its own that begins with nothing imported.
The truth is a bisection to the last sample, each size tried in a fresh process for three optimiser steps and an
evaluation. What each way found is tried in the same manner.
Needs ``pip install -e .[bench]`` (accelerate, lightning, toma). Without arguments it keeps a report; with
names of ways it runs these only.
"""

# ruff: noqa: PLC0415 - each way imports its own, in a process of its own
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

GIB, MIB = 2**30, 2**20
LIMIT_GIB = 6
"""Of address space; torch alone takes 1 to 4 GiB of it, by its build."""
SAMPLES = 100_000
WIDTH, HIDDEN, LAYERS = 64, 8_192, 24
START, MOST = 16, 8_192
"""Where those that grow begin, and where those that shrink do."""
STEPS = 3


def make_model() -> Any:
    """Return a model whose memory is activations: 24 times 8,192 numbers a sample, and little arithmetic."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(WIDTH, HIDDEN), *(torch.nn.ReLU() for _ in range(LAYERS)), torch.nn.Linear(HIDDEN, 10)
    )


class Numbers:
    """Samples of 64 numbers and a label."""

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
    """Return whether a batch size runs in a forked process that has done nothing yet but import torch."""
    import torch  # noqa: F401 - before the fork, so that it is the same for all

    pid = os.fork()
    if pid == 0:
        try:
            train(batch_size)
        except BaseException:  # noqa: BLE001 - whatever it is, it did not fit
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def truth() -> dict[str, Any]:
    low, high, probes = 0, MOST, 0
    while high - low > 1:
        middle = (low + high) // 2
        probes += 1
        low, high = (middle, high) if fits(middle) else (low, middle)
    return {"largest": low, "probes": probes}


def by_loadtune() -> dict[str, Any]:
    import loadtune

    workload = loadtune.Workload(dataset=Numbers(), model=make_model)
    found = loadtune.find_batch_size(None, workload, find_best=False, time_budget="900s", trial_timeout="300s")
    return {
        "largest": found.largest,
        "probes": len(found.probes),
        "because": found.because,
        "rows": [
            [probe.batch_size, probe.fit, probe.seconds, probe.predicted_bytes, probe.used_bytes]
            for probe in found.probes
        ],
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
    from toma import toma

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
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **silent
        )
        found = Tuner(trainer).scale_batch_size(
            Module(), mode=mode, init_val=START, steps_per_trial=STEPS, max_trials=25, margin=0.0
        )
    return {"largest": found, "probes": len(set(tried))}


WAYS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "truth": truth,
    "loadtune": by_loadtune,
    "accelerate": by_accelerate,
    "lightning power": lambda: by_lightning("power"),
    "lightning binsearch": lambda: by_lightning("binsearch"),
    "toma": by_toma,
}
ABOUT = f"""A model of {LAYERS} ReLU layers of {HIDDEN:,} numbers, whose memory is activations, trained with Adam on the
CPU under an address space of {LIMIT_GIB} GiB (RLIMIT_AS, `ulimit -v`). The truth is the largest batch with which a
fresh process takes {STEPS} optimiser steps and an evaluation, by bisection to the last sample. Each way runs in a
process of its own under the same limit. Those that shrink begin at {MOST:,}, those that grow at {START}; accelerate
multiplies by 0.9 until it fits and toma by 0.5, so how near they come is a matter of where they begin. Lightning's
margin, by which its binary search takes 5 % off what it found, is 0 here. *Afresh* says whether a fresh process takes
the same steps with what was found. The time is that of the whole process, imports included.
"""


def one(name: str) -> None:
    """Run one way in this process, under the limit; of a number, whether a batch of this size fits."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GIB * GIB, LIMIT_GIB * GIB))
    warnings.simplefilter("ignore")
    answer = {"fits": fits(int(name))} if name.isdigit() else WAYS[name]()
    print("RESULT", json.dumps(answer), flush=True)


def answer(name: str) -> dict[str, Any]:
    """Return what one way says, from a process of its own, and what it took."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    failed = {"error": (done.stderr.splitlines() or ["?"])[-1]}
    found: dict[str, Any] = json.loads(said[-1].removeprefix("RESULT ")) if said else failed
    return {**found, "seconds": time.monotonic() - began}


def rows_of(names: list[str]) -> dict[str, dict[str, Any]]:
    rows = {}
    for name in names:
        rows[name] = answer(name)
        if rows[name].get("largest"):
            rows[name]["afresh"] = answer(str(rows[name]["largest"]))["fits"]
        print(name, rows[name], flush=True)
    return rows


def main() -> None:
    from _report import Report

    began = time.monotonic()
    rows = rows_of(list(WAYS))
    report = Report("batch_size", "The largest batch: loadtune beside what others do")
    report.line(ABOUT)
    most = rows["truth"]["largest"]
    report.table(["way", "largest", "of the truth", "afresh", "probes", "time"])
    for name, row in rows.items():
        if "error" in row:
            report.row(name, row["error"], "", "", "", f"{row['seconds']:.0f} s")
        else:
            afresh = "fits" if row["afresh"] else "does not fit"
            share = f"{row['largest'] / most:.1%}"
            report.row(name, f"{row['largest']:,}", share, afresh, row["probes"], f"{row['seconds']:.0f} s")
    _tell_probes(report, rows["loadtune"])
    _tell_claims(report, rows)
    report.line(f"\nAll of it took {(time.monotonic() - began) / 60:.1f} min.")
    report.keep()


def _tell_probes(report: Any, row: dict[str, Any]) -> None:
    """Show each probe of loadtune with what it was predicted to take; host is resident memory."""
    report.line("\nThe probes of loadtune, memory in MiB as predicted by those before and as measured:\n")
    report.table(["batch", "", "time", "address space", "measured", "error", "resident", "measured", "error"])
    for size, fit, seconds, predicted, used in row["rows"]:
        cells = [cell for of in ("address_space", "host") for cell in _cells(predicted.get(of), used.get(of))]
        report.row(f"{size:,}", fit.replace("_", " "), f"{seconds:.1f} s", *cells)
    report.line(f"\nWhere it ended: {row['because']}.")


def _cells(predicted: int | None, used: int | None) -> list[str]:
    first = f"{predicted / MIB:,.0f}" if predicted else ""
    if not used:
        return [first, "", ""]
    return [first, f"{used / MIB:,.0f}", f"{predicted / used - 1:+.1%}" if predicted else ""]


def _tell_claims(report: Any, rows: dict[str, dict[str, Any]]) -> None:
    mine, other, most = rows["loadtune"], rows["lightning binsearch"], rows["truth"]["largest"]
    share = mine["largest"] / most
    verified = next(row for row in mine["rows"] if row[0] == mine["largest"])
    errors = {of: abs(verified[3][of] / used - 1) for of, used in verified[4].items()}
    report.line("\nThe claims:\n")
    report.table(["claim", "seen", ""])
    claims = [
        ("at least 98 % of the truth, never over it", f"{share:.1%}", 0.98 <= share <= 1),
        ("fits in a fresh process", "fits" if mine["afresh"] else "does not fit", mine["afresh"]),
        (
            "less time than Lightning's binary search",
            f"{mine['seconds']:.0f} s, {other['seconds']:.0f} s",
            mine["seconds"] < other["seconds"],
        ),
        ("six probes at most", mine["probes"], mine["probes"] <= 6),
        (
            "memory of the batch it reports predicted within 3 %",
            ", ".join(f"{of.replace('_', ' ')} {error:.1%}" for of, error in errors.items()),
            max(errors.values()) <= 0.03,
        ),
    ]
    for claim, seen, holds in claims:
        report.row(claim, seen, "holds" if holds else "**fails**")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        one(sys.argv[2])
    elif sys.argv[1:]:
        rows_of(sys.argv[1:])
    else:
        main()
