"""Two runs compared: what is said of a change, when it is refused, when it is an error."""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from factories import make_environment, make_pick, make_probe, make_result, make_trial, with_trials
from loadtune.cli.app import main
from loadtune.describe.config import LoaderConfig
from loadtune.errors import RegressionError
from loadtune.judge.comparison import Change, change_of, compared, ratio_of, regression
from loadtune.record.results import Interval, RunResult, TrialResult
from loadtune.show.comparison import print_comparison, rate_text, ratio_text, verdict

Printed = pytest.CaptureFixture[str]


def scaled(result: RunResult, factor: float, width: float = 0.011) -> RunResult:
    """Return the run with every rate times ``factor``, known to ± ``width``."""
    trials = []
    for row in result.trials:
        if row.samples_per_second is None:
            trials.append(row)
            continue
        rate = row.samples_per_second * factor
        ends = {"samples_per_second_low": rate * (1 - width), "samples_per_second_high": rate * (1 + width)}
        whole = (row.epoch_samples_per_second or 0.0) * factor
        trials.append(dataclasses.replace(row, samples_per_second=rate, epoch_samples_per_second=whole, **ends))
    return with_trials(result, tuple(trials))


def kept(result: RunResult, folder: Path) -> str:
    folder.mkdir()
    (folder / "run.json").write_bytes(msgspec.json.encode(result))
    return str(folder)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.97, 1.05, "no change"),
        (1.0, 1.05, "no change"),
        (1.01, 1.06, "within noise"),
        (0.95, 0.99, "within noise"),
        (1.03, 1.09, "improved"),
        (0.80, 0.97, "regressed"),
    ],
)
def test_the_words_follow_from_the_interval(low: float, high: float, says: Change) -> None:
    """An interval that holds 1 is no change, one wholly beyond the threshold is a change, between is within noise."""
    assert change_of(Interval(estimate=(low + high) / 2, low=low, high=high), 0.02) == says


def test_the_interval_of_a_ratio_holds_the_truth() -> None:
    """Of 2,000 pairs with known spread and a true ratio of 0.9, 95 % of the intervals hold it, within 1.5 %."""
    dice = random.Random(7)  # noqa: S311 - simulated noise

    def measured(truth: float) -> TrialResult:
        rate = truth * (1 + dice.gauss(0, 0.02))
        ends = {"samples_per_second_low": rate * (1 - 0.0392), "samples_per_second_high": rate * (1 + 0.0392)}
        return make_trial(LoaderConfig(batch_size=64), rate, **ends)

    ratios = [ratio_of(measured(1000.0), measured(900.0), "steady") for _ in range(2000)]
    share = sum(ratio.low <= 0.9 <= ratio.high for ratio in ratios) / len(ratios)
    assert 0.935 <= share <= 0.965


def test_a_run_against_itself_has_no_change() -> None:
    """Every pair of a run and itself is no change at a ratio of one, and nothing regressed."""
    result = make_result()
    found = compared(result, result, threshold=0.02)
    assert {one.change for one in (*found.deciding, *found.others)} == {"no change"}
    assert all(one.ratio.estimate == 1 for one in found.others)
    assert regression(found, 1e-9) is None


def test_a_slower_run_is_a_regression_by_what_it_lost() -> None:
    """At nine tenths of every rate the pick regressed: an error above 5 %, none above 15 %."""
    found = compared(make_result(), scaled(make_result(), 0.9), threshold=0.02)
    assert found.deciding[0].change == "regressed"
    assert regression(found, 0.05) is found.deciding[0]
    assert regression(found, 0.15) is None


def test_a_loss_that_may_be_noise_is_no_regression() -> None:
    """A tenth less, known to ±12 %, fails nothing: the interval holds 1."""
    found = compared(scaled(make_result(), 1.0, 0.12), scaled(make_result(), 0.9, 0.12), threshold=0.02)
    assert found.deciding[0].change == "no change"
    assert regression(found, 0.05) is None


