"""The resident-memory model against real loaders: from a few trials to those that it has not seen."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.judge.evidence import by_group
from loadtune.judge.memory import full_queue_peak_bytes, shm_peak_bytes
from loadtune.judge.resident import resident
from loadtune.judge.stretches import reach
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

SEEN = [(4, 0), (4, 1), (16, 0), (4, 4), (16, 1), (4, 2)]
UNSEEN = [(16, 2), (8, 3), (16, 4)]


def config(size: int, workers: int) -> LoaderConfig:
    return LoaderConfig.normalised(batch_size=size, num_workers=workers)


ROUNDS = 2


@pytest.mark.alone
@pytest.mark.own_interpreter
def test_memory_of_what_was_not_measured() -> None:
    """Samples of 1 MiB: six configurations predict host memory of three others to 5 %, shared to one batch."""
    setup = Setup(
        target=f"{Path(__file__).parent / 'targets.py'}:kept", arguments={}, device="cpu", seed=0, warm_seconds=0.0
    )
    configs = [config(*one) for one in (*SEEN, *UNSEEN)]
    with Supervisor(setup, trial_timeout_seconds=60) as running:
        requests = [request(one, block) for block in range(ROUNDS) for one in configs]
        trials = by_group([running.run(one) for one in requests])
        probe = running.probe
    model = resident([record for one in SEEN for record in trials[config(*one)]], probe)
    assert model is not None
    for size, workers in UNSEEN:
        found = [(model.of(record.config, reach(record)), record) for record in trials[config(size, workers)]]
        errors = [one.host_bytes / (full_queue_peak_bytes([record]) or 1) - 1 for one, record in found]
        assert abs(statistics.mean(errors)) <= 0.05, (size, workers)
        for one, record in found:
            assert abs(one.shm_bytes - (shm_peak_bytes([record]) or 0)) <= (size << 20) + (1 << 16)


def request(asked: LoaderConfig, block: int) -> TrialRequest:
    return TrialRequest(
        order=0,
        block=block,
        phase="screen",
        config=asked,
        measurement=Measurement(window_seconds=0.2, max_seconds=0.4, real_epoch_seconds=0.0, pause_seconds=1.0),
        consumer=Consumer(),
    )
