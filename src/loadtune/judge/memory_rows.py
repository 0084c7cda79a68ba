"""What the resident-memory model says in each row, beside what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge import memory
from loadtune.judge.evidence import by_group, group_of, measured
from loadtune.judge.feasible import Refusal
from loadtune.judge.growth import Survey, survey
from loadtune.judge.outlook import unmeasured_growth_bytes
from loadtune.judge.resident import Check, Footprint, Resident, check, resident
from loadtune.record.results import Environment, MemoryLimits, Model, Probe, TrialRecord, TrialResult
from loadtune.units import format_bytes

MARGIN = 0.10
"""A prediction must be over a limit by this share to speak against a configuration that was not measured."""
NEAR = 1 / 8
"""Share of the machine's memory that a trial must have taken before a larger one is held against it."""


def with_memory(
    rows: Sequence[TrialResult], model: Model, records: Sequence[TrialRecord], *, probe: Probe, limits: MemoryLimits
) -> tuple[tuple[TrialResult, ...], Model]:
    """Return the rows and the model with what memory is predicted; as they are where there is too little to fit.

    Each row that can run has its peak with a full queue, by a fit to the other configurations where it was measured
    itself, and what memory grows by until the end of an epoch on top. One that was not measured and is over a limit by
    more than ``MARGIN`` is marked so.
    """
    fitted, checked = resident(records, probe), check(records, probe)
    if fitted is None:
        return tuple(rows), model
    told = _Told(fitted, checked, records, survey(records, probe), limits)
    model = replace(
        model,
        memory_parameters=dict(fitted.parameters),
        memory_median_abs_error=checked.median_abs_error if checked else None,
        memory_p90_abs_error=checked.p90_abs_error if checked else None,
    )
    return tuple(told.on(row) for row in rows), model


class _Told:
    def __init__(
        self,
        fitted: Resident,
        checked: Check | None,
        records: Sequence[TrialRecord],
        grows: Survey,
        limits: MemoryLimits,
    ) -> None:
        self._fitted, self._grows, self._limits = fitted, grows, limits
        self._unseen = checked.unseen if checked else {}
        self._groups = by_group(records)

    def on(self, row: TrialResult) -> TrialResult:
        """Return the row with what is predicted for it."""
        group = group_of(row.config)
        if row.status == "refused" and row.failure_kind != "host_oom":
            return row
        found = self._unseen.get(group) or self._fitted.of(group)
        row = replace(
            row,
            predicted_host_peak_bytes=found.host_bytes + self._grows_by(row, group),
            predicted_shm_peak_bytes=found.shm_bytes,
            predicted_pinned_bytes=found.pinned_bytes,
            predicted_gpu_peak_bytes=found.device_bytes,
        )
        if row.within_limits is None and row.host_peak_bytes is None and exceeds(found, self._limits):
            return replace(row, within_limits=False)
        return row

    def _grows_by(self, row: TrialResult, group: LoaderConfig) -> int:
        """Return what is still to come in an epoch: of a measured row as it was seen, else as with those like it."""
        now = memory.full_queue_peak_bytes(measured(self._groups.get(group, ())))
        if now is not None and row.predicted_host_peak_bytes is not None:
            return max(0, row.predicted_host_peak_bytes - now)
        return unmeasured_growth_bytes(
            group,
            self._grows,
            probe=self._fitted.probe,
            seen_samples=self._fitted.usual_samples,
            batches_per_epoch=row.batches_per_epoch,
        )


def exceeds(found: Footprint, limits: MemoryLimits) -> bool:
    """Return whether predicted memory is over a limit by more than the model can be off."""
    host, device = limits.host_memory_bytes, limits.gpu_memory_bytes
    over_host = host is not None and found.host_bytes > host * (1 + MARGIN)
    return over_host or (device is not None and (found.device_bytes or 0) > device * (1 + MARGIN))


def overflow(
    config: LoaderConfig, records: Sequence[TrialRecord], *, probe: Probe, environment: Environment
) -> Refusal | None:
    """Return why a configuration is not tried, as it would be killed: by the memory of the trials so far.

    Only what the machine allows counts. Beyond a limit that was asked for nothing is killed.
    """
    limit = environment.host_memory_limit_bytes
    if (memory.host_peak_bytes(records) or 0) < NEAR * limit:
        return None
    fitted = resident(records, probe)
    if fitted is None or config in {record.config for record in records}:
        return None
    found = fitted.of(group_of(config))
    if not exceeds(found, MemoryLimits(host_memory_bytes=limit)):
        return None
    return Refusal(
        kind="host_oom",
        reason=f"by the memory of {len(measured(records))} trials it needs {format_bytes(found.host_bytes)} of host "
        f"memory with its queue full, and {format_bytes(limit)} is allowed ({environment.host_memory_limit_source})",
    )
