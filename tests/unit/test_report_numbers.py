"""Every number of the report is in the run's CSV or JSON, or follows from them by arithmetic that is named here."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest
from test_report import Reader

from factories import make_detailed_result
from loadtune.record.results import CSV_COLUMNS, WAIT_SHARES
from loadtune.show import page, tables
from loadtune.units import format_bytes, format_number, format_rate, format_seconds

NEEDED = "memory needed"


@pytest.fixture(scope="module")
def shown() -> dict[str, list[list[str]]]:
    """The tables of the page, by caption."""
    return Reader(page.render(make_detailed_result())).tables


@pytest.fixture(scope="module")
def exported() -> list[dict[str, object]]:
    """The rows of the JSON export."""
    rows: list[dict[str, object]] = json.loads(tables.to_json(make_detailed_result()))["trials"]
    return rows


def numbers(rows: list[dict[str, object]], column: str) -> list[float]:
    """The numbers of a column; of ``NEEDED`` the larger of the peak that was seen and the one to come, as docs say."""
    if column == NEEDED:
        both = [(row["host_peak_bytes"], row["predicted_host_peak_bytes"]) for row in rows]
        return [max(size for size in sizes if isinstance(size, int)) for sizes in both if sizes[0] is not None]
    return [float(value) for row in rows if isinstance(value := row[column], (int, float))]


def test_the_table_of_all_columns_is_the_csv(shown: dict[str, list[list[str]]]) -> None:
    """Read back, the last table of the page is the CSV, cell for cell."""
    whole = list(csv.reader(io.StringIO(tables.to_csv(make_detailed_result()))))
    table = shown["All columns of the CSV; empty is not measured"]
    assert table[0] == list(CSV_COLUMNS)
    assert table[1:] == [[cell.removeprefix("'") for cell in row] for row in whole[1:]]


@pytest.mark.parametrize(
    ("caption", "column", "field", "text"),
    [
        ("Is it worth it", 2, "samples_per_second", format_rate),
        ("What memory buys", 1, NEEDED, format_bytes),
        ("What memory buys", 2, "samples_per_second", format_rate),
        ("One knob at a time: workers", 2, "samples_per_second", format_number),
        ("One knob at a time: workers", 3, "samples_per_second_low", format_number),
        ("One knob at a time: workers", 4, "samples_per_second_high", format_number),
        ("Every knob at once", -1, "samples_per_second", format_number),
        ("Where the time goes", 1, "first_batch_seconds", format_seconds),
        ("Where the time goes", 4, "epoch_seconds", format_seconds),
        ("The pipeline model against measurement", 1, "predicted_samples_per_second", format_number),
        ("The pipeline model against measurement", 2, "samples_per_second", format_number),
    ],
)
def test_a_column_of_a_chart_is_exported(  # noqa: PLR0917 - a case and the two sides
    caption: str,
    column: int,
    field: str,
    text: object,
    shown: dict[str, list[list[str]]],
    exported: list[dict[str, object]],
) -> None:
    """Each cell under a chart is the text of a number that the export has in the column of that name."""
    assert callable(text)
    known = {text(value) for value in numbers(exported, field)}
    cells = [row[column] for row in shown[caption][1:]]
    assert cells
    assert [cell for cell in cells if cell not in known] == []


def test_a_cell_of_the_heat_map_is_exported(
    shown: dict[str, list[list[str]]], exported: list[dict[str, object]]
) -> None:
    """Each rate in the heat map is one of its batch size and workers in the export; the others are statuses."""
    head, *rows = shown["Batch size and workers"]
    for row in rows:
        for name, cell in zip(head[1:], row[1:], strict=True):
            workers = int(name.split()[0])
            here = [one for one in exported if (str(one["batch_size"]), one["num_workers"]) == (row[0], workers)]
            known = {format_number(rate) for rate in numbers(here, "samples_per_second")}
            assert re.sub(r" \(.*\)", "", cell) in known | {str(one["status"]) for one in here}


def test_waits_looks_and_runs_are_exported(
    shown: dict[str, list[list[str]]], exported: list[dict[str, object]]
) -> None:
    """Waits are the exported quantiles, memory the exported looks, and the trials those in the exported runs."""
    waits = {format_seconds(wait) for row in exported for wait in row["batch_wait_quantiles_seconds"]}  # type: ignore[attr-defined]
    table = shown["Waiting for a batch"][1:]
    assert len(table) == len(WAIT_SHARES)
    assert {cell for row in table for cell in row[1:]} <= waits
    looks = {format_bytes(look["resident_bytes"]) for row in exported for look in row["looks"]}  # type: ignore[attr-defined]
    expected = {format_bytes(size) for size in numbers(exported, "predicted_host_peak_bytes")}
    assert {row[2] for row in shown["Memory as batches were taken"][1:]} <= looks | expected
    runs = {(run["order"] + 1, format_rate(run["samples_per_second"])) for row in exported for run in row["runs"]}  # type: ignore[attr-defined]
    assert {(int(row[0]), row[3]) for row in shown["Can you trust it"][1:]} <= runs


def test_memory_by_the_model_stands_beside_what_was_measured() -> None:
    """In the table of all trials host, shared and device memory are followed by what the model gives for them."""
    made = make_detailed_result()
    rows = tuple(
        replace(
            row, shm_peak_bytes=place << 20, predicted_shm_peak_bytes=place << 21, predicted_pinned_bytes=place << 22,
            gpu_peak_bytes=place << 23, predicted_gpu_peak_bytes=place << 24,
        )
        for place, row in enumerate(made.trials, 1)
    )  # fmt: skip
    result = replace(made, trials=rows)
    exported = json.loads(tables.to_json(result))["trials"]
    head, *shown = Reader(page.render(result)).tables["Every configuration, with its failure where it has one"]
    columns = (
        "predicted_host_peak_bytes", "shm_peak_bytes", "predicted_shm_peak_bytes", "predicted_pinned_bytes",
        "gpu_peak_bytes", "predicted_gpu_peak_bytes",
    )  # fmt: skip
    names = (
        "host, by the model", "shared of it", "shared, by the model", "pinned, by the model", "device memory",
        "device, by the model",
    )  # fmt: skip
    place = head.index("host memory") + 1
    assert tuple(head[place:]) == names
    for one, row in zip(shown, exported, strict=True):
        assert one[place:] == [format_bytes(row[name]) for name in columns]


def test_the_parts_of_an_epoch_add_up(shown: dict[str, list[list[str]]]) -> None:
    """The three parts come to the epoch, within their rounding."""
    for row in shown["Where the time goes"][1:]:
        parts = [seconds(cell) for cell in row[1:4]]
        assert math.isclose(sum(parts), seconds(row[4]), rel_tol=0.01)


def seconds(cell: str) -> float:
    number, unit = cell.split()
    return float(number) * {"s": 1.0, "ms": 1e-3, "µs": 1e-6}[unit]


def test_500_configurations_stay_within_a_megabyte() -> None:
    """The page of 500 configurations, with every section, has at most 1 MB; that of 50 at most 300 kB."""
    assert len(page.render(make_detailed_result()).encode()) <= 300_000
    assert len(page.render(make_detailed_result(count=500)).encode()) <= 1_000_000
