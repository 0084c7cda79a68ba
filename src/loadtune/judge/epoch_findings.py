"""What findings say of an epoch of the choice beside its steady rate: its start, its end, the hand-over of batches."""

from __future__ import annotations

from loadtune.judge.case import Case
from loadtune.judge.epoch import EpochParts, parts_of, start_seconds, tail_seconds
from loadtune.judge.reasons import counted
from loadtune.record.results import Finding, TrialResult
from loadtune.units import format_bytes, format_decimal, format_seconds, format_share

TELLING = 0.1
"""Share of an epoch from which its start or its end is worth a word."""
MOST_OF_IT = 0.5
"""Of an epoch: from this share on its start is a warning."""


def start_up(case: Case) -> Finding | None:
    """Return LT025 where much of an epoch passes before the first batch, beyond the loading of it."""
    row, parts = _of_the_choice(case)
    start = start_seconds(row) if row is not None else None
    if row is None or parts is None or start is None or row.persistent_workers or start < TELLING * parts.whole:
        return None
    share, epoch = start / parts.whole, format_seconds(parts.whole)
    anew = f": {counted(row.num_workers, 'worker')} of the choice start anew in each" if row.num_workers else ""
    advice = (
        "keep them between epochs with persistent_workers=True: --persistent-workers off,on measures what it gives"
        if row.num_workers
        else "open what the first sample opens when the data set is built"
    )
    return Finding(
        code="LT025",
        severity="warning" if share >= MOST_OF_IT else "info",
        message=f"{format_seconds(start)} of an epoch of {epoch} ({format_share(share, 0)}) pass before the loading of "
        f"its first batches begins{anew}",
        advice=advice,
        numbers={"start_seconds": start, "first_batch_seconds": parts.first}
        | {"epoch_seconds": parts.whole, "share": share},
    )


def tail(case: Case) -> Finding | None:
    """Return LT026 where much of an epoch is its end, when workers have nothing more to load."""
    row, parts = _of_the_choice(case)
    lost = tail_seconds(row) if row is not None else None
    if row is None or parts is None or lost is None or lost < TELLING * parts.whole:
        return None
    share, batches = lost / parts.whole, row.batches_per_epoch or 0
    return Finding(
        code="LT026",
        severity="info",
        message=f"{format_seconds(lost)} of an epoch of {format_seconds(parts.whole)} ({format_share(share, 0)}) "
        f"are its end, where workers run dry: {counted(batches, 'batch', 'batches')} are "
        f"{format_decimal(batches / row.num_workers)} rounds of {counted(row.num_workers, 'worker')}",
        advice="smaller batches or fewer workers leave less of the last round unused; a sampler that goes on over "
        "several passes has one end in place of many",
        numbers={"tail_seconds": lost, "epoch_seconds": parts.whole, "share": share, "batches": float(batches)},
    )


def _of_the_choice(case: Case) -> tuple[TrialResult | None, EpochParts | None]:
    row = case.row(case.choice.chosen)
    return row, parts_of(row) if row is not None else None


def hand_over(case: Case) -> Finding | None:
    """Return LT027 where taking batches off the queue bounds the rate of the choice, by the pipeline model."""
    row, probe = case.row(case.choice.chosen), case.probe
    if row is None or not row.num_workers or case.model.pick_bounded_by != "main process":
        return None
    tensors = (probe.tensors_per_batch or 0.0) + probe.tensors_per_sample * (row.batch_size or 0)
    many = counted(round(tensors), "tensor")
    size = f", {format_bytes(row.bytes_per_batch)}" if row.bytes_per_batch else ""
    return Finding(
        code="LT027",
        severity="info",
        message=f"the hand-over bounds the rate: the main process takes each batch ({many}{size}) off the queue by "
        "itself, one after another, and further workers wait for it",
        advice="pack a batch into few tensors in collate_fn, and send samples as bytes to be decoded later where they "
        "are small then; a larger batch shares the cost of one hand-over",
        numbers={"tensors_per_batch": tensors, "bytes_per_batch": row.bytes_per_batch or 0.0},
    )
