"""Squared gradients of steps whose gradients are known, at parameters that stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer
from loadtune.describe.workload import Workload
from loadtune.errors import TargetError
from loadtune.judge.noise_scale import noise_scale
from loadtune.measure import gradients
from loadtune.measure.step import ModelStep
from loadtune.record.batch_size import StepRequest
from loadtune.record.noise_scale import GradientRequest, Gradients
from loadtune.run.protocol import RunStep
from loadtune.run.step_orders import run_step
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
WANTED = GradientRequest(small_batch_size=10, large_batch_size=80, most_pairs=60, planned_pairs=8, seconds=60.0)


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


def partly() -> Any:
    """Return a step that offers a model which its optimiser does not hold at all."""
    step = Step()
    inner, step.model = step.model, Dot()

    def learn(batch: Any) -> None:
        step.optimizer.zero_grad()
        inner(batch[0]).mean().backward()
        step.optimizer.step()

    learn.model = step.model  # type: ignore[attr-defined]
    return learn


STEPS = {
    "model": Step,
    "method": lambda: Step().learn,
    "parameters": Offering,
    "target": lambda: ModelStep(WORKLOAD, device="cpu", amp="off"),
    "partly": partly,
}


def plain() -> Any:
    """Return a function that offers nothing, of a model and an optimiser that it found in its module."""
    step = Step()

    def learn(batch: Any) -> Any:
        return step(batch)

    return learn


@pytest.mark.parametrize("make", [*STEPS.values(), plain], ids=[*STEPS, "plain"])
def test_parameters_are_those_of_the_optimiser(make: Any) -> None:
    """Whatever a step offers, or nothing: the square is that of what its optimiser holds, and stays so."""
    held = gradients.Held(make())
    assert [held.square(batch_of()) for _ in range(2)] == pytest.approx([TRUE, TRUE], rel=1e-6)


def test_gradients_of_the_training_before_do_not_count() -> None:
    """A step that clears its gradients at its end, given in the middle of a training that left some: they are gone."""
    step = Step()

    def learn(batch: Any) -> None:
        step.model(batch[0]).mean().backward()
        step.optimizer.step()
        step.optimizer.zero_grad()

    step.model.weight.grad = torch.full((DIMENSIONS,), 1e3)
    assert gradients.Held(learn).square(batch_of()) == pytest.approx(TRUE, rel=1e-6)


def test_code_after_the_optimiser_finds_the_gradients() -> None:
    """A step that logs the length of its gradients after the optimiser's step finds them where they were."""
    step, lengths = Step(), []

    def learn(batch: Any) -> None:
        step(batch)
        lengths.append(float(step.model.weight.grad.square().sum()))  # type: ignore[union-attr]

    gradients.Held(learn).square(batch_of())
    assert lengths[-1] == pytest.approx(TRUE, rel=1e-6)


class Mine(torch.optim.Adam):
    """An optimiser whose step is that of another, and something before and after it."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, Mine, torch.optim.LBFGS])
@pytest.mark.parametrize("by_name", [False, True], ids=["positional", "named"])
def test_a_closure_is_called_for_its_gradients(optimizer: Any, *, by_name: bool) -> None:
    """An optimiser that is given a closure has its gradients by it: the square is the true one, nothing is learned."""
    step = Step(optimizer)

    def learn(batch: Any) -> None:
        def closure() -> torch.Tensor:
            step.optimizer.zero_grad()
            loss = step.model(batch[0]).mean()
            loss.backward()
            return loss

        with torch.no_grad():
            loss = step.optimizer.step(closure=closure) if by_name else step.optimizer.step(closure)
        assert float(loss.detach()) == pytest.approx(float(batch[0].sum(dim=1).mean()), rel=1e-5)

    held = gradients.Held(learn)
    assert [held.square(batch_of()) for _ in range(2)] == pytest.approx([TRUE, TRUE], rel=1e-6)
    assert torch.equal(step.model.weight, torch.ones(DIMENSIONS))


def test_a_subclass_whose_step_calls_that_of_its_class_is_one_step() -> None:
    """Torch announces both steps; there is one gradient."""
    assert gradients.Held(Step(Mine)).square(batch_of()) == pytest.approx(TRUE, rel=1e-6)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_grad_scaler_skips_its_first_steps(*, fused: bool) -> None:
    """At a scale with which gradients overflow until it was halved several times: the square is that without one."""
    step = Step(lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, fused=fused))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # 2^128 is no number of 32 bits

    def learn(batch: Any) -> None:
        step.optimizer.zero_grad()
        scaler.scale(100 * step.model(batch[0]).mean()).backward()
        scaler.step(step.optimizer)
        scaler.update()

    assert gradients.Held(learn).square(batch_of()) == pytest.approx(100**2 * TRUE, rel=1e-5)
    assert scaler.get_scale() < 2.0**124
    assert torch.equal(step.model.weight, torch.ones(DIMENSIONS))


def test_a_step_that_accumulates_over_calls_is_given_its_batch_again() -> None:
    """One that steps at each fourth call, on a fourth of each loss: the square is a sixteenth, of one batch."""
    step, calls = Step(), iter(range(1, 100))

    def learn(batch: Any) -> None:
        (step.model(batch[0]).mean() / 4).backward()
        if next(calls) % 4 == 0:
            step.optimizer.step()
            step.optimizer.zero_grad()

    held = gradients.Held(learn)
    assert [held.square(batch_of()) for _ in range(2)] == pytest.approx([TRUE / 16] * 2, rel=1e-6)


class Twice(Step):
    """Two optimiser steps a batch."""

    def __call__(self, batch: Any) -> Any:
        super().__call__(batch)
        return super().__call__(batch)


class Never(Step):
    """Gradients, and nobody who takes them."""

    def __call__(self, batch: Any) -> Any:
        return self.model(batch[0]).mean().backward()


class InTurn(Step):
    """Two models, each with its optimiser, that take turns at two batches each."""

    def __init__(self) -> None:
        super().__init__()
        self.other = Step()
        self.calls = 0

    def __call__(self, batch: Any) -> Any:
        self.calls += 1
        return super().__call__(batch) if self.calls % 4 < 2 else self.other(batch)


class Frozen(Step):
    """A step of which the gradient reaches something else than what its optimiser holds."""

    def __call__(self, batch: Any) -> Any:
        Dot()(batch[0]).mean().backward()
        self.optimizer.step()


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
        (InTurn(), "the step trains other parameters on other batches"),
        (Frozen(), "no gradient reached the parameters that the optimiser of the step holds"),
        (ByHand(), "changes its parameters otherwise"),
    ],
    ids=["twice", "never", "in_turn", "frozen", "by_hand"],
)
def test_gradients_that_cannot_be_held_are_said(step: Any, words: str) -> None:
    """Several optimiser steps a batch, none, those of others in turn, a change by hand: no number, and one sentence."""
    source = source_of(Workload(dataset=Points(), step=step))
    stepped = run_step(source, RunStep(request=replace(REQUEST, gradients=WANTED), fork=False, within_seconds=60.0))
    assert stepped.gradients is None
    assert words in (stepped.unusable or "")
    assert "Error" not in (stepped.unusable or "")


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


class Dropping(Dot):
    """w·x with half of the points dropped: no two gradients are the same."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(points, 0.5))


