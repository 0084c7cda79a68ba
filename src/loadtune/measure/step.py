"""The training step that takes a batch: the user's own callable, or one made of the workload's model.

Made in the process that runs it, so that a step which builds its model when it is imported has a fresh one each time.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from loadtune.describe.plan import Consumer
from loadtune.describe.workload import Workload
from loadtune.errors import TargetError, UsageError
from loadtune.workloads.resolve import find

LEARNING_RATE = 1e-3
"""Of the optimiser where none is given; it changes neither time nor memory."""
OF_THE_TARGET = "model"
"""What ``--step`` says for the target's own step or model."""
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}

Step = Callable[[Any], Any]


def build(consumer: Consumer, workload: Workload | None) -> Step | None:
    """Return the step that the consumer asks for; None where it asks for none.

    Raises:
        TargetError: The step names nothing that can be called with a batch, or the target has no model.
        UsageError: ``amp`` for a step that decides about it itself.
    """
    if consumer.step is None:
        return None
    if consumer.step != OF_THE_TARGET:
        return _callable(_of_name(consumer.step), consumer)
    if workload is not None and workload.step is not None:
        return _callable(workload.step, consumer)
    if workload is None or workload.model is None:
        raise TargetError(
            "the target has no model: give --step module:callable, a function of a batch, or a Workload with a model"
        )
    return ModelStep(workload, device=consumer.device, amp=consumer.amp)


def evaluation(step: Step) -> Step | None:
    """Return what evaluates a batch without learning from it: the step's own ``evaluate``, where it has one."""
    found = getattr(step, "evaluate", None)
    return found if callable(found) else None


def _of_name(name: str) -> Any:
    if ":" not in name:
        raise TargetError(
            f"--step '{name}' is no step: write package.module:callable, path/to/file.py:callable or model"
        )
    return find(name, again=False)


def _callable(given: Any, consumer: Consumer) -> Step:
    """Return a step; a function without parameters is one that makes it."""
    if consumer.amp != "off":
        raise UsageError("--amp is for a target's model: a step of its own chooses its types itself")
    made = given() if callable(given) and _takes_nothing(given) else given
    if not callable(made):
        raise TargetError(f"the step is of type {type(made).__qualname__}: it must be a function of a batch")
    return made  # type: ignore[no-any-return]  # whatever it returns is not looked at


def _takes_nothing(given: Callable[..., Any]) -> bool:
    try:
        return not inspect.signature(given).parameters
    except (TypeError, ValueError):
        return False


class ModelStep:
    """Forward, backward and optimiser step of a model on batches of inputs and targets.

    Args:
        workload: Has the model, and perhaps a loss and an optimiser.
        device: Where the model is put.
        amp: The type it computes in.

    Raises:
        TargetError: The model is none.
    """

    def __init__(self, workload: Workload, *, device: str, amp: str) -> None:
        model = workload.model if isinstance(workload.model, torch.nn.Module) else workload.model()
        if not isinstance(model, torch.nn.Module):
            raise TargetError(f"the target's model is of type {type(model).__qualname__}: it must be a torch.nn.Module")
        self.model = model.to(device)
        self._loss = workload.loss or torch.nn.functional.cross_entropy
        make = workload.optimizer or _adam
        self._optimizer = make(self.model.parameters())
        self._kind = torch.device(device).type
        self._amp = _AMP.get(amp)
        scaled = amp == "fp16" and self._kind == "cuda"
        self._scaler = torch.amp.GradScaler(self._kind, enabled=scaled)

    def __call__(self, batch: Any) -> Any:
        """Learn from one batch and return its loss."""
        inputs, targets = _split(batch)
        self.model.train()
        self._optimizer.zero_grad()
        with self._autocast():
            loss = self._loss(self.model(inputs), targets)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss

    def evaluate(self, batch: Any) -> Any:
        """Return the loss of one batch, nothing learned."""
        inputs, targets = _split(batch)
        self.model.eval()
        with torch.no_grad(), self._autocast():
            return self._loss(self.model(inputs), targets)

    def _autocast(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._amp is None else torch.autocast(self._kind, dtype=self._amp)


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=LEARNING_RATE)


def _split(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, (list, tuple)) and len(batch) == 2:  # noqa: PLR2004 - a pair
        return batch[0], batch[1]
    raise TargetError(
        f"the target's model needs batches of two parts, inputs and targets, and this is a {type(batch).__qualname__}:"
        " give --step module:callable"
    )
