"""The table of leaders: its order, what each row is called, and what those words mean."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from rich.console import Console
from scripted_machine import Machine
from test_verdict import by_workers, concluded, swept, verified

from factories import make_result
from loadtune.describe.config import LoaderConfig
from loadtune.record.results import Interval, RunResult
from loadtune.show.leaders import leaders, mark_lines, marks, standing_trials
from loadtune.show.terminal import print_result

ZERO, ONE, TWO = (LoaderConfig(batch_size=64, num_workers=count) for count in range(3))


def marked(result: RunResult) -> dict[int, tuple[str, ...]]:
    """Return the marks of each row by its workers."""
    return {row.num_workers: marks(result, row) for row in result.trials}


def with_ratio(result: RunResult, workers: int, low: float, high: float) -> RunResult:
    """Return the result with another interval beside the pick for the rows with so many workers."""
    over = Interval(estimate=(low + high) / 2, low=low, high=high)
    rows = (
        replace(row, tied_with_best=False, rate_over_pick=over) if row.num_workers == workers else row
        for row in result.trials
    )
    return replace(result, trials=tuple(rows))


def test_a_row_that_is_told_to_be_slower_has_no_mark_and_no_legend() -> None:
    """On a quiet machine with clear differences pick and baseline alone are named, and nothing needs a word."""
    result = swept(Machine(rate=by_workers, window_sd=0.002))
    assert marked(result) == {0: ("baseline",), 1: (), 2: ("pick", "fastest")}
    assert mark_lines(result) == ()


def test_every_row_says_how_it_compares_with_the_pick() -> None:
    """The ratio to the pick is that of paired trials: one for the pick, less for what is slower."""
    result = concluded(verified({ZERO: (1000.0,) * 3, ONE: (2000.0,) * 3, TWO: (4000.0,) * 3}))
    by_count = {row.num_workers: row.rate_over_pick for row in result.trials}
    zero, one = by_count[0], by_count[1]
    assert zero is not None
    assert one is not None
    assert by_count[2] == Interval(estimate=1.0, low=1.0, high=1.0)
    assert zero.low <= zero.estimate <= zero.high < one.low < 1.0


def test_a_row_that_noise_does_not_tell_from_the_pick_says_so() -> None:
    """Where the interval of the difference reaches up to the tie, the row is not told apart, and the note says that."""
    noisy = {ZERO: (1000.0, 1010.0, 990.0), ONE: (1500.0, 2600.0, 1700.0), TWO: (2300.0, 1600.0, 2500.0)}
    result = concluded(verified(noisy))
    assert marked(result)[1] == ("undecided",)
    assert mark_lines(result) == (
        "undecided: not told apart from the pick, as this noise leaves open whether it is slower by over 2 %.",
        "A row with no such mark is told to be slower.",
    )


def test_the_edge_between_slower_and_not_told_apart_is_the_tie() -> None:
    """A row whose interval ends below the pick's rate less the tie is slower; one that ends above it is open."""
    result = swept(Machine(rate=by_workers, window_sd=0.002))
    assert marked(with_ratio(result, 1, 0.5, 0.979))[1] == ()
    assert marked(with_ratio(result, 1, 0.5, 0.981))[1] == ("undecided",)
    assert marked(with_ratio(result, 1, 1.01, 1.2))[1] == ("told faster",)


def test_what_is_over_a_limit_is_not_compared_with_the_pick() -> None:
    """A row over a limit says that alone, however fast it looks."""
    result = with_ratio(swept(Machine(rate=by_workers, window_sd=0.002)), 1, 1.1, 1.2)
    over = replace(result, trials=tuple(replace(row, within_limits=row.num_workers != 1) for row in result.trials))
    assert marked(over)[1] == ("over the limit",)


def test_nothing_is_told_of_rows_that_have_no_comparison() -> None:
    """A run that was made before rows had a ratio keeps its ties, and does not say that the others are slower."""
    tied = "tied: counts as no slower than the fastest; {}."
    assert mark_lines(make_result()) == (tied.format("the cheapest is picked"),)
    again = tuple(replace(row, measured_again=True) for row in make_result().trials)
    assert mark_lines(make_result(trials=again)) == (
        tied.format("only what was measured again is picked, of that the cheapest"),
    )


def test_leaders_stand_in_the_order_that_the_choice_goes_by() -> None:
    """Behind the pick the faster epoch comes first, though its steady rate be lower."""
    result = swept(Machine(rate=by_workers, window_sd=0.002))
    quick = {0: 3000.0, 1: 10.0, 2: 5.0}
    rows = (replace(row, epoch_samples_per_second=quick[row.num_workers]) for row in result.trials)
    assert [row.num_workers for row in leaders(replace(result, trials=tuple(rows)))] == [2, 0, 1]


def test_the_reason_counts_what_the_table_marks() -> None:
    """As many others as the reason calls not told apart are marked so, or tied, over twelve noisy sweeps."""
    seen = []
    for seed in range(12):
        result = swept(Machine(rate=lambda _: 1000.0, trial_sd=0.05, seed=seed))
        told = re.search(r"(\d+) others? (?:is|are) not told apart", result.best.reason if result.best else "")
        if told:
            marked_so = [row for row in standing_trials(result) if {"tied", "undecided"} & {*marks(result, row)}]
            seen.append((int(told[1]), len(marked_so)))
    assert len(seen) > 2
    assert all(said == marked_so for said, marked_so in seen)


def test_a_mark_is_whole_in_a_narrow_terminal() -> None:
    """At 60 columns, with wide intervals and the longest marks, no word of the table is cut off."""
    wide = {"samples_per_second_low": 3900.0, "samples_per_second_high": 10_200.0, "tied_with_best": False}
    over = Interval(estimate=0.9, low=0.5, high=1.5)
    rows = (replace(row, **wide, rate_over_pick=over) for row in make_result().trials)
    stream = io.StringIO()
    print_result(replace(make_result(), trials=tuple(rows)), Console(file=stream, width=60, color_system=None))
    table = stream.getvalue().partition("Rates are steady")[0]
    assert "…" not in table
    assert table.count("undecided") == len(leaders(make_result())) - 1
