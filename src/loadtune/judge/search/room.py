"""Memory of what was not tried yet, from what was: no trial is spent on what is far over a limit."""

from __future__ import annotations

from collections.abc import Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.memory_rows import exceeds
from loadtune.judge.resident import resident
from loadtune.judge.state import State
from loadtune.record.results import MemoryLimits


def with_room(state: State, configs: Sequence[LoaderConfig]) -> tuple[LoaderConfig, ...]:
    """Return those of ``configs`` that the model of memory does not expect to be over a limit."""
    fitted = resident(state.records, state.probe) if state.limits != MemoryLimits() else None
    if fitted is None:
        return tuple(configs)
    return tuple(config for config in configs if not exceeds(fitted.of(config), state.limits))
