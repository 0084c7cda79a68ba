"""What is to be seen when a loader has raised, before its workers are gone: read by the process that takes batches.

Which batch failed is known from the exception: its traceback leads to torch's iterator, and this knows which task it
was taking and which ones each worker still had.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from types import FrameType
from typing import Any

from torch._utils import ExceptionWrapper
from torch.utils.data import IterableDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from loadtune.measure import accelerator
from loadtune.measure.alone import Suspects
from loadtune.measure.batches import count_bytes
from loadtune.measure.consumer import Consumer
from loadtune.measure.stream import DataEndedError
from loadtune.measure.witness import FETCHING
from loadtune.record import shared_memory
from loadtune.record.failure import Aftermath, HandedOn, ProcessEnd
from loadtune.record.limits import read_process_limits
from loadtune.units import as_utf8, brief

_GRACE_SECONDS = 0.5
"""How long a worker whose pipe broke is given to be seen as ended: on a busy machine its end takes a while."""
_MOST_INDICES = 64
_MOST_CHARACTERS = 4000
_LONGEST_NAME = 200


def read(error: BaseException, iterator: Any, consumer: Consumer) -> tuple[Aftermath, Suspects | None]:
    """Return what is to be seen after ``error``, and the batches that may have caused it in a worker.

    Args:
        error: What the loader, or torch's look after its workers, raised.
        iterator: Torch's iterator, where the traceback does not lead to it; None where there is none.
        consumer: Who took the batches.
    """
    frames = list(_frames(error))
    iterator = next((one for frame in frames if (one := _iterator_of(frame)) is not None), iterator)
    handed_on = _handed_on(frames)
    grace = _GRACE_SECONDS if handed_on is None else 0.0  # a worker that could say what it raised goes on
    workers = () if isinstance(error, DataEndedError) else _ended_workers(iterator, grace)
    failed_at = _task_taken(iterator, frames) if handed_on is not None else None
    suspects = _suspects(iterator, workers, failed_at)
    free, total = accelerator.free_bytes(consumer.device) or (None, None)
    seen = Aftermath(
        workers=workers,
        batch_bytes=float(count_bytes(consumer.held)) if consumer.held is not None else None,
        shm_free_bytes=_shm_free_bytes(),
        open_files=_open_files(),
        open_files_limit=read_process_limits().open_files,
        device_free_bytes=free,
        device_total_bytes=total,
        handed_on=handed_on,
        is_loading=any(frame.f_code.co_filename.endswith(FETCHING) for frame in frames),
        sample=_sample(frames),
        batch=tuple(brief(index) for index in suspects.indices[:_MOST_INDICES]) if suspects else (),
    )
    return seen, suspects


def _ended_workers(iterator: Any, grace_seconds: float) -> tuple[ProcessEnd, ...]:
    """Return how the workers that ended by themselves did; the first of them may take so long to be seen as ended."""
    workers = list(getattr(iterator, "_workers", ()))
    ready = connection.wait([worker.sentinel for worker in workers], grace_seconds) if workers else []
    found: list[ProcessEnd] = []
    for number, worker in enumerate(workers):
        if worker.sentinel in ready:
            worker.join(_GRACE_SECONDS)  # its pipes are closed, which comes before its status
        code = worker.exitcode  # also of one whose pipe a child of its own holds open
        if code is not None:
            name = signal.Signals(-code).name if code < 0 else None
            found.append(ProcessEnd(worker=number, exit_code=code if code >= 0 else None, signal=name))
    return tuple(found)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames that an exception went through, the innermost first."""
    frames = []
    step = error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    yield from reversed(frames)


def _iterator_of(frame: FrameType) -> Any:
    one = frame.f_locals.get("self")
    # Of its type: an object that is only half made may raise whatever it likes when it is asked for an attribute.
    return one if issubclass(type(one), _BaseDataLoaderIter) else None


def _sample(frames: list[FrameType]) -> str | None:
    """Return the index of the sample that raised in this process, which torch's fetcher names ``idx``."""
    fetching = [frame.f_locals for frame in frames if frame.f_code.co_filename.endswith(FETCHING)]
    index = next((names["idx"] for names in fetching if "idx" in names), None)
    return brief(index) if index is not None else None


def _handed_on(frames: list[FrameType]) -> HandedOn | None:
    """Return what a worker raised, as torch wrapped it there.

    What it raises here is another exception, of the same type or not, whose own words may not be had any more.
    """
    for frame in frames:
        wrapper = frame.f_locals.get("self")
        if isinstance(wrapper, ExceptionWrapper) and "DataLoader worker process" in wrapper.where:
            name = wrapper.exc_type.__name__[:_LONGEST_NAME]
            said = as_utf8(wrapper.exc_msg[-_MOST_CHARACTERS:])
            return HandedOn(type_name=name, message=f"Caught {name} {wrapper.where}.\n{said}")
    return None


def _suspects(iterator: Any, workers: tuple[ProcessEnd, ...], failed_at: int | None) -> Suspects | None:
    """Return the batches of the workers that ended, else the one by its number whose exception torch has handed on."""
    tasks = getattr(iterator, "_task_info", None)
    given = getattr(getattr(iterator, "_index_sampler", None), "given", None)
    if tasks is None or given is None or isinstance(iterator._dataset, IterableDataset):  # noqa: SLF001
        return None
    if workers:
        ended = {end.worker for end in workers}
        numbers = sorted(number for number, task in tasks.items() if len(task) == 1 and task[0] in ended)
    elif failed_at is not None:
        numbers = [failed_at]
    else:
        return None
    try:
        batches = [given.batch(number) for number in numbers]
    except LookupError:
        return None
    return Suspects(
        dataset=iterator._dataset,  # noqa: SLF001
        collate=iterator._collate_fn,  # noqa: SLF001
        batches=batches,
        in_lists=bool(iterator._auto_collation),  # noqa: SLF001
    )


def _task_taken(iterator: Any, frames: list[FrameType]) -> int:
    """Return the number of the task that was taken last: the one before the next in order, unless order is free."""
    if not getattr(iterator, "_in_order", True):
        taking = (frame.f_locals for frame in frames if frame.f_code.co_name == "_next_data")
        found = next((names["idx"] for names in taking if isinstance(names.get("idx"), int)), None)
        if found is not None:
            return int(found)
    return int(iterator._rcvd_idx) - 1  # noqa: SLF001


def _shm_free_bytes() -> int | None:
    seen = shared_memory.read()
    return None if seen is None else seen.free_bytes


def _open_files() -> int | None:
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return None
