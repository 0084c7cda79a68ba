"""What a training script calls for its batch size: ``find_batch_size``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loadtune.api import pickled
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Limits
from loadtune.describe.workload import Workload
from loadtune.errors import NothingFitsError, TargetError, UsageError, nearest
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult
from loadtune.run import batch_size
from loadtune.run.scratch import Scratch
from loadtune.units import parse_duration, parse_noise_scale, parse_size

_LIMITS = ("host_memory", "gpu_memory", "max_batch_size")


def find_batch_size(
    step: Callable[[Any], Any] | str | None,
    batches: Any,
    *,
    limits: Mapping[str, str | int] | None = None,
    host_memory: str | int | None = None,
    gpu_memory: str | int | None = None,
    max_batch_size: int | None = None,
    multiple_of: int = 1,
    global_batch: int | None = None,
    device: str = "auto",
    find_best: bool = True,
    noise_scale: float | Literal["measure"] | None = None,
    time_budget: str | float = "120s",
    trial_timeout: str | float = "60s",
    seed: int = 0,
) -> BatchSizeResult:
    """Return the largest and the best batch size for a training step.

    The step and all that it holds go to other processes as a copy: model, optimiser, gradients, modes and random
    number streams of this one are as before, to the bit. A plain function of an importable module is imported there
    anew, with the model that its module makes.

    Args:
        step: ``step(batch) -> loss or None``, ``"module:callable"``, or None for the model of the workload.
        batches: ``make_batch(batch_size) -> batch``, or what ``sweep`` takes: a data set, a loader, a ``Workload``, the
            name of a target.
        limits: The three that follow as a mapping, ``{"host_memory": "8GiB"}``, in place of them.
        host_memory: Most host memory, ``"8GiB"``, ``"50%"`` or bytes.
        gpu_memory: Most device memory, likewise.
        max_batch_size: Largest batch to consider.
        multiple_of: Only multiples of this.
        global_batch: Samples of one optimiser step that are to stay the same: a note says how many micro-batches of
            which size make them up where they do not fit at once. None: those of a given loader.
        device: ``"auto"``, ``"cpu"`` or ``"cuda:0"``.
        find_best: Whether the fastest is looked for too; otherwise the largest only.
        noise_scale: The gradient noise scale in samples, or ``"measure"`` for a step that takes its optimiser steps by
            torch's: for the goodput, which changes neither of the two.
        time_budget: After this no probe begins.
        trial_timeout: A probe that takes longer is ended.
        seed: Of the samples that are looked at.

    Raises:
        UsageError: An argument that cannot be used.
        TargetError: The step or the batches cannot be had, cannot be copied, or the step fails for a reason that is no
            want of memory.
        NothingFitsError: Not even the smallest batch fits.
    """
    separate = {"host_memory": host_memory, "gpu_memory": gpu_memory, "max_batch_size": max_batch_size}
    given = _limits(separate if limits is None else limits)
    if multiple_of < 1:
        raise UsageError(f"multiple_of {multiple_of} is out of range: it must be 1 or more")
    if global_batch is not None and global_batch < 1:
        raise UsageError(f"global_batch {global_batch} is out of range: it must be 1 or more")
    named = step if isinstance(step, str) else "model"
    plan = BatchSizePlan(
        target=batches if isinstance(batches, str) else f"<{type(batches).__qualname__}>",
        consumer=Consumer(step=named, device=device),
        multiple_of=multiple_of,
        global_batch=global_batch,
        most=given.max_batch_size,
        find_best=find_best,
        noise_scale=parse_noise_scale(noise_scale) if noise_scale is not None else None,
        time_budget_seconds=parse_duration(time_budget),
        probe_timeout_seconds=parse_duration(trial_timeout),
        seed=seed,
    )
    with Scratch() as folder:
        source = None if isinstance(batches, str) else pickled(_source(batches), plan.target, folder)
        path = None if step is None or isinstance(step, str) else _pickled_step(step, folder)
        setup = batch_size.setup_of(plan, arguments={}, pickle_path=source)
        with batch_size.HostStepper(setup) as stepper:
            result = batch_size.find_batch_size(plan, given, stepper, environ=os.environ, step_path=path)
    if result.largest is None:
        raise NothingFitsError(f"no batch fits: {result.because}")
    return result


def _limits(given: Mapping[str, str | int | None]) -> Limits:
    unknown = next((name for name in given if name not in _LIMITS), None)
    if unknown is not None:
        near = nearest(unknown, _LIMITS)
        meant = f"did you mean '{near}'?" if near else f"the limits are {', '.join(_LIMITS)}"
        raise UsageError(f"'{unknown}' is no limit; {meant}")
    host, device, most = (given.get(name) for name in _LIMITS)
    if most is not None and (not isinstance(most, int) or most < 1):
        raise UsageError(f"max_batch_size {most} is out of range: it must be 1 or more")
    return Limits(
        host_memory=parse_size(host) if host is not None else None,
        gpu_memory=parse_size(device) if device is not None else None,
        max_batch_size=most,
    )


@dataclass(frozen=True, slots=True)
class _OneBatch:
    """A loader of the one batch that a function makes, when it is asked for."""

    make: Callable[[int], Any]
    size: int

    def __iter__(self) -> Iterator[Any]:
        yield self.make(self.size)


@dataclass(frozen=True, slots=True)
class _LoadersOf:
    """A function of a configuration, as a target may be, out of a function of a batch size."""

    make: Callable[[int], Any]

    def __call__(self, config: LoaderConfig) -> _OneBatch:
        return _OneBatch(self.make, config.batch_size or 1)


def _source(batches: Any) -> Any:
    """Return what the trial host loads from; of what can be called only a function makes batches."""
    is_data = isinstance(batches, Workload) or hasattr(batches, "__getitem__") or hasattr(batches, "__iter__")
    return _LoadersOf(batches) if callable(batches) and not is_data else batches


def _pickled_step(step: Callable[[Any], Any], folder: Path) -> str:
    """Write the step, with the model and the optimiser that it holds, to a file."""
    import cloudpickle  # noqa: PLC0415 - only where there is an object to carry

    path = folder / "step.pickle"
    try:
        path.write_bytes(cloudpickle.dumps(step))
    except Exception as error:
        raise TargetError(
            f"the step cannot be copied to the process that measures: {error}",
            hint="give it as 'package.module:name', to be imported there",
        ) from error
    return str(path)
