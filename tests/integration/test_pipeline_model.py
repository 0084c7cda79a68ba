"""The exact form of the pipeline model against real DataLoaders that sleep as they are told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, SweepPlan, TrialRequest
from loadtune.judge.pipeline import FloatArray, Passage, Pipeline, simulate
from loadtune.judge.prediction import predict
from loadtune.record.environment import read_environment
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

# Sleeping workers need no core; torch's advice to stay at the CPU count is not asked for.
pytestmark = [pytest.mark.sleeps, pytest.mark.filterwarnings("ignore:This DataLoader will create")]


class Timed(Dataset[Any]):
    """Each item is a batch that sleeps for its own time, and tells how long it really took."""

    def __init__(self, seconds: FloatArray) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.seconds)

    def __getitem__(self, index: int) -> tuple[int, float]:
        began = time.perf_counter()
        time.sleep(self.seconds[index])
        return index, time.perf_counter() - began


class Seen(NamedTuple):
    """One epoch of a real loader."""

    handed_out: FloatArray
    """Seconds from asking for the iterator."""
    waits: FloatArray
    order: list[int]
    service: FloatArray
    """Time of each batch in its worker, in the sampler's order."""
    start_seconds: float
    """Starting one worker."""
    step_seconds: float
    """Mean of the consumer's steps: a sleep overshoots."""


def real_epoch(seconds: FloatArray, *, step: float = 0.0, **settings: Any) -> Seen:
    """Run an epoch, with a consumer that sleeps for each batch."""
    loader = DataLoader(Timed(seconds), batch_size=None, **settings)
    out, waits, order, steps = [], [], [], []
    service = np.zeros(len(seconds))
    began = asked = time.perf_counter()
    iterator = iter(loader)
    started = time.perf_counter() - began
    for index, took in iterator:
        out.append(time.perf_counter() - began)
        waits.append(time.perf_counter() - asked)
        order.append(int(index))
        service[int(index)] = float(took)
        if step:
            time.sleep(step)
        asked = time.perf_counter()
        steps.append(asked - began - out[-1])
    start = started / settings["num_workers"]
    return Seen(np.array(out), np.array(waits), order, service, start, float(np.mean(steps)))


def simulated(seen: Seen, **settings: Any) -> Passage:
    pipeline = Pipeline(consumer_seconds=seen.step_seconds, start_seconds=seen.start_seconds, **settings)
    return simulate(pipeline, seen.service)


def closest(seconds: FloatArray, *, step: float = 0.0, **settings: Any) -> tuple[Seen, Passage, float]:
    """Return the real epoch of up to four whose span is nearest to the simulated one: other work only disturbs."""
    tries = []
    for _ in range(4):
        seen = real_epoch(seconds, step=step, **settings)
        passage = simulated(seen, **settings)
        spans = [float(times[-1]) for times in (seen.handed_out, passage.handed_out_seconds)]
        tries.append((abs(spans[0] / spans[1] - 1), seen, passage))
        if tries[-1][0] < 0.04:
            break
    error, seen, passage = min(tries, key=lambda one: one[0])
    return seen, passage, error


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_constant_times() -> None:
    """A constant sleep: the epoch within 5 %, in bursts of four where the simulator has them."""
    seen, passage, error = closest(np.full(32, 0.08), num_workers=4)
    assert error < 0.05
    assert abs(seen.handed_out - passage.handed_out_seconds).max() < 0.08


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("ahead", [1, 2])
def test_heavy_tail(*, in_order: bool, ahead: int) -> None:
    """One batch in twelve takes ten times as long: the epoch within 5 %, with order, which costs much, and without."""
    seconds = np.full(60, 0.02)
    seconds[5::12] = 0.2
    settings = {"num_workers": 4, "in_order": in_order, "prefetch_factor": ahead}
    seen, _, error = closest(seconds, **settings)
    assert error < 0.05
    assert sorted(seen.order) == list(range(60))
    assert (seen.order == list(range(60))) == in_order


def test_slow_consumer() -> None:
    """A step of 20 ms behind a faster loader: the epoch within 5 %, and after the first batch there is no wait."""
    seen, passage, error = closest(np.full(40, 0.01), num_workers=2, step=0.02)
    assert error < 0.05
    assert passage.wait_seconds[1:].max() == 0
    assert np.median(seen.waits[1:]) < 0.005


def test_tail_of_an_epoch() -> None:
    """17 batches on 16 workers take two rounds in the simulator and in torch, within 5 %."""
    seen, passage, error = closest(np.full(17, 0.25), num_workers=16)
    assert error < 0.05
    assert seen.handed_out[16] > 2 * 0.25
    assert passage.epoch_seconds > 2 * 0.25


def test_real_trials_predict_what_was_not_measured() -> None:
    """Fitted to real trials of 5 ms a sample with up to 4 workers, 8 workers are predicted within 10 % of W/S."""
    target = f"{Path(__file__).parent / 'targets.py'}:sleeping"
    setup = Setup(target=target, arguments={}, device="cpu", seed=0, warm_seconds=0.0)
    configs = [LoaderConfig(batch_size=size, num_workers=workers) for size in (8, 32) for workers in (1, 2, 4)]
    with Supervisor(setup, trial_timeout_seconds=60) as running:
        records = [
            running.run(
                TrialRequest(
                    order=order,
                    block=0,
                    phase="screen",
                    config=config,
                    measurement=Measurement(max_seconds=1.0, real_epoch_seconds=0.0),
                    consumer=Consumer(),
                )
            )
            for order, config in enumerate(configs)
        ]
        probe = running.probe
    unseen = LoaderConfig(batch_size=16, num_workers=8)
    found = predict(
        records, [*configs, unseen], probe=probe, plan=SweepPlan(target=target), environment=read_environment()
    )
    assert found.model.note is None
    assert found.rates[unseen].estimate == pytest.approx(8 / 0.005, rel=0.1)
    assert found.rates[unseen].low < 8 / 0.005
