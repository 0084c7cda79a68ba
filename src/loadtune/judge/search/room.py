"""Host memory of what was not tried yet, from the peaks of what was: no trial is spent on what is far over a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import by_group
from loadtune.judge.memory import full_queue_peak_bytes
from loadtune.judge.state import State

MARGIN = 1.1
"""Times the limit that must be expected before a configuration is left out: what is near it is measured."""
LEAST_MEASURED = 3


def with_room(state: State, configs: Sequence[LoaderConfig]) -> tuple[LoaderConfig, ...]:
    """Return those of ``configs`` that are not expected to be far over the limit of host memory.

    Least squares without negative costs: of the main process, of each worker, of each batch in flight.
    """
    limit = state.limits.host_memory_bytes
    groups = by_group(state.records).items()
    peaks = {config: peak for config, trials in groups if (peak := full_queue_peak_bytes(trials))}
    if limit is None or len(peaks) < LEAST_MEASURED:
        return tuple(configs)
    from scipy.optimize import nnls  # noqa: PLC0415 - costs start-up where nothing was measured yet

    costs, _ = nnls(_terms(tuple(peaks), state), np.array(list(peaks.values()), dtype=np.float64))
    expected = _terms(configs, state) @ costs
    return tuple(config for config, peak in zip(configs, expected.tolist(), strict=True) if peak <= MARGIN * limit)


def _terms(configs: Sequence[LoaderConfig], state: State) -> np.ndarray:
    size = state.probe.bytes_per_sample or 0.0
    queues = [config.batches_at_once * (config.batch_size or 1) * size for config in configs]
    return np.array([(1.0, config.num_workers, queue) for config, queue in zip(configs, queues, strict=True)])
