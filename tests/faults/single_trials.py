"""Single trials in the real trial host against a data set of ``hard_targets.py``, for the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.record.results import SteadyMeasurement, TrialRecord
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

HARD = Path(__file__).parent / "hard_targets.py"
QUICK = Measurement(max_seconds=1.0, real_epoch_seconds=0.0)
LONG = Measurement(max_seconds=60.0, precision=0.0, real_epoch_seconds=0.0)
"""For trials that something is done to while they run."""
TRIES = 4
"""Other work on the machine only ever slows a trial down: the best of so many is the loader's own."""


@contextmanager
def trial_host(name: str, *, warm_seconds: float = 0.0, cold: bool = False, **arguments: str) -> Iterator[Supervisor]:
    setup = setup_of(f"{HARD}:{name}", warm_seconds=warm_seconds, **arguments)
    with Supervisor(setup, trial_timeout_seconds=60.0, cold=cold) as running:
        yield running


@contextmanager
def host_of(target: str, *, timeout: float = 60.0, **arguments: str) -> Iterator[Supervisor]:
    """Run what is asked for against a target of another file."""
    with Supervisor(setup_of(target, **arguments), trial_timeout_seconds=timeout) as running:
        yield running


def setup_of(target: str, *, warm_seconds: float = 0.0, worker_counts: tuple[int, ...] = (), **arguments: str) -> Setup:
    return Setup(
        target=target,
        arguments=arguments,
        device="cpu",
        seed=0,
        warm_seconds=warm_seconds,
        worker_counts=worker_counts,
    )


def asked(*, measurement: Measurement = QUICK, step: float = 0.0, seed: int = 0, **settings: Any) -> TrialRequest:
    return TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig.normalised(**settings),
        drop_last=(False, True),
        measurement=measurement,
        consumer=Consumer(step_seconds=step),
        seed=seed,
    )


def steady_of(record: TrialRecord) -> SteadyMeasurement:
    assert record.status == "ok", record.failure_reason
    assert record.steady is not None
    return record.steady


def rate_of(record: TrialRecord) -> float:
    steady = steady_of(record)
    return steady.samples_measured / steady.measured_seconds


def best_rate(running: Supervisor, request: TrialRequest, *, enough: float) -> float:
    """Return the best rate of a few trials, no more than it takes to be above ``enough``."""
    rate = 0.0
    for _ in range(TRIES):
        rate = max(rate, rate_of(running.run(request)))
        if rate >= enough:
            break
    return rate