def test_samples_that_are_repeated_are_seen_behind_dropout() -> None:
    """A function that gives the first samples each time: that is said, though the gradients differ."""
    points = Points(100).points
    source = Source(
        name="l",
        workload=Workload(dataset=Points(), model=Dropping, loss=mean),
        build_loader=lambda config: iter([(points[: config.batch_size], torch.zeros(config.batch_size or 1))]),
        baseline=LoaderConfig(batch_size=64),
    )
    with pytest.raises(TargetError, match="two batches of 80 hold the same samples"):
        gradients.run_gradients(source, REQUEST, WANTED)


class Classes(Dataset[Any]):
    """Ten classes one after another, of 600 points each, whose means differ: seven times the variance within them."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(11)
        means = 3 * torch.randn(10, DIMENSIONS, generator=random)
        noise = torch.randn(10, 600, DIMENSIONS, generator=random)
        self.points = (1 + means[:, None] + noise).reshape(-1, DIMENSIONS)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Any:
        return self.points[index], 0.0


def test_data_in_the_order_of_their_classes_have_their_true_scale() -> None:
    """Of a loader that does not shuffle, sorted by class: B_n by the points themselves lies in the interval."""
    data = Classes()
    loader = DataLoader(data, batch_size=64, shuffle=False)
    source = replace(source_of(loader), workload=replace(WORKLOAD, dataset=data, sampler=loader.sampler))
    true = float(data.points.var(dim=0).sum() / data.points.mean(dim=0).square().sum())
    _, seen = gradients.run_gradients(source, REQUEST, WANTED)
    assert seen is not None
    found = noise_scale(seen)
    assert found.low_samples is not None
    assert found.high_samples is not None
    assert found.low_samples < true < found.high_samples < 3 * found.low_samples


@pytest.mark.parametrize(("most", "is_clipped"), [(0.1, True), (3.0, True), (1e3, False)], ids=["always", "some", "no"])
def test_gradients_that_the_step_clips_are_no_scale(most: float, *, is_clipped: bool) -> None:
    """Clipped always, or the longer ones only: their equal length gives them away; a bound never reached does not."""
    step = Step()

    def learn(batch: Any) -> None:
        step.optimizer.zero_grad()
        step.model(batch[0]).mean().backward()
        torch.nn.utils.clip_grad_norm_(step.model.parameters(), most)
        step.optimizer.step()

    _, seen = gradients.run_gradients(source_of(Workload(dataset=Points(), step=learn)), REQUEST, WANTED)
    assert seen is not None
    found = noise_scale(seen)
    assert (f"gradients have the same length, {most:g}" in found.because) is is_clipped
    assert (found.samples is None) is is_clipped


def test_the_large_batch_is_made_smaller_for_its_time() -> None:
    """Where a small batch of 10 takes 1 s and 8 pairs have 40 s, 5 s a pair: the large batch is 40 in place of 80."""
    run = gradients._Run(WANTED, device="cpu")
    run._fit(1.0, 40.0)
    assert run.gradients().large_batch_size == 40
    run._fit(1.0, 1.0)
    assert run.gradients().large_batch_size == 20


def test_no_pair_begins_after_its_time() -> None:
    """With no time there is no pair, and that is what is said of it."""
    wanted = GradientRequest(small_batch_size=10, large_batch_size=80, most_pairs=60, planned_pairs=8, seconds=0.0)
    _, seen = gradients.run_gradients(source_of(WORKLOAD), REQUEST, wanted)
    assert isinstance(seen, Gradients)
    assert "time and samples for 0 pairs" in noise_scale(seen).because
