"""Predictions in a result: in every row, in every output, and with their trust said."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from scripted_machine import a_probe, a_record, an_environment

from factories import make_result
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.verdict import conclude
from loadtune.record.contents import Contents, Delivery
from loadtune.record.results import MemoryLimits, Model, Probe, RunResult
from loadtune.show.page import render
from loadtune.show.predicted import model_sentence
from loadtune.show.tables import to_csv, to_json, to_markdown
from loadtune.show.terminal import print_result

CONFIGS = [LoaderConfig(batch_size=size, num_workers=workers) for size in (32, 128) for workers in (0, 1, 2, 4)]
UNMEASURED = LoaderConfig(batch_size=64, num_workers=2)
TOO_LARGE = LoaderConfig(batch_size=100_000, num_workers=2, drop_last=True)
PER_SAMPLE = 1e-3


def rate(config: LoaderConfig) -> float:
    """A sample takes 1 ms of one of two cores; a batch half a millisecond more in a worker."""
    size, workers = config.batch_size or 1, config.num_workers
    return size / ((PER_SAMPLE * size + 5e-4) / min(workers, 2) if workers else PER_SAMPLE * size)


def concluded(probe: Probe | None = None, **changes: float) -> RunResult:
    records = [
        a_record(config, (changes.get(config.config_id, rate(config)),) * 2, order=order, cpu_seconds=None)
        for order, config in enumerate(CONFIGS)
    ]
    return conclude(
        plan=SweepPlan(target="x"),
        environment=an_environment(),
        probe=probe or a_probe(),
        limits=MemoryLimits(),
        records=records,
        configs=[*CONFIGS, UNMEASURED, TOO_LARGE],
        command=("loadtune", "sweep"),
        started_at="2031-05-04T10:11:12+00:00",
        elapsed_seconds=20.0,
    )


def test_every_row_that_can_run_is_predicted() -> None:
    """A row that was not measured has a predicted rate close to the truth; one that was refused has none."""
    result = concluded()
    row = result.trial(UNMEASURED.config_id)
    assert row is not None
    assert row.samples_per_second is None
    assert row.predicted_samples_per_second == pytest.approx(rate(UNMEASURED), rel=0.05)
    assert row.predicted_samples_per_second_low is not None
    assert row.predicted_samples_per_second_high is not None
    assert row.predicted_samples_per_second_low < rate(UNMEASURED) < row.predicted_samples_per_second_high
    refused = result.trial(TOO_LARGE.config_id)
    assert refused is not None
    assert refused.predicted_samples_per_second is None
    assert all(row.predicted_samples_per_second for row in result.trials if row.status == "ok")


def test_the_model_is_in_the_result() -> None:
    """The result has the parameters by name, the error on unseen trials and what bounds the pick."""
    model = concluded().model
    assert model.parameters["cpu_seconds_per_sample"] + model.parameters["blocked_seconds_per_sample"] == pytest.approx(
        PER_SAMPLE, rel=0.1
    )
    assert model.median_abs_error is not None
    assert model.median_abs_error < 0.05
    assert model.pick_bounded_by in ("cores", "workers")
    assert model.note is None


def test_copies_are_work_to_the_model_and_not_to_the_rates() -> None:
    """Where every worker reads all samples, costs and error are those of the deliveries; rates count unique samples."""
    shares = tuple(Delivery(num_workers=count, samples=100, unique_share=1 / count) for count in (2, 4))
    repeating = concluded(a_probe(contents=Contents(deliveries=shares)))
    plain = concluded()
    assert repeating.model.parameters == plain.model.parameters
    assert repeating.model.median_abs_error == plain.model.median_abs_error
    for config in (*CONFIGS, UNMEASURED):
        row, whole = repeating.trial(config.config_id), plain.trial(config.config_id)
        assert row is not None
        assert whole is not None
        share = 1 / max(1, config.num_workers)
        for name in ("", "_low", "_high"):
            told, all_of_it = (getattr(one, f"predicted_samples_per_second{name}") for one in (row, whole))
            assert told == pytest.approx(share * all_of_it)


def test_without_trust_the_column_is_empty() -> None:
    """Where the rates are no loader's the column is empty in all rows, and one sentence says why."""
    strange = {"b32-w0": 900.0, "b32-w1": 90.0, "b128-w0": 100.0, "b128-w2": 9000.0, "b32-w4": 40.0, "b128-w1": 4.0}
    result = concluded(**strange)
    assert all(row.predicted_samples_per_second is None for row in result.trials)
    assert "The pipeline model predicts nothing here: its median error" in (model_sentence(result) or "")


def test_outputs_have_the_predictions() -> None:
    """CSV, JSON, terminal and report have the predicted rate, also of what was not measured, and the trust."""
    result = concluded()
    row = result.trial(UNMEASURED.config_id)
    assert row is not None
    cells = {one["config_id"]: one for one in csv.DictReader(io.StringIO(to_csv(result)))}
    assert float(cells[UNMEASURED.config_id]["predicted_samples_per_second"]) == row.predicted_samples_per_second
    data = json.loads(to_json(result))
    assert data["model"]["parameters"] == result.model.parameters
    trial = next(one for one in data["trials"] if one["config_id"] == UNMEASURED.config_id)
    assert trial["predicted_samples_per_second_low"] == row.predicted_samples_per_second_low
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    print_result(result, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "model (95 %)" in shown
    assert "The pipeline model predicts the measured steady rates" in shown
    assert "pipeline model predicts the measured steady rates" in to_markdown(result)
    page = render(result)
    assert "the model&#39;s (95 %)" in page
    assert "what bounds the pick" in page


def test_sentence() -> None:
    """The sentence gives both errors and the bound; a run from before the model has none."""
    result = make_result()
    told = Model(median_abs_error=0.0312, p90_abs_error=0.0789, pick_bounded_by="cores")
    assert model_sentence(replace(result, model=told)) == (
        "The pipeline model predicts the measured steady rates, each from the others, within 3.1 % in the median "
        "(7.9 % for nine of ten); what bounds the pick: the cores."
    )
    assert model_sentence(replace(result, model=Model())) is None


def test_what_bounds_the_pick_is_not_said_where_it_is_not_as_predicted() -> None:
    """A pick of three times the rate that the others predict for it: the sentence says so, and names no bound."""
    odd = LoaderConfig(batch_size=128, num_workers=4)
    result = concluded(**{odd.config_id: 3 * rate(odd)})
    assert result.best is not None
    assert result.best.config_id == odd.config_id
    row = result.trial(odd.config_id)
    assert row is not None
    assert row.predicted_samples_per_second is not None
    assert result.model.pick_bounded_by is None
    assert "147 % faster than predicted, so what bounds it is not known" in (model_sentence(result) or "")
