"""The data of each chart, and that each is drawn."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest

from factories import make_detailed_result, make_result, make_trial, with_trials
from loadtune.describe.config import LoaderConfig
from loadtune.record.results import RunResult
from loadtune.show.charts import heat, knob, models, trade, waits
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
    assert "Hatched without a number are 3 of 20 cells: each says what became of it" in chart.says
    assert "trials failed" not in chart.says, "two cells that failed show no pattern among 20"
    # A batch size may be what is over: cells do not say which limit.
    assert chart.says.endswith("Hatched with a number are 2, over a limit.")
    assert heat.words_of(cells["128", "4"]).endswith(", over the limit")


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


def test_the_heat_map_says_what_the_failed_cells_have_in_common() -> None:
    """All cells with 3 or 4 workers failed: that is said with the words of LT008, and what was not run has no part."""
    rows = [
        make_trial(
            LoaderConfig(batch_size=batch, num_workers=workers, pin_memory=pinned),
            100.0,
            status="failed" if workers >= 3 else "interrupted" if batch == 256 else "ok",
        )
        for batch in (64, 128, 256)
        for workers in range(5)
        for pinned in (False, True)
    ]
    chart = heat.heat_map(with_trials(make_result(), tuple(rows)))
    assert chart is not None
    assert chart.says.endswith(
        "Hatched without a number are 9 of 15 cells: each says what became of it, and all trials say why. Of the cells "
        "without a number whose trials failed, all have 3 or 4 workers, and the 6 that gave a number have 0 to 2."
    )


def test_a_cell_says_its_failure_before_what_was_not_run_in_it() -> None:
    """A cell whose first row was not reached and whose second failed is called failed."""
    config = LoaderConfig(batch_size=64, num_workers=2)
    rows = (
        make_trial(config, 100.0, status="interrupted"),
        make_trial(dataclasses.replace(config, pin_memory=True), 100.0, status="failed"),
        make_trial(LoaderConfig(batch_size=64), 200.0),
    )
    chart = heat.heat_map(with_trials(make_result(), rows))
    assert chart is not None
    assert [cell.label for cell in chart.cells] == ["200", "failed"]


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


def test_a_label_lies_neither_on_the_axis_nor_on_a_point() -> None:
    """A point at the foot of the drawing is named above it, and one beside others where none of them is."""
    foot = trade.TradePoint(
        words="", key="foot", host_peak_bytes=100, samples_per_second=1.0, low=1.0, high=1.0, mark="front",
        label="baseline: 0 workers, batch 64",
    )  # fmt: skip
    top = dataclasses.replace(foot, key="top", host_peak_bytes=1000, samples_per_second=100.0, high=100.0, label="")
    beside = dataclasses.replace(foot, key="beside", host_peak_bytes=140, samples_per_second=5.0, label="")
    places = {
        key: {point.key: point.label_place for point in trade._with_places(points)}["foot"]
        for key, points in (("alone", (foot, top)), ("beside", (foot, top, beside)))
    }
    assert places == {"alone": "above right", "beside": "far above right"}


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
    reached = "With batch 256, 2 workers reach a steady 2,835 samples/s, 1.79 × the rate at 0 workers"
    assert chart.says == f"{reached}; going on to 4 workers loses 4 %."


def test_with_one_worker_count_the_batch_size_is_the_knob() -> None:
    """Where workers were not varied the chart turns the batch size."""
    rows = tuple(make_trial(LoaderConfig(batch_size=size), 900.0 + size) for size in (32, 64, 128))
    chart = knob.knob(with_trials(make_result(), rows))
    assert chart is not None
    assert chart.name == "batch size"
    assert [point.knob for point in chart.points] == [32, 64, 128]
    assert "batch 128 reaches a steady 1,028 samples/s" in chart.says


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


LETTERS = {0.33: " ',.IJijl", 0.38: "-/:;f|", 0.42: "!()[]rt", 0.53: "*_sz", 0.61: "?LcFPTYaekovxy", 1.0: "%mMW@"}
"""Widths over the font size, at most, in DejaVu Sans: with Verdana the widest that browsers take for sans-serif."""
OTHER_LETTER = 0.64


def wide(text: str, size: float) -> float:
    """Return the width of a text in a wide font."""
    widths = {letter: width for width, letters in LETTERS.items() for letter in letters}
    return size * sum(widths.get(letter, OTHER_LETTER) for letter in text)


_SHIFT = re.compile(r"(translate|rotate)\(([-\d.]+)(?:[ ,]([-\d.]+))?\)")


def texts(
    element: ET.Element, x: float = 0.0, y: float = 0.0, inherited: dict[str, str] | None = None
) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield each text of a drawing with its left, top, right and bottom end, as a wide font draws it."""
    turned = False
    for kind, first, second in _SHIFT.findall(element.attrib.get("transform", "")):
        across, down = float(first), float(second or 0)
        if kind == "rotate":
            turned = across == -90  # the only angle that charts use for text
        else:
            x, y = (x + down, y - across) if turned else (x + across, y + down)
    style = {**(inherited or {}), **element.attrib}
    if element.tag.endswith("}text") and element.text and style.get("opacity") != "0":
        size = float(style["font-size"].removesuffix("px"))
        width = wide(element.text, size)
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[style.get("text-anchor", "start")] * width
        if turned:
            yield element.text, x - size, y - width + before, x, y + before
        else:
            yield element.text, x - before, y - size, x - before + width, y
    for child in element:
        yield from texts(child, x, y, style)


