"""What the pipeline model says, in words and cells for every output."""

from __future__ import annotations

from loadtune.record.results import RunResult, TrialResult
from loadtune.units import format_bytes, format_estimate, format_share


def model_sentence(result: RunResult) -> str | None:
    """Return how far the pipeline model is off and what bounds the pick, or why it says nothing; None without one."""
    model = result.model
    if model.note is not None:
        return f"The pipeline model predicts nothing here: {model.note}."
    if model.median_abs_error is None:
        return None
    most = f" ({format_share(model.p90_abs_error)} for nine of ten)" if model.p90_abs_error is not None else ""
    bound = (
        f"; what bounds the pick: the {model.pick_bounded_by}" if model.pick_bounded_by else _off_at_the_pick(result)
    )
    return (
        "The pipeline model predicts the measured steady rates, each from the others, within "
        f"{format_share(model.median_abs_error)} in the median{most}{bound}."
    )


def _off_at_the_pick(result: RunResult) -> str:
    """Return by how much the pick is faster or slower than predicted, which is why nothing is said to bound it."""
    row = result.trial(result.best.config_id) if result.best is not None else None
    if row is None or not row.samples_per_second or not row.predicted_samples_per_second:
        return ""
    off = row.samples_per_second / row.predicted_samples_per_second - 1
    words = f"{format_share(abs(off), 0)} {'faster' if off > 0 else 'slower'}"
    return f"; the pick is {words} than predicted, so what bounds it is not known"


def memory_model_sentence(result: RunResult) -> str | None:
    """Return how far predicted host memory is off; None where none was checked."""
    model = result.model
    if model.memory_median_abs_error is None:
        return None
    most = f" ({format_share(model.memory_p90_abs_error)} for nine of ten)" if model.memory_p90_abs_error else ""
    return (
        "The memory model predicts the measured host memory, each from the others, within "
        f"{format_share(model.memory_median_abs_error)} in the median{most}."
    )


def model_sentences(result: RunResult) -> tuple[str, ...]:
    """Return what the models say of themselves; nothing where there is no pick that they could speak for."""
    if result.best is None:
        return ()
    return tuple(filter(None, (model_sentence(result), memory_model_sentence(result))))


def predicted_memory(trial: TrialResult) -> str:
    """Return the host memory that an epoch is expected to come to with a full queue, or a dash."""
    return format_bytes(trial.predicted_host_peak_bytes)


def predicted_rate(trial: TrialResult) -> str:
    """Return ``3,032 ± 33``, or a dash where nothing is predicted."""
    if trial.predicted_samples_per_second is None:
        return "–"
    return format_estimate(
        trial.predicted_samples_per_second,
        trial.predicted_samples_per_second_low,
        trial.predicted_samples_per_second_high,
        unit="",
    )
