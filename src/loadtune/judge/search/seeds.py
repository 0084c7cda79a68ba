"""The first trials: few configurations that lie far apart, so that each cost of the model shows in one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtune.describe.config import DEFAULT_PREFETCH_FACTOR, LoaderConfig

MOST_SEEDS = 7
"""Beside the baseline."""
_SCALE = 4.0
"""Of workers against batch sizes, in doublings: the number of workers is what the rate depends on first."""


def seeds(configs: Sequence[LoaderConfig], usable_cpus: float) -> tuple[LoaderConfig, ...]:
    """Return the first configurations to try, in their order.

    One worker; as many as there are cores; none; the most; the cores again with the smallest and the largest batch;
    and half-way between the cores and the most.
    """
    counts = sorted({config.num_workers for config in configs})
    sizes = sorted({config.batch_size or 1 for config in configs})
    middle, top, cores = sizes[len(sizes) // 2], counts[-1], max(1.0, usable_cpus)
    targets = (
        (1.0, middle),
        (cores, middle),
        (0.0, middle),
        (float(top), middle),
        (cores, sizes[0]),
        (cores, sizes[-1]),
        (math.sqrt(max(top, 1) * cores), sizes[-1]),
    )
    found = (_nearest(configs, workers, size) for workers, size in targets[:MOST_SEEDS])
    return tuple(dict.fromkeys(found))


def _nearest(configs: Sequence[LoaderConfig], workers: float, size: float) -> LoaderConfig:
    return min(
        configs,
        key=lambda config: (
            # Nothing is like no workers but no workers.
            (config.num_workers == 0) != (workers == 0),
            _SCALE * abs(math.log2((config.num_workers or 1) / (workers or 1.0)))
            + abs(math.log2((config.batch_size or 1) / size)),
            not config.in_order,
            abs((config.prefetch_factor or DEFAULT_PREFETCH_FACTOR) - DEFAULT_PREFETCH_FACTOR),
            config.config_id,
        ),
    )
