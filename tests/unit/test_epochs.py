"""An epoch in words: its digits, and whether it was run whole or put together."""

from __future__ import annotations

import dataclasses

import pytest

from factories import make_result, make_trial, with_trials
from loadtune.describe.config import LoaderConfig
from loadtune.judge.epoch import epoch_is_telling
from loadtune.record.results import TrialResult
from loadtune.show import article, epochs
from loadtune.show.charts import models, parts

NOISY = {"samples_per_second_low": 760.0, "samples_per_second_high": 1240.0}
"""Ends of an interval of 24 % about 1,000 samples a second."""


def a_row(**changes: object) -> TrialResult:
    """Return a row whose epoch takes 6.39 s, at 1,000 samples a second in its steady state."""
    values = {"epoch_seconds": 6.39, "epoch_samples_per_second": 847.3, "epoch_was_run": False, **changes}
    return make_trial(LoaderConfig(batch_size=64, num_workers=2), 1000.0, **values)


def test_an_epoch_has_the_digits_that_the_rate_allows() -> None:
    """Where the steady rate is known to 24 % an epoch has two digits; to 1 % three; without an interval three."""
    assert epochs.epoch_time(a_row(**NOISY)) == "6.4 s"
    assert epochs.epoch_rate(a_row(**NOISY)) == "850 samples/s"
    assert epochs.epoch_time(a_row()) == "6.39 s"
    assert epochs.epoch_time(a_row(samples_per_second_low=None)) == "6.39 s"
    assert epochs.epoch_time(a_row(epoch_seconds=None)) == "–"


def test_an_epoch_says_where_it_is_from() -> None:
    """An epoch that was run is told from one that is arithmetic."""
    assert epochs.epoch_words(a_row(epoch_was_run=True)) == "6.39 s (run whole)"
    assert epochs.epoch_words(a_row()) == "6.39 s (put together)"


@pytest.mark.parametrize(
    ("were_run", "sentence"),
    [
        ([True] * 2, "Each epoch was run whole."),
        ([False] * 2, "No epoch was run whole: each is put together from start-up and steady rate."),
        (
            [True, False, False],
            "1 of 3 epochs was run whole; the rest is put together from start-up and steady rate.",
        ),
        (
            [True] * 3 + [False] * 9,
            "3 of 12 epochs were run whole; the rest is put together from start-up and steady rate.",
        ),
    ],
)
def test_how_many_epochs_were_run(were_run: list[bool], sentence: str) -> None:
    """The sentence counts the epochs that were run, and says where the rest is from."""
    assert epochs.run_sentence(were_run) == sentence


@pytest.mark.parametrize(("share", "telling"), [(0.89, True), (0.9, False), (1.2, False)])
def test_a_rate_over_an_epoch_is_telling_below_nine_tenths(share: float, telling: bool) -> None:  # noqa: FBT001 - a case
    """A rate over an epoch below nine tenths of the steady one is telling; one not known is not."""
    assert epoch_is_telling(a_row(epoch_samples_per_second=1000.0 * share)) is telling
    assert not epoch_is_telling(a_row(epoch_samples_per_second=None))


def test_charts_say_which_epochs_were_run() -> None:
    """The charts of epochs mark each in their tables, and the article's says how many were run."""
    rows = tuple(
        make_trial(LoaderConfig(batch_size=64, num_workers=workers), 1000.0, epoch_was_run=workers == 0)
        for workers in (0, 1, 2)
    )
    result = with_trials(make_result(), rows)
    chart = models.models(result)
    assert chart is not None
    assert chart.says_time.endswith(
        " 1 of 3 epochs was run whole; the rest is put together from start-up and steady rate."
    )
    assert [row[4].partition(" s ")[2] for row in models.time_table(chart).rows] == [
        "(run whole)",
        "(put together)",
        "(put together)",
    ]
    bars = parts.parts(result)
    assert bars is not None
    assert parts.parts_table(bars).rows[0][5] == "run whole"
    assert "(run whole), " in bars.says


def test_the_article_says_where_an_epoch_is_from() -> None:
    """Beside KBT an epoch stands with its digits and where it is from."""
    row = a_row(**NOISY, kbt_epoch_seconds=10.0)
    assert article.document_rows(make_result(), row)[1].here == (
        "an epoch takes 6.4 s (put together): 2 workers at 78 % of KBT/W"
    )
    unknown = dataclasses.replace(row, epoch_seconds=None)
    assert article.document_rows(make_result(), unknown)[1].here == "the time of an epoch is not known"
