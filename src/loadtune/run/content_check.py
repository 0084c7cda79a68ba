"""The check of the contents as the trial host has it made: in a child of its own, bounded, and never a reason to fail.

Part of the trial host: the process that asks it may import torch.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from loadtune.measure import page_cache, witness
from loadtune.record.contents import Contents
from loadtune.run.protocol import Setup

if TYPE_CHECKING:
    from loadtune.measure.open_files import OpenFile
    from loadtune.record.results import Probe
    from loadtune.workloads.source import Source

WITHIN_SECONDS = 12.0
"""After this the check is killed; what it bounds itself takes a part of it."""


def with_contents(probe: Probe, source: Source, setup: Setup, files: Sequence[OpenFile]) -> Probe:
    """Return the probe with what the check of the contents found, and with the length of the data set as it really is.

    Args:
        probe: What one process saw.
        source: What trials load from.
        setup: Names the numbers of workers; with none nothing is checked.
        files: Opened while the data set was built, and still open.
    """
    if not setup.worker_counts:
        return probe
    if probe.isolation != "fork":
        return replace(probe, contents=Contents(skipped="a process that holds the data set cannot be forked safely"))
    contents = _checked(probe, source, setup, files)
    length = contents.length
    if length is None:
        return replace(probe, contents=contents)
    return replace(probe, contents=contents, dataset_samples=length.seen if length.ended else None)


def _checked(probe: Probe, source: Source, setup: Setup, files: Sequence[OpenFile]) -> Contents:
    from loadtune.measure.aside import AsideError, aside  # noqa: PLC0415 - only where it is asked for

    check = partial(_check, probe, source, setup, tuple(files))
    try:
        contents: Contents = aside(check, within_seconds=WITHIN_SECONDS)
    except AsideError as error:
        return Contents(skipped=str(error))
    return contents


def _check(probe: Probe, source: Source, setup: Setup, files: Sequence[OpenFile]) -> Contents:
    from loadtune.measure.contents import check  # noqa: PLC0415 - only where it is asked for

    page_cache.begin(setup.notes)
    witness.begin(setup.scratch)  # by its note the files of a worker that is killed are known, and go
    methods = {method or multiprocessing.get_start_method() for method in setup.start_methods}
    counts = {*setup.worker_counts, source.baseline.num_workers}
    return check(source, probe, counts=counts, files=files, forks="fork" in methods, seed=setup.seed)
