"""When a sweep that ran to its end is still not a success."""

from __future__ import annotations

from loadtune.errors import LoadtuneError, NothingFitsError, TargetError, TooNoisyError, UsageError
from loadtune.judge.lack import lack
from loadtune.judge.reasons import label
from loadtune.record.results import Pick, RunResult
from loadtune.show.summary import limit_sentences
from loadtune.units import format_half_width

NO_STEADY_STATE = "LT003"
"""The finding that the choice, the fastest or the baseline never became steady, so that no ratio of theirs holds."""


def complain(result: RunResult, *, strict: bool) -> None:
    """Raise what is wrong with the result, if anything is.

    Raises:
        NothingFitsError: What was measured is over a limit, or failed for want of memory.
        TargetError: All that was asked for failed, and not for want of memory.
        UsageError: The time was over before anything that was asked for was measured.
        TooNoisyError: ``strict``, and the choice is less precise than asked for, or has no steady state.
    """
    if result.best is None:
        raise _nothing(result)
    if strict:
        _check_noise(result, result.best)


def _nothing(result: RunResult) -> LoadtuneError:
    missing = lack(result.trials, result.plan, result.probe)
    if missing.cause == "time":
        return UsageError(missing.sentence, hint="give it more time with --time-budget")
    if missing.cause == "failed":
        return TargetError(missing.sentence)
    return NothingFitsError(missing.sentence, hint=" ".join(limit_sentences(result)) or None)


def _check_noise(result: RunResult, best: Pick) -> None:
    rate, asked = best.samples_per_second, result.plan.measurement.precision
    half_width = max(rate.high - rate.estimate, rate.estimate - rate.low) / rate.estimate
    # Not `>`: an interval that is not a number is no precise one.
    if not half_width <= asked:
        raise TooNoisyError(
            f"the rate of {label(best.config)} is {format_half_width(half_width)} where "
            f"{format_half_width(asked)} was asked for with --strict",
            hint="give it a longer --time-budget, a quieter machine or a wider --precision",
        )
    unsteady = next((finding for finding in result.findings if finding.code == NO_STEADY_STATE), None)
    if unsteady is not None:
        raise TooNoisyError(f"{unsteady.message}, and --strict asks for one", hint=unsteady.advice)
