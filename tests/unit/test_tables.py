"""CSV, JSON, Markdown and the frame."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import msgspec
import pytest
from hypothesis import given, settings

from factories import HOSTILE, make_result, make_trial, with_trials
from hostile import hostile_text
from loadtune.describe.config import LoaderConfig
from loadtune.record.results import CSV_COLUMNS, JSON_ONLY_FIELDS, RunResult
from loadtune.show import tables


def rows_of(result: RunResult) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tables.to_csv(result), newline="")))


def test_csv_has_the_columns_of_the_contract_in_order() -> None:
    """The header is CSV_COLUMNS, with one row a configuration."""
    result = make_result()
    assert tuple(rows_of(result)[0]) == CSV_COLUMNS
    assert len(rows_of(result)) == len(result.trials)


def test_csv_says_every_value_and_nothing_else() -> None:
    """Numbers read back to what was measured, booleans are true and false, and not measured is empty."""
    result = make_result()
    for row, trial in zip(rows_of(result), result.trials, strict=True):
        for name in CSV_COLUMNS:
            value = getattr(trial, name)
            if value is None:
                assert row[name] == ""
            elif isinstance(value, bool):
                assert row[name] == str(value).lower()
            elif isinstance(value, int | float):
                assert float(row[name]) == value
            else:
                assert row[name] == value


def test_csv_leaves_out_what_is_no_number() -> None:
    """NaN and infinity are no measurements: their cells are empty."""
    trial = make_trial(LoaderConfig(batch_size=64), 100.0, epoch_seconds=math.nan, samples_per_second_high=math.inf)
    row = rows_of(with_trials(make_result(), (trial,)))[0]
    assert (row["epoch_seconds"], row["samples_per_second_high"]) == ("", "")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\x1b[31m=1"])
def test_csv_text_never_runs_as_a_formula(text: str) -> None:
    """A text cell that a spreadsheet would run begins with an apostrophe."""
    trial = dataclasses.replace(make_result().trials[0], failure_reason=text)
    assert rows_of(with_trials(make_result(), (trial,)))[0]["failure_reason"].startswith("'")


def test_csv_numbers_below_zero_stay_numbers() -> None:
    """Only text is quoted: a negative number is one still."""
    trial = make_trial(LoaderConfig(batch_size=64), 100.0, samples_per_second_low=-1.5)
    assert rows_of(with_trials(make_result(), (trial,)))[0]["samples_per_second_low"] == "-1.5"


@given(hostile_text())
def test_csv_stays_one_line_a_row(text: str) -> None:
    """No string breaks out of its cell, its line or into a formula."""
    result = make_result(hostile=text)
    assert len(tables.to_csv(result).split("\n")) == len(result.trials) + 2
    for row in rows_of(result):
        assert tuple(row) == CSV_COLUMNS
        assert not row["failure_reason"].startswith(("=", "+", "-", "@"))


def test_json_has_the_schema_of_the_contract() -> None:
    """The keys are those of the interface, in its order, and each trial has every column."""
    data = json.loads(tables.to_json(make_result()))
    assert tuple(data)[: len(tables.JSON_KEYS)] == tables.JSON_KEYS
    assert data["schema"] == "loadtune.run/1"
    assert set(data["best"]) == {
        "config_id", "config", "samples_per_second", "host_peak_bytes", "gpu_peak_bytes", "reason",
    }  # fmt: skip
    assert set(data["best"]["samples_per_second"]) == {"estimate", "low", "high"}
    assert tuple(data["trials"][0]) == (*CSV_COLUMNS, *JSON_ONLY_FIELDS)
    assert data["tied"] == ["b256-w2-drop", "b256-w2", "b512-w2", "b512-w2-drop"]


def test_json_reads_back_to_the_same_result() -> None:
    """Nothing of a result is lost in JSON."""
    result = make_result()
    assert msgspec.json.decode(tables.to_json(result), type=RunResult) == result


def test_json_has_null_where_there_is_nothing() -> None:
    """No pick is null, and so is a number that is not finite."""
    trial = make_trial(LoaderConfig(batch_size=64), 100.0, epoch_seconds=math.nan, windows=(math.inf,))
    result = with_trials(make_result(best=None, fastest=None, baseline=None, gain=None), (trial,))
    data = json.loads(tables.to_json(result), parse_constant=pytest.fail)
    assert (data["best"], data["gain"], data["trials"][0]["epoch_seconds"]) == (None, None, None)


@given(hostile_text())
@settings(max_examples=50)
def test_json_holds_any_string(text: str) -> None:
    """Any name comes back from JSON as it was, but for halves of surrogate pairs, which UTF-8 has no form for."""
    data = json.loads(tables.to_json(make_result(hostile=text)).encode())
    expected = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    assert data["target"] == (expected or "cifar10")


def test_markdown_has_verdict_table_code_and_findings() -> None:
    """The Markdown export says the pick, the leaders, the code and the findings."""
    text = tables.to_markdown(make_result())
    assert text.startswith("### loadtune: 2 workers, batch 256, drop\\_last: 2,835 ± 31 samples/s")
    assert "| 2 workers, batch 256 | 2,835 ± 31 |" in text
    assert "batch_size=256" in text
    assert "**LT001**" in text


@given(hostile_text())
def test_markdown_shows_strings_as_they_are(text: str) -> None:
    """No string becomes an element, a link, a table cell or a code span."""
    shown = tables.markdown_text(text)
    assert "<" not in shown
    assert "\n" not in shown
    for character in "|`[]*_":
        assert shown.count(character) == shown.count(f"\\{character}")


def test_markdown_without_a_pick_says_so() -> None:
    """Where nothing fits there is no code to paste, and the reason is said."""
    text = tables.to_markdown(make_result(best=None, fastest=None, gain=None))
    assert "No configuration" in text
    assert "DataLoader(" not in text
    assert "the limit is 900 MiB" in text


def test_frame_has_the_columns_and_keeps_whole_numbers_whole() -> None:
    """The frame has the columns of the CSV; absent is NA, and an integer with gaps is still an integer."""
    frame = tables.to_frame(make_result(hostile=HOSTILE))
    assert tuple(frame.columns) == CSV_COLUMNS
    assert str(frame["host_peak_bytes"].dtype) == "Int64"
    assert frame["host_peak_bytes"].isna().sum() == 6
    assert frame.loc[frame["chosen"], "config_id"].tolist() == ["b256-w2-drop"]
