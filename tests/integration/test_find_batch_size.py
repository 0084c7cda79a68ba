"""``loadtune.find_batch_size`` as a training script calls it."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch

import loadtune


class Training:
    """A model in the middle of its training, with everything that a call could disturb."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)

    def step(self, batch: Any) -> Any:
        inputs, targets = batch
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return loss

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "gradients": [parameter.grad for parameter in self.model.parameters()],
                "modes": [module.training for module in self.model.modules()],
                "torch": torch.get_rng_state(),
                "python": random.getstate(),
                "numpy": np.random.get_state(),  # noqa: NPY002 - the stream that a user's code may draw from
                "threads": torch.get_num_threads(),
                "grad": torch.is_grad_enabled(),
                "benchmark": torch.backends.cudnn.benchmark,
            }
        )


def make_batch(size: int) -> Any:
    return torch.randn(size, 4), torch.randint(0, 2, (size,))


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("noise_scale", [None, "measure"])
def test_everything_of_the_caller_is_as_before_to_the_bit(noise_scale: Any) -> None:
    """Model, optimiser, gradients, modes and random streams are the same after the call, in the middle of training."""
    training = Training()
    for _ in range(3):
        training.step(make_batch(16))
    training.model[2].eval()
    before = training.state()
    result = loadtune.find_batch_size(
        training.step, make_batch, max_batch_size=64, multiple_of=16, noise_scale=noise_scale
    )
    assert is_same(before, training.state())
    assert result.largest == 64
    assert noise_scale is None or (result.noise_scale is not None and result.noise_scale.pairs > 0)
    assert result.exact
    assert result.best is not None
    assert result.best % 16 == 0


def test_the_comparison_sees_a_difference() -> None:
    """One more step changes what the test above compares."""
    training = Training()
    training.step(make_batch(16))
    before = training.state()
    training.step(make_batch(16))
    assert not is_same(before, training.state())


def test_a_step_that_holds_memory_of_its_model() -> None:
    """A limit that is below what the process takes anyway is an error that says that nothing fits."""
    training = Training()
    with pytest.raises(loadtune.NothingFitsError, match="does not"):
        loadtune.find_batch_size(training.step, make_batch, limits={"host_memory": "20MiB"}, find_best=False)
