"""Squared gradients of steps whose gradients are known, at parameters that stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer
from loadtune.describe.workload import Workload
from loadtune.errors import TargetError
from loadtune.judge.noise_scale import noise_scale
from loadtune.measure import gradients
from loadtune.measure.fresh_batches import fresh_batches
from loadtune.measure.step import ModelStep
from loadtune.record.batch_size import StepRequest
from loadtune.record.noise_scale import GradientRequest, Gradients
from loadtune.workloads.resolve import resolve_object
from loadtune.workloads.source import Source

COUNT, DIMENSIONS = 6_000, 16


class Points(Dataset[Any]):
    """Normal points about (1, …, 1)·0.5 with a variance of 3 in each of 16 directions; the target is nothing."""

    def __init__(self, count: int = COUNT) -> None:
        self.points = 0.5 + 3**0.5 * torch.randn(count, DIMENSIONS, generator=torch.Generator().manual_seed(7))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Any:
        return self.points[index], 0.0


class Dot(torch.nn.Module):
    """w·x: the gradient of its mean is the mean of the points, whatever w is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(DIMENSIONS))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return points @ self.weight


def mean(output: torch.Tensor, _targets: Any) -> torch.Tensor:
    return output.mean()


WORKLOAD = Workload(dataset=Points(), model=Dot, loss=mean)
REQUEST = StepRequest(batch_size=80, consumer=Consumer(step="model"))
WANTED = GradientRequest(small_batch_size=10, large_batch_size=80, most_pairs=60, seconds=60.0)


def source_of(given: Any) -> Source:
    return resolve_object(given, "given")


def test_the_noise_scale_of_a_linear_model_follows_from_its_data() -> None:
    """The gradient of a sample is the sample: |G|² is 4, S is 48, and B_n is 12, as measured by 60 pairs."""
    measured, seen = gradients.run_gradients(source_of(WORKLOAD), REQUEST, WANTED)
    assert seen is not None
    assert measured.error_type is None
    found = noise_scale(seen)
    assert found.pairs == 60
    assert found.gradient_square == pytest.approx(4, rel=0.15)
    assert found.covariance_trace == pytest.approx(48, rel=0.1)
    assert found.low_samples is not None
    assert found.high_samples is not None
    assert found.low_samples < 12 < found.high_samples
    assert found.high_samples < 2 * found.low_samples


class Step:
    """A step of the user's own, of known gradient: that of a batch is its mean point."""

    def __init__(self, optimizer: Any = torch.optim.Adam) -> None:
        self.model = Dot()
        self.optimizer = optimizer(self.model.parameters(), lr=0.1)

    def __call__(self, batch: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.model(batch[0]).mean()
        loss.backward()
        self.optimizer.step()
        return loss

    def learn(self, batch: Any) -> Any:
        return self(batch)


def batch_of(size: int = 5) -> Any:
    return Points(size).points, torch.zeros(size)


TRUE = float(batch_of()[0].mean(dim=0).square().sum())


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_the_square_is_that_of_the_gradient_and_nothing_is_learned(optimizer: Any) -> None:
    """Of the same batch twice the square is that of the mean point both times; the parameters stay to the bit."""
    step = Step(optimizer)
    step.model.weight.grad = torch.ones(DIMENSIONS)  # of a training in its middle
    held = gradients.Held(step)
    assert held.square(batch_of()) == pytest.approx(TRUE, rel=1e-6)
    assert held.square(batch_of()) == pytest.approx(TRUE, rel=1e-6)
    assert torch.equal(step.model.weight, torch.ones(DIMENSIONS))
    assert not step.optimizer.state
    step(batch_of())
    assert not torch.equal(step.model.weight, torch.ones(DIMENSIONS))


class Offering:
    """A step that offers its parameters by a method."""

    def __init__(self) -> None:
        self.inner = Step()

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        yield from self.inner.model.parameters()

    def __call__(self, batch: Any) -> Any:
        return self.inner(batch)


@pytest.mark.parametrize(
    "step", [Step(), Step().learn, Offering(), ModelStep(WORKLOAD, device="cpu", amp="off")], ids=str
)
def test_parameters_are_reached(step: Any) -> None:
    """By ``model``, by ``parameters()``, by the object of a method, and of the target's own model."""
    assert gradients.Held(step).square(batch_of()) == pytest.approx(TRUE, rel=1e-6)


class Frozen(Step):
    """A step of a model of which nothing learns."""

    def __init__(self) -> None:
        super().__init__()
        self.model.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("step", [lambda batch: batch, Frozen()], ids=["function", "frozen"])
def test_a_step_without_parameters_is_refused(step: Any) -> None:
    """A plain function, and a model of which nothing learns: the sentence says what to give."""
    with pytest.raises(TargetError, match=r"offers none: give it a 'model' or a method 'parameters\(\)'"):
        gradients.Held(step)


class Twice(Step):
    """Two optimiser steps a batch."""

    def __call__(self, batch: Any) -> Any:
        super().__call__(batch)
        return super().__call__(batch)


class Never(Step):
    """Gradients, and nobody who takes them."""

    def __call__(self, batch: Any) -> Any:
        return self.model(batch[0]).mean().backward()


class ByHand(Step):
    """An optimiser of torch's that has nothing to do, and a change by hand."""

    def __call__(self, batch: Any) -> Any:
        super().__call__(batch)
        with torch.no_grad():
            self.model.weight.mul_(0.5)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Twice(), "several steps of its optimiser on a batch"),
        (Never(), "took no step of an optimiser of torch's"),
        (ByHand(), "changes its parameters otherwise"),
    ],
)
def test_gradients_that_cannot_be_held_are_said(step: Any, words: str) -> None:
    """Two optimiser steps a batch, none, or a change by hand: no number, and why."""
    source = source_of(Workload(dataset=Points(), step=step))
    measured, seen = gradients.run_gradients(source, REQUEST, WANTED)
    assert seen is None
    assert words in measured.error_message


