"""Runs trials of a target under whatever limits this process has, and prints their records as JSON.

``one_by_one.py NAME TIMEOUT BATCHxWORKERS ...``
"""

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


def records(name: str, *requests: TrialRequest, timeout: float = 20.0, **arguments: str) -> list[TrialRecord]:
    """Return the records of trials that ran one after another in one host."""
    with Supervisor(setup(name, **arguments), trial_timeout_seconds=timeout) as running:
        return [running.run(one) for one in requests]


def main(name: str, timeout: str, *sizes: str) -> None:
    pairs = (size.split("x") for size in sizes)
    wanted = [request(batch_size=int(batch), num_workers=int(workers)) for batch, workers in pairs]
    sys.stdout.buffer.write(msgspec.json.encode(records(name, *wanted, timeout=float(timeout))))


if __name__ == "__main__":
    main(*sys.argv[1:])
