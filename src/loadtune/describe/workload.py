"""What is loaded and what takes it: the data set with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEPT_ARGUMENTS = ("sampler", "batch_sampler", "collate_fn", "worker_init_fn", "generator", "timeout")
"""Arguments of a ``DataLoader`` that a sweep keeps as they are, beside the data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A data set and the parts of its loader that a sweep keeps as they are.

    Objects of torch are typed ``Any``: this module is imported where torch is not.
    """

    dataset: Any
    """A map-style or iterable ``torch.utils.data.Dataset``."""
    collate_fn: Callable[[list[Any]], Any] | None = None
    """Forms a batch from a list of samples; None is torch's default."""
    sampler: Any = None
    """Draws the indices of an epoch; None draws a fresh permutation each epoch, as ``shuffle=True`` does."""
    batch_sampler: Any = None
    """Draws the lists of indices of an epoch; it forms the batches, so ``batch_size`` is not swept."""
    worker_init_fn: Callable[[int], None] | None = None
    generator: Any = None
    """A ``torch.Generator``; trials use one of their own, seeded by the sweep."""
    timeout: float = 0.0
    """Seconds that the loader waits for a batch before it gives up; 0 waits for ever."""
    name: str | None = None
    """How reports call the data set."""
    step: Callable[[Any], Any] | None = None
    """A training step of one batch: ``step(batch) -> loss or None``."""
    model: Any = None
    """A ``torch.nn.Module``, or a function without arguments that gives one: made into a training step with ``loss``
    and ``optimizer``."""
    loss: Callable[[Any, Any], Any] | None = None
    """Of the model's output and the targets; None is cross entropy, as for classification."""
    optimizer: Callable[[Any], Any] | None = None
    """Makes the optimiser of the model's parameters; None is Adam with a learning rate of 0.001."""
