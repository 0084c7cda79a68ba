"""The first trials: few configurations that lie far apart, so that each cost of the model shows in one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from loadtune.describe.config import DEFAULT_PREFETCH_FACTOR, LoaderConfig
from loadtune.record.results import Probe

MOST_SEEDS = 7
"""Beside the baseline."""
MOST_AHEAD = 16
"""Workers of the seed beyond the grid, or twice those of the grid where these are more: what they need is not known."""
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


def beyond_the_grid(configs: Sequence[LoaderConfig], usable_cpus: float, probe: Probe) -> LoaderConfig | None:
    """Return a seed with more workers than the grid has, where samples wait more than they compute; else None.

    A worker that computes for a share s of the time of a sample takes s of a core, so that C/s of them are fed. By
    doubling alone, from the number of cores, such a number is reached late or not at all.
    """
    wall, computing = probe.seconds_per_sample, probe.cpu_seconds_per_sample
    top = max(config.num_workers for config in configs)
    if not wall or computing is None or not top:
        return None
    most, count = min(usable_cpus * wall / max(computing, 1e-9), max(MOST_AHEAD, 2 * top)), top
    while 2 * count <= most:
        count *= 2
    if count == top:
        return None
    smallest = min(config.batch_size or 1 for config in configs)
    return replace(_nearest(configs, float(top), smallest), num_workers=count)


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
