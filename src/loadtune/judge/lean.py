"""Where all that was measured is over the limits: the leanest comes next, so that what fits is found if anything is."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.state import Group, State

WORKER_BYTES = 100 * 2**20
"""What a worker takes beside its batches, about; only the order depends on it."""


def lean_first(state: State, waiting: Sequence[Group]) -> list[Group]:
    """Return ``waiting`` as it is, or with the least needy first where everything measured so far is over a limit."""
    return sorted(waiting, key=lambda group: _need(state, group)) if all_is_over(state) else list(waiting)


def leanest(state: State, waiting: Sequence[Group]) -> Group | None:
    """Return the least needy where everything measured so far is over a limit; else, and where none waits, None."""
    return min(waiting, key=lambda group: _need(state, group)) if waiting and all_is_over(state) else None


def all_is_over(state: State) -> bool:
    """Return whether something was measured, and nothing of it is under the limits."""
    measured = [row for row in state.narrowed().choice().rows if row.status == "ok"]
    return bool(measured) and all(row.within_limits is False for row in measured)


def _need(state: State, group: Group) -> float:
    return need_bytes(group.config, state.probe.bytes_per_sample or 1.0)


def need_bytes(config: LoaderConfig, bytes_per_sample: float) -> float:
    """Return about what a configuration takes beside the main process: to order by, nothing else."""
    return config.num_workers * WORKER_BYTES + config.batches_at_once * (config.batch_size or 1) * bytes_per_sample
