"""Squared gradients of a training step at two batch sizes, at parameters that stay as they are: nothing is learned.

The step is run as it is. While one of torch's optimisers steps, the gradients are read and kept from it, which leaves
it nothing to change; code that reads them afterwards finds them where they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from loadtune.errors import LoadtuneError, TargetError
from loadtune.measure import accelerator
from loadtune.measure.batches import count_bytes, leaves
from loadtune.measure.fingerprints import Fingerprint, fingerprint
from loadtune.measure.fresh_batches import Take, fresh_batches, keeps_its_order
from loadtune.measure.step import Step
from loadtune.measure.step_probe import forget_peak, of_device, of_error, of_status, step_of
from loadtune.record.batch_size import StepMeasurement, StepRequest
from loadtune.record.noise_scale import GradientRequest, Gradients
from loadtune.units import format_count
from loadtune.workloads.source import Source

ATTEMPTS = 10
"""A batch is given so often until an optimiser steps: a GradScaler skips its first steps until its scale is right."""


def run_gradients(
    source: Source, request: StepRequest, wanted: GradientRequest
) -> tuple[StepMeasurement, Gradients | None]:
    """Return what the process took, and the squared gradients; what the step raises is part of the first.

    Raises:
        LoadtuneError: The step cannot be had, its gradients cannot be held, or batches repeat their samples.
    """
    torch.manual_seed(request.seed)
    accelerator.initialise(request.consumer.device)
    run, error = _Run(wanted, device=request.consumer.device), None
    try:
        # In the type of the parameters: rounding to fewer bits would be taken for noise.
        step = step_of(source, replace(request, consumer=replace(request.consumer, amp="off")))
        run.go(Held(step), fresh_batches(source, seed=request.seed))
    except LoadtuneError:
        raise
    except Exception as raised:  # noqa: BLE001 - whatever a step raises is a result
        error = raised
    found = replace(run.gradients(), in_own_order=keeps_its_order(source)) if error is None else None
    return replace(run.seen(), **of_error(error)), found


def offered(step: Step) -> list[torch.Tensor]:
    """Return the parameters that a step offers by ``parameters()`` or by its ``model``; a bound method its object's."""
    for owner in (step, getattr(step, "__self__", None)):
        for holder in (owner, getattr(owner, "model", None)):
            parameters = getattr(holder, "parameters", None)
            if callable(parameters):
                return [one for one in parameters() if isinstance(one, torch.Tensor)]
    return []


