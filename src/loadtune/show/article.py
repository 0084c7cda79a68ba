"""The article's three models for one configuration, beside what is so here."""

from __future__ import annotations

from dataclasses import dataclass

from loadtune.judge.memory import needed_bytes
from loadtune.judge.reasons import counted
from loadtune.record.results import RunResult, TrialResult
from loadtune.show.epochs import epoch_words
from loadtune.show.words import worker_words
from loadtune.units import format_bytes, format_count, format_decimal, format_seconds, format_share

HEADING = "The article's models: batches N/B, time K·B·T, bytes K·B·M"
"""Of the table; the next sentence says what they are."""
EXPLANATION = (
    "N samples, B in a batch, K batches in an epoch, T and M the time and the bytes of one sample as measured here. "
    "K·B·T is the work of an epoch in series and K·B·M what passes through memory in it, not what is in use."
)
"""What the symbols mean, for whoever has not read the article on DataLoader that they come from."""

POSSIBLE_SHARE = 1.1
"""Of K·B·T/W, at most: workers cannot do more than share the work perfectly; a tenth is left to the noise of T."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One of the document's three models for one configuration, beside what is so here."""

    name: str
    """The model: ``batches N/B``, ``time KBT``, ``bytes KBM``."""
    stated: str
    """What the model gives, with its figures."""
    here: str
    """What is so on this machine: counted, measured, or put together."""


def document_rows(result: RunResult, trial: TrialResult) -> tuple[ModelRow, ...]:
    """Return the document's N/B, KBT and KBM for one configuration, with T and M measured, beside what is so here."""
    if trial.batch_size is None or trial.batches_per_epoch is None:
        return ()
    rows = (_batches_row(result, trial), _time_row(result, trial), _bytes_row(result, trial))
    return tuple(row for row in rows if row is not None)


def doubt(share: float) -> str:
    """Return what follows for T where more than perfect sharing was seen; else nothing.

    Args:
        share: KBT / (W · epoch time).
    """
    if share <= POSSIBLE_SHARE:
        return ""
    return "more than perfect sharing cannot be: T, from one short look in the main process, came out too high"


def _batches_row(result: RunResult, trial: TrialResult) -> ModelRow | None:
    samples, batch = result.probe.dataset_samples, trial.batch_size
    if samples is None or batch is None or trial.batches_per_epoch is None:
        return None
    batches = counted(trial.batches_per_epoch, "batch", "batches")
    last = samples % batch
    if last == 0:
        here = f"{batches}, {'a full one' if trial.batches_per_epoch == 1 else 'all of them full'}"
    elif trial.drop_last:
        here = f"{batches}; {counted(last, 'sample')} {'is' if last == 1 else 'are'} left out"
    elif trial.batches_per_epoch == 1:
        here = f"{batches}, of {counted(last, 'sample')}"
    else:
        here = f"{batches}, the last of {counted(last, 'sample')}"
    return ModelRow(
        name="batches N/B",
        stated=f"{format_count(samples)} / {format_count(batch)} = {format_decimal(samples / batch, 1 if last else 0)}",
        here=here,
    )


def _time_row(result: RunResult, trial: TrialResult) -> ModelRow | None:
    if trial.kbt_epoch_seconds is None:
        return None
    here = "the time of an epoch is not known"
    if trial.epoch_seconds:
        takes = f"an epoch takes {epoch_words(trial)}"
        here = f"{takes} in the main process"
        efficiency = trial.kbt_epoch_seconds / (max(1, trial.num_workers) * trial.epoch_seconds)
        if trial.num_workers:
            here = f"{takes}: {worker_words(trial.num_workers)} at {format_share(efficiency, 0)} of KBT/W"
        elif efficiency:
            here += f", {format_share(1 / efficiency, 0)} of KBT"
        here = "; ".join(filter(None, (here, doubt(efficiency))))
    product = _product(trial, format_seconds(result.probe.seconds_per_sample))
    return ModelRow(
        name="time KBT",
        stated=f"{product} = {format_seconds(trial.kbt_epoch_seconds)} of work in series",
        here=here,
    )


def _bytes_row(result: RunResult, trial: TrialResult) -> ModelRow | None:
    if trial.kbm_epoch_bytes is None:
        return None
    here = f"{format_bytes(needed_bytes(trial))} in use at the peak"
    if trial.bytes_per_batch is not None:
        ahead = trial.config.batches_in_flight
        verb = "is" if ahead == 1 else "are"
        here += f"; a batch is {format_bytes(trial.bytes_per_batch)}, {format_count(ahead)} {verb} loaded ahead"
    product = _product(trial, format_bytes(result.probe.bytes_per_sample))
    return ModelRow(
        name="bytes KBM",
        stated=f"{product} = {format_bytes(trial.kbm_epoch_bytes)} pass through in an epoch",
        here=here,
    )


def _product(trial: TrialResult, each: str) -> str:
    return f"{format_count(trial.batches_per_epoch)} × {format_count(trial.batch_size)} × {each}"
