"""Squared gradients of a training step at two batch sizes, at parameters that stay as they are: nothing is learned.

The step is run as it is. Where one of torch's optimisers would take the gradients they are read and taken away from it,
which leaves it nothing to change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from loadtune.errors import LoadtuneError, TargetError
from loadtune.measure import accelerator
from loadtune.measure.batches import count_bytes
from loadtune.measure.fresh_batches import Take, fresh_batches
from loadtune.measure.step import Step
from loadtune.measure.step_probe import forget_peak, of_device, of_error, of_status, step_of
from loadtune.record.batch_size import StepMeasurement, StepRequest
from loadtune.record.noise_scale import GradientRequest, Gradients
from loadtune.workloads.source import Source


class _NotHeldError(Exception):
    """The gradients of a step cannot be had without learning from them; the message says why."""


def run_gradients(
    source: Source, request: StepRequest, wanted: GradientRequest
) -> tuple[StepMeasurement, Gradients | None]:
    """Return what the process took, and the squared gradients; what the step raises is part of the first.

    Raises:
        LoadtuneError: The step cannot be had, or its parameters cannot be reached.
    """
    torch.manual_seed(request.seed)
    accelerator.initialise(request.consumer.device)
    run, error = _Run(wanted, device=request.consumer.device), None
    try:
        # In the type of the parameters: rounding to fewer bits would be taken for noise.
        step = step_of(source, replace(request, consumer=replace(request.consumer, amp="off")))
        held = Held(step)
        if wanted.most_pairs:
            run.go(held, fresh_batches(source, seed=request.seed))
    except LoadtuneError:
        raise
    except Exception as raised:  # noqa: BLE001 - whatever a step raises is a result
        error = raised
    return replace(run.seen(), **of_error(error)), run.gradients() if error is None else None


def parameters_of(step: Step) -> list[torch.Tensor]:
    """Return the parameters that a step offers: those of its ``parameters()``, or of its ``model``.

    A bound method is a step of its object.

    Raises:
        TargetError: It offers none that learns.
    """
    for owner in (step, getattr(step, "__self__", None)):
        for holder in (owner, getattr(owner, "model", None)):
            offered = getattr(holder, "parameters", None)
            if callable(offered):
                found = [one for one in offered() if isinstance(one, torch.Tensor) and one.requires_grad]
                if found:
                    return found
    raise TargetError(
        f"the gradient noise scale is measured at the parameters of the step, and this {type(step).__qualname__} offers"
        " none: give it a 'model' or a method 'parameters()', or give the noise scale as a number"
    )


class Held:
    """Runs a step without learning, for the square of its gradient.

    Args:
        step: Takes its optimiser step by one of torch's, once a batch.

    Raises:
        TargetError: It offers no parameters.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._parameters = parameters_of(step)
        self._offered = {id(one) for one in self._parameters}

    def square(self, batch: Any) -> float:
        """Return the squared length of the gradient on a batch.

        Raises:
            _NotHeldError: The step takes no optimiser step by torch, or several, or changes the parameters otherwise.
        """
        for parameter in self._parameters:
            parameter.grad = None
        before = self._versions()
        with self._watching() as squares:
            self._step(batch)
        if not squares:
            raise _NotHeldError(
                "the step took no step of an optimiser of torch's on a batch, by which gradients are read"
            )
        if self._versions() != before:
            raise _NotHeldError("the step changes its parameters otherwise than by an optimiser of torch's")
        return sum(squares.values())

    def _versions(self) -> list[int]:
        """Return what torch counts up at each change of a parameter in place."""
        return [parameter._version for parameter in self._parameters]  # noqa: SLF001 - torch has no other name for it

    @contextmanager
    def _watching(self) -> Iterator[dict[int, float]]:
        """Take the gradients away from every optimiser that is about to step, and give their square by optimiser."""
        squares: dict[int, float] = {}

        def take(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            if id(optimizer) in squares:
                raise _NotHeldError("the step takes several steps of its optimiser on a batch")
            parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
            squares[id(optimizer)] = sum(_square(one.grad) for one in parameters if id(one) in self._offered)
            for one in parameters:
                one.grad = None

        handle = register_optimizer_step_pre_hook(take)
        try:
            yield squares
        finally:
            handle.remove()


def _square(gradient: torch.Tensor) -> float:
    """Return the squared length, summed in double precision."""
    dense = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(torch.linalg.vector_norm(dense.detach(), dtype=torch.float64)) ** 2


class _Run:
    """Takes pairs of batches, a large one first as it takes most memory, and keeps what is to be said of them."""

    def __init__(self, wanted: GradientRequest, *, device: str) -> None:
        self._wanted = wanted
        self._device = device
        self._small: list[float] = []
        self._large: list[float] = []
        self._batch_bytes = 0

    def go(self, held: Held, take: Take) -> None:
        """Take pairs until there are enough, or time or samples are used up."""
        forget_peak()
        deadline = time.monotonic() + self._wanted.seconds
        while len(self._small) < self._wanted.most_pairs and time.monotonic() < deadline:
            large = self._square(held, take(self._wanted.large_batch_size))
            small = self._square(held, take(self._wanted.small_batch_size)) if large is not None else None
            if large is None or small is None:
                return
            self._large.append(large)
            self._small.append(small)

    def _square(self, held: Held, batch: Any) -> float | None:
        if batch is None:
            return None
        self._batch_bytes = max(self._batch_bytes, count_bytes(batch))
        return held.square(accelerator.mover(self._device, pinned=False)(batch))

    def gradients(self) -> Gradients:
        """Return the pairs."""
        return Gradients(
            small_batch_size=self._wanted.small_batch_size,
            large_batch_size=self._wanted.large_batch_size,
            small_squares=tuple(self._small),
            large_squares=tuple(self._large),
        )

    def seen(self) -> StepMeasurement:
        """Return what the process took so far."""
        measured = StepMeasurement(
            steps=2 * len(self._small),
            step_seconds=None,
            evaluated=False,
            batch_bytes=self._batch_bytes,
            resident_peak_bytes=of_status("VmHWM"),
            address_peak_bytes=of_status("VmPeak"),
        )
        return replace(measured, **of_device(self._device))
