"""A first look at the data set, sample by sample in one process: the T and M of the document's models."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, default_collate
from torch.utils.data._utils.collate import default_convert

from loadtune.describe.workload import Workload
from loadtune.errors import TargetError
from loadtune.measure import accelerator, page_cache
from loadtune.measure.batches import count_bytes, count_samples, shared_tensors
from loadtune.measure.fetch import several
from loadtune.measure.stream import permutation
from loadtune.record.results import Probe
from loadtune.units import brief
from loadtune.workloads.source import Source

WARM_UP_SECONDS = 0.4
"""Untimed at the start: a fresh process pays for its first touch of every page, library and file."""
PROBE_SECONDS = 0.6
COLLATED_TOGETHER = 16
"""Samples collated at a time: enough that the cost a batch is not taken for a cost a sample."""


class SampleError(Exception):
    """A sample raised; the message is its index."""


def probe(source: Source, *, device: str, seed: int) -> Probe:
    """Return what one process sees of the data set in about a second.

    Raises:
        UsageError: ``device`` is not there.
        Exception: Whatever the data set raises for its first samples.
    """
    found = accelerator.find(device)
    timed = _time_samples(source, source.workload, seed) if source.workload is not None else None
    return Probe(
        name=source.name,
        dataset_kind=source.dataset_kind,  # type: ignore[arg-type]  # one of the three words by construction
        dataset_samples=source.samples,
        seconds_per_sample=timed and timed.seconds,
        cpu_seconds_per_sample=timed and timed.cpu_seconds,
        bytes_per_sample=timed and timed.size,
        sample_variation=timed and timed.variation,
        samples_probed=timed.samples if timed else 0,
        shared_bytes_per_sample=timed and timed.shared_size,
        tensors_per_batch=timed and timed.tensors[0],
        tensors_per_sample=timed.tensors[1] if timed else 0.0,
        default_start_method=multiprocessing.get_start_method(),
        baseline=source.baseline,
        baseline_is_given=source.baseline_is_given,
        batch_size_is_swept=not source.forms_batches,
        kept_arguments=source.kept_arguments,
        torch_version=str(torch.__version__),
        accelerator=found.name if found else None,
        accelerator_device=found.device if found else None,
        accelerator_uuid=found.uuid if found else None,
        accelerator_memory_bytes=found.memory_bytes if found else None,
        lists_files=source.workload is not None and lists_files(source.workload.dataset),
    )


def read_once(source: Source, seconds: float) -> tuple[int, int | None]:
    """Read the data set in order, untimed, for at most ``seconds``: its files are noted, and are cached then.

    Returns:
        Samples read, and the bytes of ``Probe.pass_read_bytes``.
    """
    if source.workload is None:
        return 0, None
    deadline = time.perf_counter() + seconds
    read, before = 0, None
    for read, _ in enumerate(_in_order(source.workload), start=1):
        if read == 1:
            before = page_cache.bytes_read()  # the first sample imports code too
        if time.perf_counter() > deadline:
            break
    after = page_cache.bytes_read()
    return read, after - before if after is not None and before is not None else None


def lists_files(dataset: Any, deepest: int = 4) -> bool:
    """Return whether a data set, or the one that it wraps, has a list of paths of files, alone or in tuples."""
    values = getattr(dataset, "__dict__", {})
    inner = values.get("dataset")
    if any(_is_list_of_files(value) for value in values.values()):
        return True
    return inner is not None and deepest > 0 and lists_files(inner, deepest - 1)


def _is_list_of_files(value: Any) -> bool:
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) < 2:  # noqa: PLR2004 - one path is no list
        return False
    first = value[0]
    parts = first if isinstance(first, (list, tuple)) else (first,)
    # A text is no path, and may be too long for one: os.path.isfile takes that for a no.
    return any(isinstance(part, (str, os.PathLike)) and os.path.isfile(part) for part in parts)  # noqa: PTH113


def _time_samples(source: Source, workload: Workload, seed: int) -> _Samples:
    together = 1
    drawn = _drawn(workload, seed, lambda: together)
    own_batches = source.items_are_batches
    at_once = None if own_batches or source.dataset_kind == "iterable" else several(workload.dataset)
    fetch = partial(_together, at_once) if at_once else partial(_one_by_one, workload.dataset)
    collate = workload.collate_fn or (default_convert if own_batches else default_collate)
    timed: list[_Timed] = []
    pair: list[Any] = []
    warm, passed = 0, 0.0
    while passed < WARM_UP_SECONDS + PROBE_SECONDS:
        wall_start, cpu_start = time.perf_counter(), time.thread_time()
        some = next(drawn, None)
        if not some:
            break
        taken = fetch(some)
        batch = collate(taken[0] if own_batches else taken)
        wall, cpu = time.perf_counter() - wall_start, time.thread_time() - cpu_start
        samples = count_samples(batch, None) if own_batches else len(some)
        shared = shared_tensors(batch)[1]
        timed.append(_Timed(wall=wall, cpu=cpu, size=count_bytes(batch), shared=shared, samples=samples))
        pair = [*pair, *(some if at_once else taken)][-2:]
        passed += wall
        # Slow samples are taken one by one, so that looking at the clock is never put off for long.
        cheap = wall / len(some) < PROBE_SECONDS / 20 / COLLATED_TOGETHER
        together = COLLATED_TOGETHER if cheap and not own_batches else 1
        warm = len(timed) if passed < WARM_UP_SECONDS else warm
    if not timed:
        raise TargetError(f"the data set of '{source.name}' is empty: it gave no sample")
    kept = timed[warm:] or timed[-1:]
    count = sum(one.samples for one in kept)
    wall, cpu = sum(one.wall for one in kept), sum(one.cpu for one in kept)
    return _Samples(
        seconds=wall / count,
        cpu_seconds=cpu / count,
        size=sum(one.size for one in kept) / count,
        shared_size=sum(one.shared for one in kept) / count,
        samples=count,
        # What one call gives for two samples may be columns: no two of what it gives for one.
        tensors=_count_tensors(
            (lambda few: collate(fetch(few))) if at_once else collate, pair, own_batches=own_batches
        ),
        variation=_variation(kept),
    )


def _variation(timed: Sequence[_Timed]) -> float | None:
    """Return the squared coefficient of variation of one sample's time, from times of several together."""
    mean = sum(one.wall for one in timed) / sum(one.samples for one in timed)
    if len(timed) < 2 or mean <= 0:  # noqa: PLR2004 - a spread needs two
        return None
    squares = sum((one.wall - one.samples * mean) ** 2 / one.samples for one in timed)
    return squares / (len(timed) - 1) / mean**2