def test_other_picks_are_compared_too() -> None:
    """Where the new run picks another configuration, the pick of each is compared beside that of the base in both."""
    base = make_result()
    other = base.trial("b32-w2")
    assert other is not None
    found = compared(base, make_result(best=make_pick(other, "x")), threshold=0.02)
    assert [one.name for one in found.deciding] == ["the pick of the base", "the picks"]
    assert found.deciding[1].ratio.estimate < 1


def with_epochs(result: RunResult, factor: float | None) -> RunResult:
    """Return the run with every epoch ``factor`` times as long, all to start-up, or of unknown length."""

    def over(row: TrialResult) -> TrialResult:
        rate = row.epoch_samples_per_second
        return dataclasses.replace(row, epoch_samples_per_second=rate / factor if rate and factor else None)

    return with_trials(result, tuple(map(over, result.trials)))


def test_a_slower_start_is_a_regression(tmp_path: Path, capsys: Printed) -> None:
    """Steady rates stay and epochs take three times as long: exit 5, and sentence and error name the rate."""
    base = kept(make_result(), tmp_path / "base")
    slow = kept(with_epochs(make_result(), 3.0), tmp_path / "slow")
    assert main(["compare", base, slow, "--fail-above", "5%"]) == 5
    said = capsys.readouterr()
    assert "-66.7 % (0.3333 ± 0.0053 × the rate over an epoch, 95 %)" in " ".join(said.out.split())
    assert "-66.7 % (0.3333 ± 0.0053 × the rate over an epoch, 95 %)" in said.err


@pytest.mark.parametrize("unknown", ["base", "new"])
def test_without_an_epoch_the_steady_rate_is_compared(unknown: str) -> None:
    """Where one of the runs knows no epoch, steady rates are compared, and table, list and sentence say so."""
    base = with_epochs(make_result(), None) if unknown == "base" else make_result()
    new = with_epochs(scaled(make_result(), 0.9), None) if unknown == "new" else scaled(make_result(), 0.9)
    found = compared(base, new, threshold=0.02)
    assert {one.rate for one in (*found.deciding, *found.others)} == {"steady"}
    assert found.deciding[0].ratio.estimate == pytest.approx(0.9)
    assert "× the steady rate, 95 %" in verdict(found)
    assert "steady" in next(line for line in printed(base, new, 120) if "regressed" in line)
    assert "samples/s steady" in " ".join(" ".join(printed(base, new, 60)).split())


def test_the_rates_shown_are_those_compared() -> None:
    """A row over an epoch shows that rate with the steady interval, relative to it: 1,000 ± 10 of 2,000 ± 20."""
    ends = {"samples_per_second_low": 1980.0, "samples_per_second_high": 2020.0, "epoch_samples_per_second": 1000.0}
    row = make_trial(LoaderConfig(batch_size=64), 2000.0, **ends)
    result = with_trials(make_result(best=make_pick(row, "x")), (row,))
    one = compared(result, result, threshold=0.02).deciding[0]
    assert rate_text(row, one) == "1,000 ± 10"


