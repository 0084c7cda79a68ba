"""The data of each chart, and that each is drawn."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree as ET

from factories import make_result, make_trial, with_trials
from loadtune.describe.config import LoaderConfig
from loadtune.show.charts import heat, knob, models, trade
from loadtune.show.figures import figures


def test_the_heat_map_has_a_cell_for_each_pair() -> None:
    """Each pair of batch size and workers has one cell; the pick, failures and what is over a limit are marked."""
    chart = heat.heat_map(make_result())
    assert chart is not None
    assert len(chart.cells) == 20
    cells = {(cell.batch, cell.workers): cell for cell in chart.cells}
    assert (cells["256", "2"].mark, cells["256", "2"].label) == ("pick", "2,835")
    assert (cells["32", "4"].mark, cells["32", "4"].label) == ("failed", "failed")
    assert cells["128", "4"].mark == "over"
    assert max(cell.shade for cell in chart.cells) <= heat.DARKEST
    assert "3 of 20 cells have no number" in chart.says


def test_a_row_that_failed_has_no_rate_in_the_heat_map() -> None:
    """A configuration with a failed trial shows its failure, even where an earlier trial gave a rate."""
    config = LoaderConfig(batch_size=64)
    rows = (
        make_trial(config, 100.0, status="hung"),
        make_trial(dataclasses.replace(config, num_workers=2), 200.0),
    )
    chart = heat.heat_map(with_trials(make_result(), rows))
    assert chart is not None
    assert [cell.label for cell in chart.cells] == ["hung", "200"]


def test_the_front_is_ordered_by_memory_and_the_limit_is_drawn() -> None:
    """The Pareto line runs from lean to large, and a limit near the points is on the chart."""
    chart = trade.trade(make_result())
    assert chart is not None
    peaks = [point.host_peak_bytes for point in chart.front]
    assert peaks == sorted(peaks)
    assert [point.samples_per_second for point in chart.front] == sorted(p.samples_per_second for p in chart.front)
    assert chart.limit_bytes == 900 * 2**20
    assert {point.label.split(":")[0] for point in chart.points if point.label} == {"pick", "fastest", "baseline"}
    assert "The limit is 900 MiB: 2 of 17 are over it." in chart.says


def test_labels_of_close_points_are_apart() -> None:
    """Pick, fastest and baseline nearly at one place have a place each for their labels, the pick's above."""
    points = [
        trade.TradePoint(
            words="", key=name, host_peak_bytes=900 + place, samples_per_second=100.0, low=99.0, high=101.0,
            mark="pick" if name == "pick" else "front", label=f"{name}: 2 workers, batch 32",
        )
        for place, name in enumerate(("fastest", "baseline", "pick"))
    ]  # fmt: skip
    placed = {point.key: point.label_place for point in trade._with_places(points)}
    assert placed == {"pick": "above left", "fastest": "below left", "baseline": "far above left"}


def test_a_far_limit_is_said_and_not_drawn() -> None:
    """A limit far beyond the points would flatten the chart: it is in the sentence alone."""
    result = make_result()
    result = dataclasses.replace(result, limits=dataclasses.replace(result.limits, host_memory_bytes=2**40))
    chart = trade.trade(result)
    assert chart is not None
    assert chart.limit_bytes is None
    assert "1.0 TiB: no measured configuration is over it" in chart.says


def test_the_knob_says_where_more_stops_paying() -> None:
    """The sentence names the fewest workers within a tie of the best, and what going on does."""
    chart = knob.knob(make_result())
    assert chart is not None
    reached = "With batch 256, 2 workers reach 2,835 samples/s, 1.79 × the rate at 0 workers"
    assert chart.says == f"{reached}; going on to 4 workers loses 4.5 %."


def test_with_one_worker_count_the_batch_size_is_the_knob() -> None:
    """Where workers were not varied the chart turns the batch size."""
    rows = tuple(make_trial(LoaderConfig(batch_size=size), 900.0 + size) for size in (32, 64, 128))
    chart = knob.knob(with_trials(make_result(), rows))
    assert chart is not None
    assert chart.name == "batch size"
    assert [point.knob for point in chart.points] == [32, 64, 128]
    assert "batch 128 reaches 1,028 samples/s" in chart.says


def test_the_models_are_the_documents() -> None:
    """KBT is shared over W, efficiency is KBT/(W·epoch), and what exists at once is (P·W+1) batches."""
    chart = models.models(make_result())
    assert chart is not None
    point = next(point for point in chart.points if point.mark == "pick")
    assert point.kbt_seconds == 195 * 256 * 0.62e-3
    assert point.ideal_seconds == point.kbt_seconds / 2
    assert point.efficiency == point.kbt_seconds / (2 * point.epoch_seconds)
    assert point.ahead_bytes == 5 * 256 * 12_296


def test_charts_without_data_are_absent() -> None:
    """A run of one configuration, or of failures alone, has no charts, and says nothing wrong."""
    result = make_result()
    one = with_trials(result, (make_trial(LoaderConfig(batch_size=64), 100.0, host_peak_bytes=None),))
    assert [figure.name for figure in figures(one)] == ["worth", "parts", "time"]
    failed = tuple(trial for trial in result.trials if trial.status != "ok")
    assert figures(with_trials(result, failed)) == ()
    assert figures(with_trials(result, ())) == ()


def test_every_chart_is_well_formed_and_its_names_are_its_own() -> None:
    """Each drawing is XML with a name for screen readers, and no two of a page share an id."""
    ids: list[str] = []
    for figure in figures(make_result()):
        root = ET.fromstring(figure.svg)  # noqa: S314 - drawn here
        assert root.attrib["aria-label"]
        assert "currentColor" in figure.svg
        assert "<script" not in figure.svg
        ids += [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert figure.table.rows
        assert all(len(row) == len(figure.table.header) for row in figure.table.rows)
    assert len(ids) == len(set(ids))