def long_names() -> RunResult:
    """Return a run whose pick, also the fastest, has a name as long as they come."""
    rows = []
    for row in make_detailed_result().trials:
        config = dataclasses.replace(row.config, pin_memory=True, persistent_workers=row.num_workers > 0)
        changes = {"pin_memory": True, "persistent_workers": row.num_workers > 0, "config_id": config.config_id}
        rows.append(dataclasses.replace(row, **changes))
    result = with_trials(make_detailed_result(), tuple(rows))
    best = max((row for row in rows if row.samples_per_second), key=lambda row: row.samples_per_second or 0.0)
    pick = dataclasses.replace(result.best, config=best.config, config_id=best.config_id)
    return dataclasses.replace(result, best=pick, fastest=pick)


@pytest.mark.parametrize(
    "result", [make_result(), make_detailed_result(), make_detailed_result(count=60), long_names()]
)
def test_no_text_of_a_chart_is_cut(result: RunResult) -> None:
    """In a wide font too every text of every chart lies within its drawing, and none was shortened."""
    for figure in figures(result):
        root = ET.fromstring(figure.svg)  # noqa: S314 - drawn here
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        found = list(texts(root))
        assert found, figure.name
        for text, left, top, right, bottom in found:
            assert "…" not in text, figure.name
            assert left >= -1, (figure.name, text)
            assert top >= -1, (figure.name, text)
            assert right <= width + 1, (figure.name, text)
            assert bottom <= height + 1, (figure.name, text)


@pytest.mark.parametrize(
    "result", [make_result(), make_detailed_result(), make_detailed_result(count=60), long_names()]
)
def test_no_two_labels_of_an_axis_touch(result: RunResult) -> None:
    """In a wide font too there is room between neighbouring labels on one line below a chart."""
    for figure in figures(result):
        for axis in ET.fromstring(figure.svg).iter():  # noqa: S314 - drawn here
            if axis.attrib.get("class", "").startswith("mark-text role-axis-label"):
                boxes = [box for box in texts(axis) if box[0].strip()]
                on_a_line = {round(box[2]) for box in boxes}
                if len(on_a_line) == 1:
                    row = sorted(boxes, key=lambda box: box[1])
                    assert all(one[3] < other[1] for one, other in itertools.pairwise(row)), figure.name


@pytest.mark.parametrize(("low", "high"), [(0.07, 130.0), (1.2, 8.0), (40.0, 55.0), (0.5, 2e4), (9.0, 11.0)])
def test_the_axis_of_waits_has_labels_enough(low: float, high: float) -> None:
    """Over a decade, less or many there are three labels at least and not too many, each within the axis."""
    ticks = waits.log_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)
