"""How a training step is fed, against arithmetic: a data set that sleeps, a step that sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import loadtune
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.record.results import Feeding, SteadyMeasurement
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).with_name("feeding_targets.py")
BATCH = 32
"""So many that a hand-over, some milliseconds on a slow machine, is a small share of what their samples take."""


@pytest.fixture(scope="module")
def running() -> Iterator[Supervisor]:
    setup = Setup(target=f"{TARGETS}:Sleeping", arguments={}, device="cpu", seed=0, warm_seconds=0.0)
    with Supervisor(setup, trial_timeout_seconds=60.0) as supervisor:
        yield supervisor


def trial(running: Supervisor, consumer: Consumer) -> SteadyMeasurement:
    request = TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig(batch_size=BATCH, num_workers=1),
        measurement=Measurement(max_seconds=3.0, real_epoch_seconds=0.0),
        consumer=consumer,
    )
    record = running.run(request)
    assert record.steady is not None, record.failure_reason
    return record.steady


def fed(steady: SteadyMeasurement) -> Feeding:
    assert steady.feeding is not None
    return steady.feeding


@pytest.mark.sleeps
@pytest.mark.parametrize("share", [0.5, 0.8, 1.0, 1.2])
def test_wait_share_and_utilisation_are_arithmetic(running: Supervisor, share: float) -> None:
    """One worker takes S for a batch: a step of ρ·S waits for max(0, 1 − ρ) of the time, to three points."""
    alone = trial(running, Consumer())
    batch_seconds = BATCH * alone.measured_seconds / alone.samples_measured
    feeding = fed(trial(running, Consumer(step_seconds=share * batch_seconds)))
    assert feeding.cached_samples_per_second is not None
    # A sleep overshoots: the step is as long as it was measured.
    ratio = BATCH / feeding.cached_samples_per_second / batch_seconds
    assert ratio == pytest.approx(share, abs=0.05)
    waits = max(0.0, 1 - ratio)
    assert feeding.wait_share == pytest.approx(waits, abs=0.03)
    assert feeding.step_share == pytest.approx(1 - waits, abs=0.03)


def test_a_trial_without_a_step_says_nothing_of_one(running: Supervisor) -> None:
    """Where nothing takes the batches there is nothing that is fed."""
    assert trial(running, Consumer()).feeding is None


def test_a_step_that_is_none_is_a_failed_trial(running: Supervisor) -> None:
    """A step's maker that gives no function is a row whose reason says what it gave."""
    request = TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig(batch_size=BATCH),
        measurement=Measurement(max_seconds=1.0),
        consumer=Consumer(step=f"{TARGETS}:no_step"),
    )
    record = running.run(request)
    assert record.status == "failed"
    assert "it must be a function of a batch" in (record.failure_reason or "")


def test_a_sweep_with_a_step_says_what_could_be_won() -> None:
    """With one worker and a step of a quarter of its time the sweep is loader-bound, three quarters to be won."""
    run = loadtune.sweep(
        f"{TARGETS}:Sleeping",
        batch_size=BATCH,
        num_workers=[1],
        drop_last=False,
        step=f"{TARGETS}:step",
        time_budget="8s",
    )
    said = next(finding for finding in run.findings if finding.code == "LT030")
    assert said.message.startswith("loader-bound")
    assert said.numbers["headspace"] == pytest.approx(0.75, abs=0.08)
    assert said.numbers["wait_share"] == pytest.approx(0.75, abs=0.08)
