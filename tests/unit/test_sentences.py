"""What is said of a run below its pick, and in its last line."""

from __future__ import annotations

from dataclasses import replace

from factories import make_result
from loadtune.record.results import Finding, RunResult
from loadtune.show import summary

LATE = Finding(code="LT025", severity="warning", message="late", advice="keep", numbers={"share": 0.53})


def with_slow_epochs(result: RunResult) -> RunResult:
    """Return the result with epochs at half the steady rate, so that they are worth a sentence."""
    rows = (replace(row, epoch_samples_per_second=(row.samples_per_second or 0.0) / 2) for row in result.trials)
    return replace(result, trials=tuple(rows))


def test_another_batch_size_is_said_to_change_training() -> None:
    """The pick has batch 256 where the baseline has 64: the learning rate is named, and how to stay with 64."""
    assert summary.training_sentence(make_result()) == (
        "Batch 256 in place of 64 changes training, not loading alone: the learning rate has to be looked at again. "
        "--batch-size 64 finds the best settings with 64."
    )


def test_the_same_batch_size_needs_no_word_on_training() -> None:
    """Where pick and baseline have one batch size, and where there is no pick, nothing is said of training."""
    result = make_result()
    assert summary.training_sentence(replace(result, baseline=result.best)) is None
    assert summary.training_sentence(replace(result, best=None)) is None


def test_what_the_start_of_workers_takes_stands_beside_the_epoch() -> None:
    """Where LT025 tells of a late start, the sentence on the epoch names its share and what would spare it."""
    late = replace(with_slow_epochs(make_result()), findings=(LATE,))
    assert summary.start_sentence(late) == (
        "Workers that start anew take 53 % of an epoch; persistent_workers=True, which was not measured, spares that "
        "from the second one on (LT025)."
    )
    assert summary.start_sentence(late) in summary.verdict_sentences(late)
    assert summary.start_sentence(replace(late, findings=())) is None
    assert summary.start_sentence(make_result(findings=(LATE,))) is None


def test_workers_that_were_kept_in_a_trial_are_not_said_to_be_unmeasured() -> None:
    """With persistent workers among the rows the sentence does not call them not measured."""
    late = replace(with_slow_epochs(make_result()), findings=(LATE,))
    rows = (*late.trials, replace(late.trials[-1], config_id="kept", persistent_workers=True))
    assert "persistent_workers=True spares" in (summary.start_sentence(replace(late, trials=rows)) or "")


def test_the_last_line_says_which_rows_share_their_trials() -> None:
    """Rows with and without drop_last are counted as pairs, all of them or those that are; none where none are."""
    result = make_result()
    plain = tuple(row for row in result.trials if not row.drop_last)
    alone = replace(plain[0], config_id="alone", batch_size=7)
    both = (plain[1], replace(plain[1], config_id="both", drop_last=True))

    def line(*rows: object) -> str:
        return summary.cost_sentence(replace(result, trials=rows)).partition("; ")[2]  # type: ignore[arg-type]

    assert line(*both) == "2 configurations (in pairs that share their trials, with and without drop_last)."
    assert line(alone, *both).startswith("3 configurations (2 of them in pairs that share their trials")
    assert line(alone) == "1 configuration."


def test_a_gain_that_fresh_trials_do_not_confirm_is_a_guess() -> None:
    """A gain beyond the noise is told only where pick and baseline were both measured again."""
    result = make_result()
    assert summary.standing(result) == "guess"
    again = tuple(replace(row, measured_again=True) for row in result.trials)
    assert summary.standing(replace(result, trials=again)) == "told"