class Held:
    """Runs a step without learning, for the square of its gradient.

    Args:
        step: Takes its optimiser step by one of torch's, once a batch. Parameters that it offers have to stay as they
            are, as those that its optimisers hold.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._parameters = {id(one): one for one in offered(step)}
        self._trained: set[int] | None = None

    def square(self, batch: Any) -> float:
        """Return the squared length of the gradient on a batch.

        Raises:
            TargetError: The step takes no optimiser step by torch, or several, changes the parameters otherwise, or
                trains other parameters than on the batches before.
        """
        for _ in range(ATTEMPTS):
            known = len(self._parameters)
            seen = self._run(batch)
            # An optimiser seen for the first time may have had gradients of the training before.
            if seen.squares and len(self._parameters) == known:
                self._see_that_the_same_are_trained(seen.trained)
                return sum(seen.squares.values())
        raise TargetError(
            "the step took no step of an optimiser of torch's, by which gradients are read, on a batch that it was"
            f" given {ATTEMPTS} times"
        )

    def _run(self, batch: Any) -> _Watch:
        for one in self._parameters.values():
            one.grad = None
        before = self._versions()
        watch = _Watch()
        with watch.watching():
            self._step(batch)
        if self._versions() != before:
            raise TargetError("the step changes its parameters otherwise than by an optimiser of torch's")
        self._parameters.update(watch.parameters)
        return watch

    def _versions(self) -> list[int]:
        """Return what torch counts up at each change of a parameter in place."""
        return [one._version for one in self._parameters.values()]  # noqa: SLF001 - torch has no other name for it

    def _see_that_the_same_are_trained(self, trained: set[int]) -> None:
        if not trained:
            raise TargetError("no gradient reached the parameters that the optimiser of the step holds")
        if self._trained is not None and trained != self._trained:
            raise TargetError("the step trains other parameters on other batches: their gradients cannot be compared")
        self._trained = trained


@dataclass(slots=True)
class _Watch:
    """Keeps the gradients from every optimiser for the time of its step, and the square of them."""

    squares: dict[int, float] = field(default_factory=dict)
    """By optimiser."""
    parameters: dict[int, torch.Tensor] = field(default_factory=dict)
    """That the optimisers hold."""
    trained: set[int] = field(default_factory=set)
    """Those of them that had a gradient."""
    _kept: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch every optimiser of torch's."""
        handles = [register_optimizer_step_pre_hook(self._before), register_optimizer_step_post_hook(self._after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any]:
        given = _with_closure_called(args, kwargs)
        held = [one for group in optimizer.param_groups for one in group["params"]]
        self.parameters.update((id(one), one) for one in held)
        gradients = [(one, one.grad) for one in held if one.grad is not None]
        if id(optimizer) not in self.squares:
            self._note(optimizer, gradients)
        elif gradients:  # without any, it is the step of a class that a subclass's step calls
            raise TargetError("the step takes several steps of its optimiser on a batch")
        self._kept.setdefault(id(optimizer), []).extend(gradients)
        for one, _ in gradients:
            one.grad = None
        return given

    def _note(self, optimizer: Any, gradients: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Note the square, in the scale that a GradScaler leaves for a fused optimiser to take out; of no overflow."""
        if getattr(optimizer, "found_inf", None):
            return
        scale = getattr(optimizer, "grad_scale", None)
        self.squares[id(optimizer)] = sum(map(_square, (one for _, one in gradients))) / float(scale or 1.0) ** 2
        self.trained |= {id(one) for one, _ in gradients}

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for one, gradient in self._kept.pop(id(optimizer), []):
            one.grad = gradient


def _with_closure_called(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the arguments of an optimiser's step with the loss in place of the closure, which is called once."""
    closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
    if not callable(closure):
        return args, kwargs
    with torch.enable_grad():
        loss = closure()
    if kwargs.get("closure") is not None:
        return args, {**kwargs, "closure": lambda: loss}
    return (args[0], lambda: loss, *args[2:]), kwargs


def _square(gradient: torch.Tensor) -> float:
    """Return the squared length, summed in double precision."""
    dense = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(torch.linalg.vector_norm(dense.detach(), dtype=torch.float64)) ** 2


class _Run:
    """Takes pairs of batches, and keeps what is to be said of them."""

    def __init__(self, wanted: GradientRequest, *, device: str) -> None:
        self._wanted = wanted
        self._move = accelerator.mover(device, pinned=False)
        self._device = device
        self._large_size = wanted.large_batch_size
        self._small: list[float] = []
        self._large: list[float] = []
        self._batch_bytes = 0
        self._seen: set[Fingerprint] = set()

    def go(self, held: Held, take: Take) -> None:
        """Take pairs until there are enough, or time or samples are used up."""
        forget_peak()
        deadline = time.monotonic() + self._wanted.seconds
        began = time.monotonic()
        small = take(self._wanted.small_batch_size)
        loading = time.monotonic() - began
        if small is None:
            return
        self._square(held, small)  # the first pays for what is touched for the first time
        began = time.monotonic()
        self._square(held, small)
        self._fit(loading + time.monotonic() - began, deadline - time.monotonic())
        while len(self._small) < self._wanted.most_pairs and time.monotonic() < deadline:
            large = self._unlike(take(self._large_size))
            small = take(self._wanted.small_batch_size) if small is None else small
            if large is None or small is None:
                return
            squares = self._square(held, large), self._square(held, small)
            self._large.append(squares[0])
            self._small.append(squares[1])
            small = None

    def _fit(self, small_seconds: float, left: float) -> None:
        """Make the large batch smaller where so many pairs as are planned would not be over in time."""
        times = self._wanted.large_batch_size // self._wanted.small_batch_size
        if small_seconds > 0:
            fit = int(left / (self._wanted.planned_pairs * small_seconds)) - 1
            if fit < times:
                self._large_size = self._wanted.small_batch_size * max(2, fit)

    def _unlike(self, batch: Any) -> Any:
        """Return a large batch that is like none before; small ones may be alike by chance.

        Raises:
            TargetError: There was one of the same contents.
        """
        parts = [one.detach().cpu() if isinstance(one, torch.Tensor) else one for one in leaves(batch)]
        if batch is None or not count_bytes(parts):
            return batch
        found = fingerprint(parts)
        if found in self._seen:
            raise TargetError(
                f"two batches of {format_count(self._large_size)} hold the same samples: the gradient noise scale is"
                " measured by batches of different ones"
            )
        self._seen.add(found)
        return batch

    def _square(self, held: Held, batch: Any) -> float:
        self._batch_bytes = max(self._batch_bytes, count_bytes(batch))
        return held.square(self._move(batch))

    def gradients(self) -> Gradients:
        """Return the pairs."""
        return Gradients(
            small_batch_size=self._wanted.small_batch_size,
            large_batch_size=self._large_size,
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
