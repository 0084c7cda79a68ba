"""One probe of a batch size: the training step on a batch of this size, its time and its memory, in this process."""

from __future__ import annotations

import contextlib
import pickle
import re
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from loadtune.errors import LoadtuneError
from loadtune.measure import accelerator, step
from loadtune.measure.batches import count_bytes
from loadtune.measure.step_batch import Batches, batches_of
from loadtune.record.batch_size import StepMeasurement, StepRequest
from loadtune.units import as_utf8, words_of
from loadtune.workloads.source import Source

MOST_TIMED = 200
ROUND = 4
"""Steps between two looks at the clock, which wait for the device; the first comes after one step."""
_TRACEBACK_LINES = 12
_RESET_PEAK = "5"
"""Written to clear_refs: the peak of resident memory counts from now on (proc(5))."""


def run_probe(source: Source, request: StepRequest) -> StepMeasurement:
    """Return what the step took at a batch size; what it raises is part of that.

    Raises:
        LoadtuneError: The step, or the data set's batches, cannot be had at all.
    """
    torch.manual_seed(request.seed)
    accelerator.initialise(request.consumer.device)
    batches = batches_of(source, seed=request.seed)
    run = _Run(request, batches)
    try:
        run.go(step_of(source, request))
    except LoadtuneError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a step raises is a result
        run.error = error
    return run.seen()


def step_of(source: Source, request: StepRequest) -> step.Step:
    """Return the step that is to be probed, made anew.

    Raises:
        LoadtuneError: There is none.
    """
    if request.step_path is not None:
        return pickle.loads(Path(request.step_path).read_bytes())  # type: ignore[no-any-return]  # noqa: S301 - our own
    found = step.build(request.consumer, source.workload)
    if found is None:
        raise LoadtuneError("there is no step to probe")
    return found


class _Run:
    """Runs the steps, and keeps what is to be said of them."""

    def __init__(self, request: StepRequest, batches: Batches) -> None:
        self._request = request
        self._batches = batches
        self._device = request.consumer.device
        self._steps = 0
        self._batch_bytes = 0
        self._step_seconds: float | None = None
        self._evaluated = False
        self.error: Exception | None = None

    def go(self, run: step.Step) -> None:
        """Step on the largest batch until the optimiser has its state, evaluate one, then time ordinary ones."""
        forget_peak()
        batch = self._batch(worst=True)
        for _ in range(max(1, self._request.steps)):
            self._take(run, batch)
        evaluate = step.evaluation(run)
        if evaluate is not None:
            evaluate(batch)
            self._evaluated = True
        if self._batches.vary:
            del batch  # its room is needed for the next
            batch = self._batch(worst=False)
            self._take(run, batch)
        accelerator.synchronise(self._device)
        self._time(run, batch)

    def _batch(self, *, worst: bool) -> Any:
        batch = self._batches.make(self._request.batch_size, worst)
        self._batch_bytes = max(self._batch_bytes, count_bytes(batch))
        return accelerator.mover(self._device, pinned=False)(batch)

    def _take(self, run: step.Step, batch: Any) -> None:
        run(batch)
        self._steps += 1

    def _time(self, run: step.Step, batch: Any) -> None:
        """Time steps on a batch that is there already; the device is waited for at the end of each round only."""
        began, done, seconds = time.perf_counter(), 0, 0.0
        while done < MOST_TIMED and seconds < self._request.seconds:
            steps = ROUND if done else 1
            for _ in range(steps):
                self._take(run, batch)
            done += steps
            accelerator.synchronise(self._device)
            seconds = time.perf_counter() - began
        self._step_seconds = seconds / done

    def seen(self) -> StepMeasurement:
        """Return what was seen, whether or not it came to its end."""
        measured = StepMeasurement(
            steps=self._steps,
            step_seconds=self._step_seconds,
            evaluated=self._evaluated,
            batch_bytes=self._batch_bytes,
            resident_peak_bytes=of_status("VmHWM"),
            address_peak_bytes=of_status("VmPeak"),
            samples_looked_at=self._batches.looked_at,
            samples_vary=self._batches.vary,
        )
        return replace(measured, **of_device(self._device), **of_error(self.error))


def of_error(error: Exception | None) -> dict[str, Any]:
    """Return what is kept of what was raised; nothing where nothing was."""
    if error is None:
        return {}
    lines = "".join(traceback.format_exception(error)).splitlines()[-_TRACEBACK_LINES:]
    return {
        "error_type": as_utf8(type(error).__name__[:200]),
        "error_message": words_of(error),
        "error_traceback": as_utf8("\n".join(lines)[:4000]),
    }


def of_device(device: str) -> dict[str, Any]:
    """Return what the probe took of the device: torch's own, and what the driver's context takes beside it."""
    if device == "cpu":
        return {}
    try:
        free, total = torch.cuda.mem_get_info(device)
        now, peak = torch.cuda.memory_reserved(device), torch.cuda.max_memory_reserved(device)
        retries = int(torch.cuda.memory_stats(device).get("num_alloc_retries", 0))
    except RuntimeError:  # its context is lost
        return {}
    # Other processes are on the device too: what they take is as much in the way as what is ours.
    return {"device_peak_bytes": int(total - free - now + peak), "device_retries": retries}


def forget_peak() -> None:
    """Have the peak of resident memory count from now on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def of_status(name: str) -> int | None:
    """Return a size that the kernel keeps of this process; None where it does not."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
