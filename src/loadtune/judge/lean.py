"""Where all that was measured is over the limits: the leanest comes next, so that what fits is found if anything is."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.state import Group, State

WORKER_BYTES = 100 * 2**20
"""What a worker takes beside its batches, about; only the order depends on it."""


def lean_first(state: State, waiting: Sequence[Group]) -> list[Group]:
    """Return ``waiting`` as it is, or with the least needy first where everything measured so far is over a limit."""
    measured = [row for row in state.choice().rows if row.status == "ok"]
    if not measured or any(row.within_limits is not False for row in measured):
        return list(waiting)
    return sorted(waiting, key=lambda group: need_bytes(group.config, state.probe.bytes_per_sample or 1.0))


def need_bytes(config: LoaderConfig, bytes_per_sample: float) -> float:
    """Return about what a configuration takes beside the main process: to order by, nothing else."""
    batches = config.batches_in_flight + 1
    return config.num_workers * WORKER_BYTES + batches * (config.batch_size or 1) * bytes_per_sample
