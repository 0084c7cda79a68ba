"""The gradient noise scale with real processes: measured beside a search, given, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loadtune.cli import app
from loadtune.record.batch_store import read_result

TARGETS = Path(__file__).with_name("noise_targets.py")
POINTS = f"{TARGETS}:points"


def test_it_is_measured_beside_the_largest(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """|G|² = 4 and S = 48 by the data: B_n = 12 is in the interval, in the result and in the terminal, goodput too."""
    arguments = ["batch-size", POINTS, "--noise-scale", "measure", "--max-batch-size", "64", "--largest-only"]
    assert app.main([*arguments, "--output", "run"]) == 0
    result = read_result(empty_folder / "run")
    assert result is not None
    found = result.noise_scale
    assert found is not None
    assert found.low_samples is not None
    assert found.high_samples is not None
    assert found.low_samples < 12 < found.high_samples < 3 * found.low_samples
    assert (found.small_batch_size, found.large_batch_size, found.pairs) == (4, 32, 32)
    fits = sorted({one.batch_size for one in result.probes if one.fit == "fits"})
    assert [one.batch_size for one in result.goodputs] == fits
    assert result.best_goodput in fits
    assert (result.largest, result.baseline_batch_size) == (64, 64)
    shown = capsys.readouterr().out
    assert re.search(r"Noise scale: .* samples, by 32 pairs of batches of 4 and 32, for the model as it is now", shown)
    assert f"Best goodput: batch {result.best_goodput}" in shown
    assert app.main(["show", "run", "-q"]) == 0
    assert "Best goodput: batch " in capsys.readouterr().out


def test_a_step_that_takes_no_optimiser_step_is_refused_before_any_probe(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function that learns nothing: exit code 2 with the bare sentence, and no probe was kept."""
    step = f"{TARGETS}:nothing"
    assert app.main(["batch-size", POINTS, "--step", step, "--noise-scale", "measure", "--output", "run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the step took no step of an optimiser of torch's, by which gradients are read, on a batch" in said
    assert "TargetError" not in said
    assert not (empty_folder / "run").exists()


def test_a_number_needs_no_optimiser(empty_folder: Path) -> None:
    """With a number such a function has its goodput, by that number; the JSON has all of it, and the global batch."""
    arguments = ["batch-size", POINTS, "--step", f"{TARGETS}:nothing", "--noise-scale", "192", "--largest-only"]
    arguments += ["--max-batch-size", "64", "--global-batch", "256"]
    assert app.main([*arguments, "--output", "run", "--export-json", "out.json"]) == 0
    kept = json.loads((empty_folder / "out.json").read_text())
    assert (kept["schema"], kept["plan"]["noise_scale"]) == ("loadtune.batch-size/1", 192.0)
    assert (kept["noise_scale"]["source"], kept["noise_scale"]["samples"]) == ("given", 192.0)
    worth = {one["batch_size"]: one["efficiency"] for one in kept["goodputs"]}
    assert worth == pytest.approx({16: 256 / 208, 64: 1.0})
    assert kept["plan"]["global_batch"] == 256
    assert any(note.startswith("a global batch of 256 is 4 micro-batches of 64") for note in kept["notes"])
