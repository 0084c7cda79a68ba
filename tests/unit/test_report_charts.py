"""The charts that are drawn from single trials: waits, parts of an epoch, memory, drift, and whether it is worth it."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from factories import make_detailed_result, make_pick, make_record, make_result, make_trial, with_trials
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer
from loadtune.judge.told import LOOKS_KEPT, RUNS_KEPT, told_looks, told_runs, told_waits
from loadtune.measure.trial import _quantiles
from loadtune.record.results import WAIT_SHARES, Finding, MemoryLook, MemoryMeasurement, RunResult, TrialRun
from loadtune.show.charts import drift, knob, memory_seen, parallel, parts, waits, worth
from loadtune.show.charts.common import thinned
from loadtune.show.figures import figures
from loadtune.show.linked import links
from loadtune.units import format_seconds


def with_step(seconds: float) -> RunResult:
    result = make_detailed_result()
    return dataclasses.replace(result, plan=dataclasses.replace(result.plan, consumer=Consumer(step_seconds=seconds)))


def repeated(slope: float, noise: float) -> RunResult:
    """Ten configurations, each measured four times, on a machine that changes by ``slope`` over the run."""
    dice = random.Random(3)  # noqa: S311 - simulated noise
    rows = []
    for number in range(10):
        config = LoaderConfig(batch_size=16 + number)
        rate = 100.0 * (number + 1)
        runs = tuple(
            TrialRun(
                order=order,
                phase="race",
                samples_per_second=rate * math.exp(math.log1p(slope) * order / 39 + dice.gauss(0, noise)),
            )
            for order in range(number, 40, 10)
        )
        rows.append(dataclasses.replace(make_trial(config, rate), runs=runs))
    return with_trials(make_result(), tuple(rows))


def test_the_chart_says_of_a_drift_what_the_finding_says() -> None:
    """Whether the machine became slower is told by LT002 alone: the chart has its words, and none of its own."""
    slower = repeated(-0.2, 0.005)
    finding = Finding(
        code="LT002", severity="warning", message="the machine became 20.0 % slower over 58 s", advice="", numbers={}
    )
    told = drift.drift(dataclasses.replace(slower, findings=(finding,)))
    untold = drift.drift(slower)
    assert told is not None
    assert untold is not None
    assert told.says.endswith("; the machine became 20.0 % slower over 58 s (LT002).")
    assert "slower" not in untold.says
    assert told.points == untold.points


def test_noise_alone_is_no_drift() -> None:
    """Noise of 3 % without the finding is said to be no drift, and its size is found to a quarter of it."""
    chart = drift.drift(repeated(0.0, 0.03))
    assert chart is not None
    assert chart.spread == pytest.approx(0.03, rel=0.25)
    assert "no drift of 5 % or more is told over the run" in chart.says
    assert len(chart.points) == 40


def test_two_trials_are_too_few_for_drift() -> None:
    """Where next to nothing was measured twice the section is absent."""
    assert drift.drift(make_result()) is None


def test_with_a_step_the_wait_is_what_it_does_not_cover() -> None:
    """At 2,835 samples/s a batch of 256 comes every 90.3 ms: a step of 60 ms waits for a third of that."""
    chart = worth.worth(with_step(0.06))
    assert chart is not None
    first = chart.times[0]
    assert first.between_seconds == pytest.approx(0.0903, abs=1e-4)
    assert first.wait_seconds == pytest.approx(0.0303, abs=1e-4)
    assert "34 % of the time is spent waiting" in chart.says
    assert "would allow 4,267 samples/s" in chart.says


def test_a_step_that_hides_the_loading_says_so() -> None:
    """A step as long as the time between batches leaves nothing to gain, and the page says that."""
    chart = worth.worth(with_step(0.0905))
    assert chart is not None
    assert chart.times[0].wait_seconds == 0
    assert "hides the loading" in chart.says


def test_without_a_step_nothing_is_judged() -> None:
    """Without a step the page says from which step on nobody waits, and which option has it judged."""
    chart = worth.worth(make_detailed_result())
    assert chart is not None
    assert "No step was given" in chart.says
    assert "by these figures a training step that takes longer hardly waits for data once the first" in chart.says
    assert "--step-time" in chart.says


def test_without_a_step_batches_of_any_size_compare() -> None:
    """The bars are times for equally many samples: the slowest loader has the longest, however small its batch."""
    chart = worth.worth(make_detailed_result())
    assert chart is not None
    drawn = worth.draw_worth(chart)
    for one in chart.times:
        assert format_seconds(1000 / (one.role.trial.samples_per_second or 1.0)) in drawn
    assert "1,000 samples" in worth.how_to_read(chart)


def test_kept_workers_are_not_said_to_spare_the_loading_of_the_first_batches() -> None:
    """Of 3 s before the first batch of an epoch of 10 s a round of 0.4 s is loading: the start is the rest, 26 %."""
    rows = []
    for first in (3.0, 1.2):
        config = LoaderConfig(batch_size=64, num_workers=4)
        row = make_trial(config, 640.0, first_batch_seconds=first, epoch_seconds=10.0, epoch_samples_per_second=600.0)
        best = make_pick(row, "fast")
        chart = parts.parts(make_result(trials=(row,), best=best, fastest=None, baseline=None))
        assert chart is not None
        rows.append(chart.says)
    assert "30 % of it pass before the first batch is there, 26 % by the start of workers, which kept ones" in rows[0]
    assert "12 % of it pass before the first batch is there." in rows[1]


def test_parts_come_to_the_epoch() -> None:
    """The parts of each epoch are none below zero and come to the epoch."""
    result = make_detailed_result()
    chart = parts.parts(result)
    assert chart is not None
    for role, seconds in zip(chart.series, chart.seconds, strict=True):
        assert min(seconds) >= 0
        assert sum(seconds) == pytest.approx(role.trial.epoch_seconds)
        assert seconds[0] == role.trial.first_batch_seconds


def test_the_limit_of_memory_is_drawn_where_it_is_near() -> None:
    """A limit within twice of what was seen is on the chart, one far off is not."""
    result = make_detailed_result()
    near = memory_seen.memory_seen(result)
    far = memory_seen.memory_seen(
        dataclasses.replace(result, limits=dataclasses.replace(result.limits, host_memory_bytes=2**40))
    )
    assert near is not None
    assert far is not None
    assert (near.limit_bytes, far.limit_bytes) == (result.limits.host_memory_bytes, None)


def test_parallel_axes_come_from_three_knobs_on() -> None:
    """With batch size and workers alone there is no such chart; with the prefetch factor there is, that one least."""
    assert parallel.parallel(make_result()) is None
    chart = parallel.parallel(make_detailed_result())
    assert chart is not None
    assert chart.knobs == ("batch_size", "num_workers", "prefetch_factor")


def test_runs_from_before_have_no_such_sections() -> None:
    """A run whose rows keep no waits, looks or runs has none of the charts that need them."""
    result = make_result()
    assert waits.waits(result) is None
    assert memory_seen.memory_seen(result) is None


def test_quantiles_of_waits_are_exact() -> None:
    """Of the waits 0 to 100 the quantile at each share is that share, in whatever order they came; one wait is all."""
    shuffled = [float(wait) for wait in range(101)]
    random.Random(1).shuffle(shuffled)  # noqa: S311 - an order
    assert _quantiles(shuffled) == pytest.approx([100 * share for share in WAIT_SHARES])
    assert _quantiles([0.5]) == (0.5,) * len(WAIT_SHARES)


def test_what_a_row_keeps_is_bounded() -> None:
    """Of a thousand trials and looks a row keeps as many as it says, the first and the last among them."""
    config = LoaderConfig(batch_size=64)
    look = MemoryLook(
        batches=1, resident_bytes=1, shm_bytes=0, main_bytes=1, workers_bytes=0, held_bytes=1, shared_bytes=0
    )
    looks = tuple(dataclasses.replace(look, batches=number) for number in range(1000))
    records = [
        make_record(config, 100.0, order=number, memory=MemoryMeasurement(looks=looks)) for number in range(1000)
    ]
    runs = told_runs(records)
    assert (len(runs), runs[0].order, runs[-1].order) == (RUNS_KEPT, 0, 999)
    kept = told_looks(records)
    assert (len(kept), kept[0].batches, kept[-1].batches) == (LOOKS_KEPT, 0, 999)
    assert told_waits([record.steady for record in records if record.steady is not None]) == ()


def test_thinning_keeps_what_is_asked_for() -> None:
    """Of a thousand points the drawn ones are few, in order, and hold the one that must be there."""
    points = thinned(range(1000), lambda point: point == 777)
    assert len(points) <= 121
    assert 777 in points
    assert list(points) == sorted(points)


def test_many_panels_are_cut_to_the_best() -> None:
    """Of twenty batch sizes the twelve with the highest rates are drawn; the table has all twenty."""
    rows = tuple(
        make_trial(LoaderConfig(batch_size=batch, num_workers=workers), 100.0 * batch + workers)
        for batch in range(1, 21)
        for workers in (0, 2)
    )
    chart = knob.knob(with_trials(make_result(), rows))
    assert chart is not None
    assert len(knob.knob_table(chart).rows) == 40
    drawn = knob.draw_knob(chart)
    assert ">batch 20<" in drawn
    assert ">batch 8<" not in drawn


def test_links_name_the_rows_of_a_mark() -> None:
    """A cell of the heat map stands for every row of its batch size and workers, a point for its pair in drop_last."""
    result = make_detailed_result()
    found = links(result)
    cell = next(places for words, places in found["charts"]["grid"].items() if words.startswith("batch 256, 2 workers"))
    assert [found["names"][place] for place in cell] == ["b256-w2", "b256-w2-drop", "b256-w2-pf4"]
    pairs = found["charts"]["memory"].values()
    assert sorted(place for places in pairs for place in places) == sorted(
        number for number, row in enumerate(result.trials) if row.samples_per_second is not None
    )


@pytest.mark.parametrize(
    ("middle", "slow", "uneven"),
    [(1.0, 1.5, False), (0.5, 2.0, False), (0.49, 1.0, True), (0.9, 2.01, True), (0.0, 0.0, True)],
)
def test_a_mean_is_called_so_where_batches_come_in_bursts(middle: float, slow: float, uneven: bool) -> None:  # noqa: FBT001 - a case
    """A median wait below half of the mean, or a 95th percentile above twice of it, makes the mean "on average"."""
    result = make_result()
    assert result.best is not None
    rows = tuple(
        dataclasses.replace(
            row, batch_wait_p50_seconds=middle * 256 / 2835, batch_wait_p95_seconds=slow * 256 / 2835, **interval
        )
        for row in result.trials
        if row.config_id == result.best.config_id
        for interval in [{"samples_per_second": 2835.0, "samples_per_second_low": 2800.0}]
    )
    chart = worth.worth(with_trials(result, rows))
    assert chart is not None
    every = "a batch comes every 90.3 ± 1.1 ms on average: by" if uneven else "a batch comes every 90.3 ± 1.1 ms: by"
    assert every in chart.says


def test_waits_that_were_not_kept_show_no_bursts() -> None:
    """A row without quantiles of its waits says nothing of bursts."""
    row = make_trial(LoaderConfig(batch_size=64), 100.0, batch_wait_p50_seconds=None, batch_wait_p95_seconds=None)
    assert not worth.is_uneven(row, 0.64)


def test_the_time_between_batches_has_its_interval() -> None:
    """It is the batch over each end of the rate, in table and sentence, with no more digits than that allows."""
    rows = tuple(
        dataclasses.replace(
            row, samples_per_second=8300.0, samples_per_second_low=6300.0, samples_per_second_high=10_300.0
        )
        for row in make_result().trials
        if row.config_id in ("b256-w2-drop", "b64-w0")
    )
    chart = worth.worth(with_trials(make_result(), rows))
    assert chart is not None
    assert [row[1] for row in worth.worth_table(chart).rows] == ["30.8 ± 9.8 ms", "7.7 ± 2.4 ms"]
    assert "each training step waits 7.7 ± 2.4 ms for its 64 samples: without workers nothing is loaded" in chart.says
    drawn = worth.draw_worth(chart)
    assert ">120 ms<" in drawn
    assert "at the steady rate (ms)" in drawn


def test_only_workers_load_while_a_step_runs() -> None:
    """With workers a longer step hardly waits, for batches of any size; without any each step waits for its batch."""
    rows = {row.config_id: row for row in make_result().trials if row.config_id in ("b256-w2-drop", "b64-w0")}
    with_workers = dataclasses.replace(rows["b64-w0"], num_workers=1, prefetch_factor=2)
    both = worth.worth(with_trials(make_result(), (rows["b256-w2-drop"], with_workers)))
    alone = worth.worth(
        with_trials(make_result(), (dataclasses.replace(rows["b256-w2-drop"], num_workers=0, prefetch_factor=None),))
    )
    assert both is not None
    assert alone is not None
    assert "holds from 42.00 ± 0.47 ms on, for a step on 64 samples in place of 256." in both.says
    assert "hardly waits" not in alone.says
    assert "for its 256 samples: without workers nothing is loaded while it runs." in alone.says


def test_every_chart_of_steady_rates_names_them_so() -> None:
    """Axes, tables and sentences of the charts of rates say that they are steady: an epoch's are lower."""
    shown = {figure.name: figure for figure in figures(make_detailed_result())}
    for name in ("memory", "knob"):
        assert "steady rate (samples/s)" in shown[name].svg
    assert "predicted steady rate (samples/s)" in shown["model"].svg
    assert "steady samples/s" in shown["knobs"].svg
    assert shown["grid"].says.startswith("The steady rates differ by ")
    assert shown["grid"].how_to_read.startswith("Steady samples per second in each cell")
    assert "of the highest steady rate" in shown["memory"].says
    for name in ("worth", "grid", "memory", "knob", "knobs", "model", "trust"):
        figure = shown[name]
        assert "steady" in " ".join(figure.table.header), name
        assert "teady" in figure.how_to_read, name
