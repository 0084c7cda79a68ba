"""The gradient noise scale with real processes: measured beside a search, given, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import loadtune
from loadtune.cli import app
from loadtune.record.batch_store import read_result

TARGETS = Path(__file__).with_name("noise_targets.py")
POINTS = f"{TARGETS}:points"


class Training:
    """A training whose gradient on a batch is the batch's mean point, and whose optimiser has learned already."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(4, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def step(self, batch: Any) -> None:
        self.optimizer.zero_grad()
        self.model(batch).mean().backward()
        self.optimizer.step()


def test_it_is_measured_beside_largest_and_best(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """|G|² = 4 and S = 48 by the data: B_n = 12 is in the interval, in the result and in the terminal, goodput too."""
    arguments = ["batch-size", POINTS, "--noise-scale", "measure", "--max-batch-size", "256", "--output", "run"]
    assert app.main(arguments) == 0
    result = read_result(empty_folder / "run")
    assert result is not None
    found = result.noise_scale
    assert found is not None
    assert found.low_samples is not None
    assert found.high_samples is not None
    assert found.low_samples < 12 < found.high_samples
    assert (found.small_batch_size, found.large_batch_size) == (16, 128)
    fits = sorted(one.batch_size for one in result.probes if one.fit == "fits")
    assert [one.batch_size for one in result.goodputs] == fits
    best = max(result.goodputs, key=lambda one: one.goodput_samples_per_second)
    assert (result.best_goodput, result.baseline_batch_size) == (best.batch_size, 64)
    assert result.largest == 256
    shown = capsys.readouterr().out
    assert re.search(r"Noise scale: .* samples, by 32 pairs of batches of 16 and 128, for the model as it is", shown)
    assert f"Best goodput: {best.batch_size}, " in shown
    assert app.main(["show", "run", "-q"]) == 0
    assert "Best goodput: " in capsys.readouterr().out


def test_a_script_has_it_of_its_own_training_which_stays_as_it_is() -> None:
    """Of a bound method its object's model is measured; parameters, momentum and random stream are as before."""
    torch.manual_seed(0)
    training = Training()
    training.step(torch.ones(3, 4))
    before = [training.model.weight.clone(), training.optimizer.state[training.model.weight]["momentum_buffer"].clone()]
    stream = torch.get_rng_state()

    def make_batch(size: int) -> Any:
        return 1 + 4 * torch.randn(size, 4)

    result = loadtune.find_batch_size(
        training.step, make_batch, max_batch_size=128, find_best=False, noise_scale="measure"
    )
    found = result.noise_scale
    assert found is not None
    assert found.low_samples is not None
    assert found.high_samples is not None
    assert found.low_samples < 16 < found.high_samples  # a mean of 1 and a variance of 16 in each direction
    after = [training.model.weight, training.optimizer.state[training.model.weight]["momentum_buffer"]]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert torch.equal(stream, torch.get_rng_state())


def test_the_same_batch_each_time_gives_no_scale() -> None:
    """A function that makes the same batch of a size each time has no noise to be seen, and that is said."""
    result = loadtune.find_batch_size(
        Training().step, lambda size: torch.ones(size, 4), max_batch_size=64, find_best=False, noise_scale="measure"
    )
    assert result.noise_scale is not None
    assert result.noise_scale.samples is None
    assert "they have to be of different samples" in result.noise_scale.because
    assert (result.goodputs, result.best_goodput) == ((), None)


def test_a_step_without_parameters_is_refused_before_any_probe(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain function: exit code 2 with a sentence, and no probe was kept."""
    step = f"{TARGETS}:nothing"
    assert app.main(["batch-size", POINTS, "--step", step, "--noise-scale", "measure", "--output", "run"]) == 2
    assert "this function offers none: give it a 'model' or a method 'parameters()'" in capsys.readouterr().err
    assert not (empty_folder / "run").exists()


def test_a_number_needs_no_parameters(empty_folder: Path) -> None:
    """With a number a plain function has its goodput, by that number; the JSON has all of it."""
    arguments = ["batch-size", POINTS, "--step", f"{TARGETS}:nothing", "--noise-scale", "192", "--largest-only"]
    assert app.main([*arguments, "--max-batch-size", "128", "--output", "run", "--export-json", "out.json"]) == 0
    kept = json.loads((empty_folder / "out.json").read_text())
    assert (kept["schema"], kept["plan"]["noise_scale"]) == ("loadtune.batch-size/1", 192.0)
    assert (kept["noise_scale"]["source"], kept["noise_scale"]["samples"]) == ("given", 192.0)
    worth = {one["batch_size"]: one["efficiency"] for one in kept["goodputs"]}
    assert worth == pytest.approx({16: 256 / 208, 128: 0.8})


def test_memory_that_the_gradients_lack_is_said() -> None:
    """A step that is out of memory on samples that differ, and not on those of the probes, leaves it unknown."""
    result = loadtune.find_batch_size(
        f"{TARGETS}:Choosy", POINTS, max_batch_size=64, find_best=False, noise_scale="measure"
    )
    assert result.largest == 64
    assert result.noise_scale is not None
    assert result.noise_scale.samples is None
    assert "gradients with batches of 32: " in result.noise_scale.because
    assert "memory" in result.noise_scale.because


def test_no_gradient_is_begun_when_the_time_is_over() -> None:
    """With the budget used up by the first probe, the scale is not known for want of time; the batch is found."""
    result = loadtune.find_batch_size(
        None, POINTS, max_batch_size=16, find_best=False, noise_scale="measure", time_budget=0.001
    )
    assert result.largest == 16
    assert result.noise_scale is not None
    assert "(--time-budget) was over" in result.noise_scale.because