def test_exit_codes_of_compare(tmp_path: Path, capsys: Printed) -> None:
    """0 for a run against itself, 5 for one slower by more than --fail-above, with the figure in one sentence."""
    base = kept(make_result(), tmp_path / "base")
    slow = kept(scaled(make_result(), 0.8), tmp_path / "slow")
    assert main(["compare", base, base, "--fail-above", "5%"]) == 0
    assert main(["compare", base, slow]) == 0
    assert main(["compare", base, slow, "--fail-above", "30%"]) == 0
    assert main(["compare", base, slow, "--fail-above", "5%"]) == RegressionError.exit_code == 5
    said = capsys.readouterr()
    assert "became slower by more than the 5.0 % allowed: -20.0 %" in said.err
    assert "regressed" in said.out


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"environment": make_environment(cpu_model="Other")}, "the processor was Xeon Platinum 8481C and is Other"),
        ({"environment": make_environment(usable_cpus=1.5)}, "the number of usable CPUs was 2 and is 1.5"),
        ({"probe": make_probe(dataset_samples=10)}, "the number of samples was 50,000 and is 10"),
        ({"probe": make_probe(name="images")}, "the data set was cifar10 and is images"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_fact(
    changes: dict[str, object], fact: str, tmp_path: Path, capsys: Printed
) -> None:
    """Another machine or data set is refused by the first fact that differs; with --force that is named."""
    base, new = kept(make_result(), tmp_path / "base"), kept(make_result(**changes), tmp_path / "new")
    assert main(["compare", base, new]) == 2
    assert f"the two runs cannot be compared: {fact}" in capsys.readouterr().err
    assert main(["compare", base, new, "--force"]) == 0
    assert fact in " ".join(capsys.readouterr().out.split())


def test_another_version_is_named_and_compared(tmp_path: Path, capsys: Printed) -> None:
    """Another torch is what is compared, often: named, not refused."""
    base = kept(make_result(), tmp_path / "base")
    new = kept(make_result(probe=make_probe(torch_version="2.16.0")), tmp_path / "new")
    assert main(["compare", base, new]) == 0
    assert "torch was 2.15.0 and is 2.16.0" in capsys.readouterr().out


def printed(base: RunResult, new: RunResult, width: int) -> list[str]:
    """Return the lines that a console of this width shows."""
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    print_comparison(compared(base, new, threshold=0.02), (), console)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
@pytest.mark.parametrize("noise", [0.011, 0.3, 0.9])
def test_all_of_a_comparison_is_readable_at_any_width(width: int, noise: float) -> None:
    """Every line fits, nothing is cut, none ends in a blank, and each row has its word, ratio, rates and memory."""
    base, new = scaled(make_result(), 1.0, noise), scaled(make_result(), 0.8, noise)
    lines = printed(base, new, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert not any(line != line.rstrip() for line in lines)
    said = " ".join(" ".join(lines).split())
    found = compared(base, new, threshold=0.02)
    for one in (*found.deciding, *found.others):
        assert one.change in said
        assert ratio_text(one) in said
        assert rate_text(one.base, one) in said
        assert rate_text(one.new, one) in said
    assert "±0 B" in said


def test_a_comparison_that_fits_is_a_table() -> None:
    """With room for all of it the word for the change stands in the row of the pick, below the heads of the columns."""
    lines = printed(make_result(), scaled(make_result(), 0.8), 100)
    assert lines[0].split() == ["batch", "workers", "rate", "base", "new", "new", "/", "base", "memory", "change"]
    assert any("256" in line and "regressed" in line and "pick" in line for line in lines)


def test_an_interval_too_wide_to_tell_is_said_to_be() -> None:
    """With rates known to ± 90 % no percentage is given and the sentence says what fits, with ± 110 % that all does."""
    base = scaled(make_result(), 1.0, 0.9)
    said = verdict(compared(base, scaled(make_result(), 1.04, 0.9), threshold=0.02))
    assert "no change that can be told: anything from 0.04 to 27 times the rate over an epoch fits these two" in said
    assert "%" not in said
    endless = compared(base, scaled(make_result(), 1.04, 1.1), threshold=0.02)
    assert "no change that can be told: any change of the rate over an epoch fits" in verdict(endless)
    assert ratio_text(endless.deciding[0]) == "not known"


def test_a_narrow_interval_without_a_change_says_what_would_not_show() -> None:
    """Rates known to 1.1 % that agree: no change, and one of 2 % would not have shown."""
    said = verdict(compared(scaled(make_result(), 1.0), scaled(make_result(), 1.001), threshold=0.02))
    assert "no change, +0.1 %" in said
    assert "A change of less than 2 % would not show" in said
