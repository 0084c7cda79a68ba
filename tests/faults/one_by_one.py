"""Runs trials of a target with so many workers each, in this process's limits, and prints their records as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.record.results import TrialRecord
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

BROKEN = Path(__file__).parent / "broken.py"


def setup(name: str, **arguments: str) -> Setup:
    return Setup(target=f"{BROKEN}:{name}", arguments=arguments, device="cpu", seed=0, warm_seconds=0.0)


def request(*, real_epoch_seconds: float = 0.0, **settings: Any) -> TrialRequest:
    return TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig.normalised(**{"batch_size": 8, **settings}),
        drop_last=(False,),
        measurement=Measurement(max_seconds=0.5, real_epoch_seconds=real_epoch_seconds),
        consumer=Consumer(),
    )


def records(name: str, *workers: int, timeout: float = 20.0, **arguments: str) -> list[TrialRecord]:
    """Return the records of trials with so many workers, one after another in one host."""
    with Supervisor(setup(name, **arguments), trial_timeout_seconds=timeout) as running:
        return [running.run(request(num_workers=count)) for count in workers]


if __name__ == "__main__":
    done = records(sys.argv[1], *map(int, sys.argv[2:]))
    sys.stdout.buffer.write(msgspec.json.encode(done))
