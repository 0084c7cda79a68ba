"""What the pipeline model says, in words and cells for every output."""

from __future__ import annotations

from loadtune.record.results import RunResult, TrialResult
from loadtune.units import format_estimate, format_share


def model_sentence(result: RunResult) -> str | None:
    """Return how far the pipeline model is off and what bounds the pick, or why it says nothing; None without one."""
    model = result.model
    if model.note is not None:
        return f"The pipeline model predicts nothing here: {model.note}."
    if model.median_abs_error is None:
        return None
    most = f" ({format_share(model.p90_abs_error)} for nine of ten)" if model.p90_abs_error is not None else ""
    bound = f"; what bounds the pick: the {model.pick_bounded_by}" if model.pick_bounded_by else ""
    return (
        "The pipeline model predicts the measured rates, each from the others, within "
        f"{format_share(model.median_abs_error)} in the median{most}{bound}."
    )


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
