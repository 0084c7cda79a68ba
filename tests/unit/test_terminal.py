"""What is seen in a terminal: the result at several widths, and the listeners."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from rich.console import Console

from factories import (
    HOSTILE,
    MIB,
    make_environment,
    make_probe,
    make_record,
    make_request,
    make_result,
    make_trial,
    with_trials,
)
from hostile import hostile_text, is_harmless_on_a_terminal
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.record.results import Cost, Interval, MemoryLimits, RunResult
from loadtune.run.events import Progress
from loadtune.show import article, live, page, summary, tables
from loadtune.show.terminal import PlainListener, RichListener, print_result

SNAPSHOTS = Path(__file__).parent / "snapshots"
PLAN = SweepPlan(target="cifar10", space=SearchSpace(num_workers=(0, 1, 2, 4), pin_memory=(False,)))
PROGRESS = Progress(
    elapsed_seconds=12.0,
    budget_seconds=60.0,
    trials_done=7,
    best=LoaderConfig(batch_size=256, num_workers=2),
    best_samples_per_second=2835.0,
)


def printed(result: RunResult, width: int, verbosity: int = 0, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None)
    print_result(result, console, verbosity)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize(("width", "verbosity"), [(60, 0), (80, 0), (200, 1)])
def test_the_result_looks_as_it_did(width: int, verbosity: int) -> None:
    """The text is that of the snapshot; SNAPSHOTS=write renews it, to be read before it is kept."""
    text = printed(make_result(), width, verbosity)
    path = SNAPSHOTS / f"terminal_{width}.txt"
    if os.environ.get("SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Nothing wraps by itself or is cut, and the code to paste is whole."""
    text = printed(make_result(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "    dataset, batch_size=256, num_workers=2," in text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_ends_in_blanks(width: int) -> None:
    """What is copied from a terminal has no blanks at the ends of its lines, tables and paddings included."""
    stream = io.StringIO()
    print_result(make_result(), Console(file=stream, width=width, color_system=None))
    assert not [line for line in stream.getvalue().splitlines() if line != line.rstrip()]


def test_a_row_of_leaders_stands_for_both_values_of_drop_last() -> None:
    """No row of the table names drop_last, which others of the same trials would not; the pick's own line does."""
    table, _, below = printed(make_result(), 200).partition("Best guess: ")
    assert "drop_last" not in table
    assert below.startswith("2 workers, batch 256, drop_last: ")
    leading = page.render(make_result()).split("The leaders</h2>")[1].split("</section>")[0]
    assert "drop_last" not in leading


def test_what_percentages_are_of_is_said_where_an_epoch_is_known() -> None:
    """Terminal and page say that comparisons go by the rate over an epoch; without a length of one, neither does."""
    result = make_result()
    note = "compared, in percent too, by their rates over an epoch"
    assert note in printed(result, 200)
    assert note in page.render(result)
    endless = tuple(dataclasses.replace(row, epoch_samples_per_second=None) for row in result.trials)
    assert note not in printed(with_trials(result, endless), 200)
    assert note not in page.render(with_trials(result, endless))


def test_columns_go_before_a_cell_wraps() -> None:
    """At 80 columns with wide intervals the epoch makes room, and what a row is stands on one line."""
    wide = {"samples_per_second_low": 1400.0, "samples_per_second_high": 16300.0, "epoch_samples_per_second": 1400.0}
    rows = (dataclasses.replace(row, **wide) for row in make_result().trials)
    result = dataclasses.replace(make_result(), fastest=make_result().best)
    for row in (table := printed(with_trials(result, tuple(rows)), 80).partition("Best guess: ")[0]).splitlines():
        assert not row.startswith(" " * 40)
    assert "pick, fastest" in table


def test_the_result_says_what_to_do() -> None:
    """Pick, interval, reason, gain, fastest, limit, code, models, findings and cost are all there."""
    text = printed(make_result(), 200)
    for words in (
        "Best guess: 2 workers, batch 256, drop_last: 2,835 ± 31 samples/s (95 %)",
        "Batch 512 is no faster (+0.8 %, within noise)",
        "1.86 ± 0.04 × the rate over an epoch of torch's defaults (0 workers, batch 64)",
        "Fastest: 2 workers, batch 512",
        "645 MiB needed, 72 % of the 900 MiB allowed",
        "50,000 / 256 = 195.3",
        "31.0 s of work in series",
        "LT001",
        "44 trials in 58.3 s",
    ):
        assert words in text


def test_quiet_is_one_line() -> None:
    """With -q the pick alone is printed, however narrow the terminal."""
    assert printed(make_result(), 20, -1) == (
        "2 workers, batch 256, drop_last: 2,835 ± 31 samples/s (95 %), not measured again\n"
    )


def test_verbose_says_why_there_is_no_number() -> None:
    """With -v every failure is there with its reason."""
    text = printed(make_result(), 200, 1)
    assert "b512-w4            refused: a batch ahead of every worker needs 70.4 MiB" in text
    assert text.count("hung: no batch for 60.0 s") == 1
    assert text.count("worker 1 raised ValueError") == 1


def test_nothing_fits_says_what_would() -> None:
    """Without a pick the terminal says so, with the least memory needed beside the limit."""
    text = printed(make_result(best=None, fastest=None, gain=None), 200)
    assert "No configuration that was measured meets the limits." in text
    assert "The least host memory needed was 964 MiB, with 4 workers, batch 128; the limit is 900 MiB." in text
    assert "DataLoader(" not in text


def test_what_would_fit_is_said_by_what_the_limit_is_held_against() -> None:
    """Rows are judged by their memory at the end of an epoch: that is named, and not a peak that is under the limit."""
    row = make_trial(LoaderConfig(batch_size=64), 1000.0, host_peak_bytes=400 * MIB, within_limits=False)
    row = dataclasses.replace(row, predicted_host_peak_bytes=2000 * MIB)
    result = with_trials(make_result(best=None, fastest=None, baseline=None, gain=None), (row,))
    assert summary.limit_sentences(result) == (
        "The least host memory needed was 2.0 GiB, with 0 workers, batch 64; the limit is 900 MiB.",
    )


def test_a_memory_that_is_not_short_is_not_named() -> None:
    """Where the device is what nothing fits on, nothing is said of a host memory that is under its limit."""
    limits = MemoryLimits(host_memory_bytes=900 * MIB, gpu_memory_bytes=100 * MIB)
    row = make_trial(LoaderConfig(batch_size=64), 1000.0, gpu_peak_bytes=150 * MIB, within_limits=False)
    result = with_trials(make_result(best=None, fastest=None, baseline=None, gain=None, limits=limits), (row,))
    assert summary.limit_sentences(result) == (
        "The least device memory needed was 150 MiB, with 0 workers, batch 64; the limit is 100 MiB.",
    )


def test_only_what_was_measured_again_is_called_so() -> None:
    """The note under the table names the roles whose rows have fresh trials, and no others."""
    result = make_result()
    assert result.best is not None
    ahead = result.best.samples_per_second.estimate * 2

    def seen(again: set[str]) -> str:
        rows = [
            dataclasses.replace(
                row,
                measured_again=row.config_id in again,
                samples_per_second=row.samples_per_second
                and (row.samples_per_second if row.config_id in again else ahead),
            )
            for row in result.trials
        ]
        return " ".join(printed(dataclasses.replace(result, trials=tuple(rows)), 200).split())

    assert result.baseline is not None
    assert "The pick was measured again at the end." in seen({result.best.config_id})
    both = {result.best.config_id, result.baseline.config_id}
    assert "The pick and the baseline were measured again at the end." in seen(both)


def test_a_wide_gain_is_told_by_its_ends() -> None:
    """A half-width of more than a third of the gain gives way to the interval's two ends."""
    wide = make_result(gain=Interval(estimate=3.2, low=2.0, high=5.4))
    assert "3.2 × (2 to 5.4) the rate over an epoch of torch's defaults" in printed(wide, 200)
    assert "<b>3.2</b> × (2 to 5.4)" in page.render(wide)


def test_a_gain_that_spans_more_than_a_factor_of_two_is_not_known() -> None:
    """From 0.03 to 320 times is no gain: it is said to be unknown, and the estimate is shown nowhere."""
    text = printed(make_result(gain=Interval(estimate=2.87, low=0.03, high=320.0)), 200)
    name = "The gain over an epoch against torch's defaults (0 workers, batch 64)"
    assert f"{name} is not known at this noise: 0.03 to 320 ×" in text
    assert "2.87" not in text
    wide = make_result(gain=Interval(estimate=21.7, low=7.9, high=62.0))
    assert f"{name} is at least 7.9 ×, how much is not known at this noise" in printed(wide, 200)
    assert "<b>at least 7.9</b> ×" in page.render(wide)


def test_a_step_is_said_to_be_fed_or_not() -> None:
    """With a step of a fixed time the share of the time that it waits is said, and whether that keeps it fed."""
    result = make_result()
    best = result.trial("b256-w2-drop")
    assert best is not None
    full = 256 / (best.samples_per_second or 0.0)
    for share, waits in ((0.99, "1.0 %"), (0.6, "40 %")):
        plan = dataclasses.replace(result.plan, consumer=Consumer(step_seconds=share * full))
        text = printed(dataclasses.replace(result, plan=plan), 200)
        assert f"fed: the step waits {waits} of the time" in text
        assert ("does not keep" in text) is (share < 0.9)
    assert "the step waits" not in printed(result, 200)


def test_the_rate_over_an_epoch_is_said_everywhere() -> None:
    """The rates over an epoch that the gain is the quotient of stand beside it; the page has the pick's in a card."""
    result = make_result()
    sentence = "Over a whole epoch, start-up and tail included: 2,817 samples/s (17.7 s)."
    there = "the rate over an epoch there is 1,521 samples/s."
    assert sentence in printed(result, 200)
    assert there in " ".join(printed(result, 200).split())
    assert sentence in tables.to_markdown(result)
    shown = page.render(result)
    assert sentence not in shown
    assert "<dt>over an epoch of 17.7 s, start-up and tail included</dt><dd><b>2,817</b> samples/s</dd>" in shown
    assert "<dt>steady rate, 95 % interval" in shown
    baseline = "the rate over an epoch of torch&#39;s defaults (0 workers, batch 64)"
    assert f"<dt>{baseline}: 1,521 samples/s</dt>" in shown


def test_without_an_epoch_the_gain_is_of_steady_rates() -> None:
    """Where N is not known nothing is said of an epoch, and the baseline's steady rate stands beside the gain."""
    endless = tuple(
        dataclasses.replace(row, epoch_samples_per_second=None, epoch_seconds=None) for row in make_result().trials
    )
    result = with_trials(make_result(probe=make_probe(dataset_samples=None)), endless)
    text = " ".join(printed(result, 200).split())
    assert "Over a whole epoch" not in text
    assert "the steady rate there is 1,524 ± 17 samples/s." in text
    assert "over an epoch of" not in page.render(result)


def test_one_of_a_kind_is_singular() -> None:
    """A single sample, batch, trial and configuration are not given a plural, and 0 workers have no share of KBT/W."""
    config = LoaderConfig(batch_size=64)
    trial = make_trial(
        config, 500.0, batches_per_epoch=1, kbt_epoch_seconds=0.5, epoch_seconds=0.6, epoch_was_run=False
    )
    result = make_result(
        probe=make_probe(dataset_samples=1), best=None, fastest=None, baseline=None, cost=Cost(seconds=2.0, trials=1)
    )
    rows = article.document_rows(result, trial)
    assert [row.here for row in rows[:2]] == [
        "1 batch, of 1 sample",
        "an epoch takes 600 ms (put together) in the main process, 120 % of KBT",
    ]
    assert summary.cost_sentence(with_trials(result, (trial,))) == "1 trial in 2.00 s; 1 configuration."
    assert "cifar10, 1 sample · " in summary.workload_sentence(result)


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_perfect_sharing_is_doubted_where_it_is_printed(workers: int) -> None:
    """An epoch that beats KBT/W by a fifth says that T was too high, in the terminal and the page; by 5 %, nothing."""

    def told(share: float) -> tuple[str, str]:
        result = make_result()
        seconds = {"kbt_epoch_seconds": share * 10.0 * max(workers, 1), "epoch_seconds": 10.0}
        rows = tuple(
            dataclasses.replace(row, **seconds) if row.num_workers == workers else row for row in result.trials
        )
        row = next(row for row in rows if row.num_workers == workers and row.status == "ok")
        pick = dataclasses.replace(result.best, config=row.config, config_id=row.config_id)
        rows = tuple(dataclasses.replace(one, chosen=one.config_id == row.config_id) for one in rows)
        changed = with_trials(dataclasses.replace(result, best=pick), rows)
        return printed(changed, 300), page.render(changed)

    for doubtful, fine in zip(told(1.2), told(1.05), strict=True):
        assert "T, from one short look in the main process, came out too high" in doubtful
        assert "came out too high" not in fine


def test_the_pick_has_one_figure_of_memory() -> None:
    """Where the end of an epoch needs 1 MiB more than was seen, terminal and page say that alone of the pick."""
    result = make_result()
    assert result.best is not None
    sizes = {"host_peak_bytes": 667 * 2**20, "predicted_host_peak_bytes": 668 * 2**20}
    rows = (
        dataclasses.replace(row, **sizes) if row.config_id == result.best.config_id else row for row in result.trials
    )
    changed = with_trials(result, tuple(rows))
    assert "668 MiB" in printed(changed, 200)
    assert "667 MiB" not in printed(changed, 200)
    trials = page.render(changed).split("All trials")[1].split("<details>")[0]
    assert "668 MiB" in trials
    assert "667 MiB" not in trials


def test_a_pick_that_is_the_baseline_claims_no_gain() -> None:
    """Where the baseline is chosen, nothing is said to be faster than it."""
    result = make_result()
    text = printed(make_result(best=result.baseline), 200)
    assert (
        "That is torch's defaults (0 workers, batch 64): nothing measured within the limits is told to be better."
        in text
    )


def test_a_run_without_a_length_or_memory_is_printed() -> None:
    """An iterable data set without a length, unmeasured memory and no epoch leave their parts out."""
    config = LoaderConfig(batch_size=None, num_workers=2)
    blank = dict.fromkeys(
        ("host_peak_bytes", "batches_per_epoch", "kbt_epoch_seconds", "kbm_epoch_bytes", "epoch_seconds")
    )
    trial = make_trial(config, 500.0, **blank, epoch_samples_per_second=None, within_limits=None)
    result = make_result(
        probe=make_probe(dataset_samples=None, bytes_per_sample=None), best=None, fastest=None, baseline=None, gain=None
    )
    text = printed(with_trials(result, (trial,)), 60)
    assert "own" in text
    assert "memory  " not in text


@given(hostile_text())
@settings(max_examples=50, deadline=None)
def test_strings_are_shown_and_never_obeyed(text: str) -> None:
    """No name, reason or message becomes markup, colour, an emoji or a terminal sequence."""
    assert is_harmless_on_a_terminal(printed(make_result(hostile=text), 80, 1))


def test_markup_in_a_name_is_shown_as_text() -> None:
    """Brackets in a message come out as brackets, on a terminal with colours too."""
    text = printed(make_result(hostile="[bold red]x[/] :smile:"), 200, terminal=True)
    assert "[bold red]x[/] :smile:" in text


def test_the_plain_listener_writes_a_line_a_trial() -> None:
    """Where there is no terminal a trial is a line: configuration, rate, memory, or the reason; at most 80 columns."""
    stream = io.StringIO()
    listener = PlainListener(stream)
    listener.preparing(PLAN)
    listener.started(PLAN, make_environment(), make_probe(), MemoryLimits(host_memory_bytes=2**30))
    config = LoaderConfig(batch_size=256, num_workers=2)
    listener.trial_started(make_request(config), PROGRESS)
    listener.measured(make_record(config, 2835.0), PROGRESS)
    listener.failed(make_record(config, None, failure_reason=HOSTILE), PROGRESS)
    listener.finished(make_result())
    assert stream.getvalue().splitlines() == [
        "preparing cifar10",
        "cifar10, 50,000 samples: 40 configurations in at most 60.0 s, host memory at",
        "    most 1.0 GiB",
        "12.0 s, first look: 2 workers, batch 256: 2,835 samples/s, 412 MiB",
        "12.0 s, first look: 2 workers, batch 256: failed, <script>alert('x')</script>",
        "    [bold red]x[/] red =1+1 | `a` second line",
    ]


def test_the_live_view_shows_what_is_done_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a trial runs: what is measured, the time left at this moment, the best so far."""
    monkeypatch.setattr(live, "REDRAWS_PER_SECOND", 0.001)
    now = [100.0]
    listener = RichListener(Console(file=io.StringIO(), width=60, force_terminal=True), clock=lambda: now[0])
    with listener:
        listener.preparing(PLAN)
        listener.started(PLAN, make_environment(), make_probe(), MemoryLimits())
        listener.measured(make_record(LoaderConfig(batch_size=64), 1524.0), PROGRESS)
        listener.trial_started(make_request(LoaderConfig(batch_size=512, num_workers=4)), PROGRESS)
        now[0] += 8
        stream = io.StringIO()
        Console(file=stream, width=60).print(listener)
    text = stream.getvalue()
    assert "measuring 4 workers, batch 512" in text
    assert "at most 40.0 s left" in text
    assert "7 trials" in text
    assert "best so far: 2 workers, batch 256, 2,835 samples/s" in text
    assert max(map(len, text.splitlines())) <= 60


def test_the_live_view_is_gone_afterwards() -> None:
    """The last thing the live view does is to erase itself and show the cursor again."""
    stream = io.StringIO()
    listener = RichListener(Console(file=stream, width=60, force_terminal=True))
    listener.preparing(PLAN)
    listener.finished(make_result())
    assert "\x1b[2K" in stream.getvalue()
    assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")
    listener.close()


def test_the_live_view_redraws_at_most_twice_a_second() -> None:
    """Drawing does not disturb what is measured: a burst of events draws nothing by itself."""
    stream = io.StringIO()
    with RichListener(Console(file=stream, width=60, force_terminal=True)) as listener:
        listener.preparing(PLAN)
        before = stream.getvalue().count("preparing")
        for _ in range(200):
            listener.measured(make_record(LoaderConfig(batch_size=64), 1524.0), PROGRESS)
        assert stream.getvalue().count("0 workers, batch 64") <= before + 2
    assert live.REDRAWS_PER_SECOND <= 2
