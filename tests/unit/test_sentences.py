"""What is said of a run below its pick, and in its last line."""

from __future__ import annotations

from dataclasses import replace

from factories import make_probe, make_result
from loadtune.record.results import Finding, RunResult
from loadtune.show import summary

LATE = Finding(code="LT025", severity="warning", message="late", advice="keep", numbers={"share": 0.53})


def with_slow_epochs(result: RunResult) -> RunResult:
    """Return the result with epochs at half the steady rate, so that they are worth a sentence."""
    rows = (replace(row, epoch_samples_per_second=(row.samples_per_second or 0.0) / 2) for row in result.trials)
    return replace(result, trials=tuple(rows))


def test_another_batch_size_than_the_users_is_said_to_change_training() -> None:
    """The pick has batch 256 where the loader given has 64: the learning rate is named, and how to stay with 64."""
    given = make_result(probe=make_probe(baseline_is_given=True))
    assert summary.training_sentence(given) == (
        "Batch 256 in place of your 64 changes training, not loading alone: the learning rate has to be looked at "
        "again. --batch-size 64 finds the best settings for 64."
    )


def test_where_no_batch_size_was_given_none_is_called_the_users() -> None:
    """The baseline's 64 is the article's: the sentence says how to find the settings for one's own batch size."""
    assert summary.training_sentence(make_result()) == (
        "The batch size is part of training, not of loading alone: where yours is not 256, --batch-size with yours "
        "finds the best settings for it."
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
        "from the second one on, and another configuration may be the best then (LT025)."
    )
    assert summary.start_sentence(late) in summary.verdict_sentences(late)
    assert summary.start_sentence(replace(late, findings=())) is None
    assert summary.start_sentence(make_result(findings=(LATE,))) is None


def test_only_workers_that_were_kept_in_a_trial_count_as_measured() -> None:
    """A measured row of persistent workers is not called not measured; a refused one does not count."""
    late = replace(with_slow_epochs(make_result()), findings=(LATE,))
    ran = replace(late.trials[0], config_id="kept", num_workers=2, persistent_workers=True)
    told = summary.start_sentence(replace(late, trials=(*late.trials, ran)))
    assert "persistent_workers=True spares" in (told or "")
    refused = replace(ran, status="refused", samples_per_second=None)
    told = summary.start_sentence(replace(late, trials=(*late.trials, refused)))
    assert "which was not measured" in (told or "")


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


def test_a_gain_that_fresh_trials_do_not_confirm_is_not_told() -> None:
    """A gain beyond the noise is told only where pick and baseline were both measured again."""
    result = make_result()
    assert summary.standing(result) == "unconfirmed"
    assert "too few fresh trials of both" in (summary.gain_sentence(result) or "")
    again = tuple(replace(row, measured_again=True) for row in result.trials)
    assert summary.standing(replace(result, trials=again)) == "told"
    assert result.best is not None
    but_one = tuple(replace(row, measured_again=row.config_id != result.best.config_id) for row in again)
    assert "too few fresh trials of the pick;" in (summary.gain_sentence(replace(result, trials=but_one)) or "")
