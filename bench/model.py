"""The pipeline model on real loaders: fitted on a third of a grid, how far is it off for the rest?"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.record.results import Probe, TrialRecord
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "targets.py"
BLOCKS = 2
"""Each configuration is measured once in each; what a block has in common is taken out."""


@dataclass(frozen=True)
class Case:
    """A loader and the grid it is measured on."""

    name: str
    target: str
    batch_sizes: tuple[int, ...]
    workers: tuple[int, ...]
    arguments: dict[str, str] = field(default_factory=dict)
    in_order: tuple[bool, ...] = (True,)
    step_seconds: float = 0.0

    def configs(self) -> list[LoaderConfig]:
        """Return the grid, each configuration once."""
        axes = itertools.product(self.batch_sizes, self.workers, self.in_order)
        grid = (
            LoaderConfig.normalised(batch_size=size, num_workers=workers, in_order=order)
            for size, workers, order in axes
        )
        return list(dict.fromkeys(grid))


CASES = (
    Case("cifar10", "cifar10", (32, 128, 512), (0, 1, 2, 3, 4, 8)),
    Case("images", "images", (8, 16, 32), (0, 1, 2, 3, 4, 8)),
    Case("in memory", f"{TARGETS}:in_memory", (32, 128, 512), (0, 1, 2, 3, 4, 8)),
    Case("storage, 4 ms", f"{TARGETS}:storage", (8, 32), (0, 1, 2, 4, 8, 16, 24, 32), {"seconds": "0.004"}),
    Case(
        "storage, 4 ms ± 200 %",
        f"{TARGETS}:storage",
        (2, 8, 32),
        (0, 1, 2, 4, 8, 16),
        {"seconds": "0.004", "variation": "2"},
        in_order=(True, False),
    ),
    Case(
        "storage, 4 ms, step 30 ms",
        f"{TARGETS}:storage",
        (8, 16, 32),
        (0, 1, 2, 4, 8),
        {"seconds": "0.004"},
        step_seconds=0.03,
    ),
)


def measure(case: Case) -> tuple[Probe, list[TrialRecord]]:
    """Return what the data set is like, and the trials of the whole grid, in random order within each block."""
    setup = Setup(target=case.target, arguments=case.arguments, device="cpu", seed=0, warm_seconds=10.0)
    records = []
    with Supervisor(setup, trial_timeout_seconds=60) as supervisor:
        for block in range(BLOCKS):
            for config in shuffled(case.configs(), block):
                records.append(supervisor.run(request(config, case, block, order=len(records))))
                print(".", end="", flush=True)
        print(flush=True)
        return supervisor.probe, records


def shuffled(configs: Sequence[LoaderConfig], seed: int) -> list[LoaderConfig]:
    order = list(configs)
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    return order


def request(config: LoaderConfig, case: Case, block: int, order: int) -> TrialRequest:
    return TrialRequest(
        order=order,
        block=block,
        phase="screen",
        config=config,
        measurement=Measurement(max_seconds=1.0, real_epoch_seconds=0.0),
        consumer=Consumer(step_seconds=case.step_seconds),
    )