def _count_tensors(collate: Callable[[Any], Any], pair: list[Any], *, own_batches: bool) -> tuple[float, float]:
    """Return the tensors of a batch of any size, and how many more each sample brings; from one sample and two."""
    if own_batches or len(pair) < 2:  # noqa: PLR2004 - a pair
        return float(shared_tensors(collate(pair[-1] if own_batches else pair))[0]), 0.0
    one, two = (shared_tensors(collate(pair[:count]))[0] for count in (1, 2))
    return float(max(0, 2 * one - two)), float(max(0, two - one))


class _Samples(NamedTuple):
    """What a sample costs."""

    seconds: float
    cpu_seconds: float
    size: float
    """Bytes."""
    shared_size: float
    """Of them, in tensors."""
    samples: int
    """How many it comes from."""
    tensors: tuple[float, float]
    """In a batch of any size, and more for each sample."""
    variation: float | None
    """Of the time of one, as ``Probe.sample_variation``."""


class _Timed(NamedTuple):
    """A few samples fetched and collated together."""

    wall: float
    cpu: float
    size: int
    shared: int
    samples: int


def _drawn(workload: Workload, seed: int, together: Callable[[], int]) -> Iterator[list[Any]]:
    """Yield a few indices at a time as an epoch would draw them; of an iterable data set, the samples themselves."""
    dataset = workload.dataset
    if isinstance(dataset, IterableDataset):
        drawn: Any = iter(dataset)
    elif workload.sampler is not None:
        drawn = iter(workload.sampler)
    elif workload.batch_sampler is not None:
        drawn = itertools.chain.from_iterable(workload.batch_sampler)
    else:
        drawn = itertools.chain.from_iterable(permutation(len(dataset), seed + turn) for turn in range(1000))
    yield from iter(lambda: list(itertools.islice(drawn, together())), [])


def _one_by_one(dataset: Any, some: list[Any]) -> list[Any]:
    """Return the samples of some indices; those of an iterable data set are there already.

    Raises:
        SampleError: One of them raised; the index is in the message, what was raised is the cause.
    """
    if isinstance(dataset, IterableDataset):
        return some
    return [_named(lambda index: dataset[index], index) for index in some]


def _together(at_once: Callable[[list[Any]], Any], indices: list[Any]) -> Any:
    """Return what one call gives for some indices: samples, or all of them in columns.

    Raises:
        SampleError: One of them raised alone, too; the index is in the message, what was raised is the cause.
        Exception: What the call raised, where none does so alone.
    """
    try:
        return at_once(indices)
    except Exception:
        for index in indices:
            _named(lambda some: at_once([some]), index)
        raise


def _in_order(workload: Workload) -> Iterator[Any]:
    if isinstance(workload.dataset, IterableDataset):
        yield from workload.dataset
    else:
        yield from (_named(lambda index: workload.dataset[index], index) for index in range(len(workload.dataset)))


def _named(fetch: Callable[[Any], Any], index: Any) -> Any:
    """Return what ``fetch`` gives for an index.

    Raises:
        SampleError: It raised; the index is in the message, what was raised is the cause.
    """
    try:
        return fetch(index)
    except Exception as error:
        raise SampleError(brief(index)) from error
