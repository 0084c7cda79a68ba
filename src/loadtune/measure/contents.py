"""The check of the contents: are samples delivered twice, are they what one process loads, which files are shared?"""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace

from torch.utils.data import IterableDataset

from loadtune.describe.workload import Workload
from loadtune.measure import checksums, deliveries
from loadtune.measure.open_files import OpenFile, offset
from loadtune.record.contents import Contents, SharedFile
from loadtune.record.results import Probe
from loadtune.units import as_utf8
from loadtune.workloads.source import Source

MOST_FILES = 50
"""So many are named."""
LONGEST_TEXT = 300
"""Characters that are kept of an error's message."""


def check(
    source: Source, probe: Probe, *, counts: Collection[int], files: Sequence[OpenFile], forks: bool, seed: int
) -> Contents:
    """Return what was seen of the samples themselves. Runs in a process of its own, which ends with it.

    Args:
        source: What trials load from.
        probe: What one process saw of it.
        counts: Numbers of workers that will be tried.
        files: Opened while the data set was built, and still open.
        forks: Whether any workers will be forked, and so share these files.
        seed: Of what is random.
    """
    began = time.perf_counter()
    warnings.simplefilter("ignore")  # the trials give the same warnings
    inherited = files if forks and max(counts, default=0) > 0 else ()
    before = [offset(file) for file in inherited]
    found = _compared(source, probe, counts, inherited, forks=forks, seed=seed)
    moved = [offset(file) != was for file, was in zip(inherited, before, strict=True)]
    shared = [SharedFile(path=_text(file.path), moved=one) for file, one in zip(inherited, moved, strict=True)]
    shared.sort(key=lambda file: not file.moved)
    return replace(
        found,
        shared_files=tuple(shared[:MOST_FILES]),
        shared_file_count=len(shared),
        seconds=time.perf_counter() - began,
    )


def _text(text: str) -> str:
    """Return text that can be sent on: a path may hold bytes that are none."""
    return " ".join(as_utf8(text).split())[:LONGEST_TEXT]


def _compared(
    source: Source, probe: Probe, counts: Collection[int], files: Sequence[OpenFile], *, forks: bool, seed: int
) -> Contents:
    workload, seconds = source.workload, probe.seconds_per_sample
    if workload is None or not seconds:
        return Contents(skipped="the loader is built by a function of a configuration")
    try:
        if isinstance(workload.dataset, IterableDataset):
            return _of_iterable(workload, source.samples, counts, seconds, seed)
        if not forks:
            return Contents(skipped="no workers are forked")
        return _of_map(workload, files, counts, seconds, seed)
    except checksums.ChangingError:
        return Contents(skipped="one process loads other samples each time, under equal seeds too")
    except Exception as error:  # noqa: BLE001 - the trials meet it too, and say so in their rows
        return Contents(skipped=_text(f"loading them raised {type(error).__name__}: {error}"))


def _of_iterable(
    workload: Workload, claimed: int | None, counts: Collection[int], seconds: float, seed: int
) -> Contents:
    found = deliveries.look(workload, counts=counts, claimed=claimed, seconds_per_sample=seconds, seed=seed)
    return Contents(deliveries=found.deliveries, length=found.length, alike_under_equal_seeds=found.alike)


def _of_map(
    workload: Workload, files: Sequence[OpenFile], counts: Collection[int], seconds: float, seed: int
) -> Contents:
    if max(counts, default=0) < checksums.WORKERS:
        return Contents(skipped="no two workers are tried")
    if seconds > checksums.SLOWEST_SAMPLE_SECONDS:
        return Contents(skipped=f"a sample takes {seconds:.2g} s")
    return Contents(checksums=checksums.compare(workload, files, seconds_per_sample=seconds, seed=seed))