def test_two_optimisers_are_added_up() -> None:
    """Where one optimiser has half of the parameters and another the rest, the square is that of all."""
    step = Step()
    other = Dot()
    both = torch.nn.ModuleList([step.model, other])
    optimizer = torch.optim.SGD(other.parameters(), lr=1.0)

    class Both:
        model = both

        def __call__(self, batch: Any) -> None:
            (step.model(batch[0]).mean() + other(batch[0]).mean()).backward()
            step.optimizer.step()
            optimizer.step()

    assert gradients.Held(Both()).square(batch_of()) == pytest.approx(2 * TRUE, rel=1e-6)


def test_optimisers_learn_again_afterwards() -> None:
    """Once the square is there, a step learns as ever: nothing is left in torch."""
    step = Step()
    gradients.Held(step).square(batch_of())
    step(batch_of())
    assert step.optimizer.state


def test_no_pair_begins_after_its_time() -> None:
    """With no time there is no pair, and that is what is said of it."""
    wanted = GradientRequest(small_batch_size=10, large_batch_size=80, most_pairs=60, seconds=0.0)
    _, seen = gradients.run_gradients(source_of(WORKLOAD), REQUEST, wanted)
    assert isinstance(seen, Gradients)
    assert "time and samples for 0 pairs" in noise_scale(seen).because


class Stream(IterableDataset[Any]):
    """The numbers from 0 to 99, one after another."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(100))


class Numbers(Dataset[int]):
    """The numbers from 0 to 99."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize("dataset", [Stream(), Numbers()], ids=["stream", "map"])
def test_no_sample_comes_twice(dataset: Any) -> None:
    """Batches of 30 and 5 of 100 samples: two pairs, all of different samples, and then none."""
    take = fresh_batches(source_of(dataset), seed=3)
    batches = [take(30), take(5), take(30), take(5), take(30), take(30)]
    assert [None if one is None else len(one) for one in batches] == [30, 5, 30, 5, 30, None]
    assert len({int(number) for one in batches if one is not None for number in one}) == 100


def test_samples_come_in_a_random_order_of_the_seed() -> None:
    """Two seeds give two orders, one seed one."""
    first, again, other = (fresh_batches(source_of(Numbers()), seed=seed)(20).tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_a_loader_of_its_own_is_gone_through_once() -> None:
    """A loader of 25 numbers gives batches of 10 twice, and no third of those that are left."""

    def loaders(config: LoaderConfig) -> Any:
        size = config.batch_size or 1
        return [torch.arange(start, min(start + size, 25)) for start in range(0, 25, size)]

    source = Source(name="l", workload=None, build_loader=loaders, baseline=LoaderConfig(batch_size=64))
    take = fresh_batches(source, seed=0)
    assert [None if one is None else one.tolist()[0] for one in (take(10), take(10), take(10))] == [0, 10, None]


def test_a_loader_of_one_batch_is_made_anew() -> None:
    """What makes a batch when it is asked for is asked for each."""
    made = iter(range(9))

    def loaders(config: LoaderConfig) -> Any:
        return [torch.full((config.batch_size or 1,), next(made))]

    source = Source(name="l", workload=None, build_loader=loaders, baseline=LoaderConfig(batch_size=64))
    take = fresh_batches(source, seed=0)
    assert [take(size).tolist()[0] for size in (8, 2, 8, 2)] == [0, 1, 2, 3]
