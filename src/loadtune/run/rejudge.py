"""A kept run judged once more, under other limits: nothing is measured again."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from loadtune.describe.plan import Limits
from loadtune.errors import NothingFitsError, UsageError
from loadtune.record.environment import resolve_limits
from loadtune.record.results import RunResult
from loadtune.record.store import KeptRun
from loadtune.run.resume import so_far
from loadtune.run.sweep import conclude

_OF_TIME = ("LT004", "LT012")
"""Findings that ask for more of the time budget: what other limits leave unmeasured is no matter of time."""


def rejudged(kept: KeptRun, wanted: Limits) -> RunResult:
    """Return what the trials of a run say under the limits ``wanted``; those left None stay the run's own.

    Raises:
        UsageError: A limit of device memory, and the run used no device; one of batches that are not of a sweep's size.
        NothingFitsError: No batch size of the run is that small.
    """
    if wanted == Limits():
        return kept.result if kept.result is not None else so_far(kept)
    header = kept.header
    given = {name: value for name in Limits.__dataclass_fields__ if (value := getattr(wanted, name)) is not None}
    limits = replace(header.plan.limits, **given)
    resolved = resolve_limits(
        limits,
        environment=header.environment,
        accelerator_memory_bytes=header.probe.accelerator_memory_bytes,
        batch_size_is_swept=header.probe.batch_size_is_swept,
    )
    header = msgspec.structs.replace(header, plan=replace(header.plan, limits=limits), limits=resolved)
    try:
        result = conclude(header, kept.journal.records, elapsed_seconds=kept.spent_seconds, finished=kept.finished)
    except UsageError as error:  # the run fitted itself before
        raise NothingFitsError(str(error)) from error
    return replace(result, findings=tuple(one for one in result.findings if one.code not in _OF_TIME))
