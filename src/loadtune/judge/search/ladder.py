"""Where workers start slowly one start measures several batch sizes: smaller ones on the workers of the same trial.

A worker that is not forked imports torch anew, which takes seconds, and a second of windows is the smallest part of its
trial. What its workers do with smaller batches tells the model how the rate depends on the batch size. It speaks for no
configuration: those workers have served another size, and their memory is not that of this one. What is chosen has had
a trial of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.judge.costs import expected_seconds, rung_seconds, screen_measurement
from loadtune.judge.feasible import start_method
from loadtune.judge.state import State

SLOW_STARTS = ("spawn", "forkserver")


def rungs_of(state: State, config: LoaderConfig) -> tuple[int, ...]:
    """Return the smaller batch sizes that the workers of a trial are given too, less those that are known already."""
    known = {record.config for record in state.records}
    known |= {_at(record.config, rung.batch_size) for record in state.records for rung in record.rungs}
    return tuple(size for size in _sizes(state, config) if _at(config, size) not in known)


def without_rungs(seeds: Sequence[LoaderConfig], state: State) -> list[LoaderConfig]:
    """Return the seeds less those that are measured on the workers of another one, or will be once that is tried."""
    tried = {record.config for record in state.records}
    there = {
        _at(record.config, rung.batch_size)
        for record in state.records
        for rung in record.rungs
        if rung.window_samples_per_second
    }
    coming = {_at(config, size) for config in seeds if config not in tried | there for size in _sizes(state, config)}
    return [config for config in seeds if config in tried or config not in there | coming]


def _sizes(state: State, config: LoaderConfig) -> tuple[int, ...]:
    """Return the smallest batch size of the grid and its middle, as far as they are below that of a configuration.

    And as far as a trial of their own takes longer, by what trials with so many workers took, or any did.
    """
    if not config.in_order or start_method(config, state.probe) not in SLOW_STARTS or not _is_of_use(state):
        return ()
    sizes = sorted({one.batch_size for one in state.configs if one.batch_size is not None})
    wanted = (sizes[0], sizes[len(sizes) // 2]) if sizes else ()
    smaller = dict.fromkeys(size for size in wanted if size < (config.batch_size or 0))
    return tuple(size for size in smaller if _is_spared(state, _at(config, size)))


def _is_spared(state: State, config: LoaderConfig) -> bool:
    measurement = screen_measurement(state.plan)
    alone = expected_seconds(config, measurement, state.records, state.probe)
    return alone >= rung_seconds(measurement)


def _is_of_use(state: State) -> bool:
    """Return whether there is a model that could use it, and a second pass over the data is no other measurement."""
    return (
        state.environment is not None
        and state.plan.consumer.step is None
        and not state.plan.measurement.one_pass
        and state.probe.dataset_kind == "map"
        and state.probe.batch_size_is_swept
    )


def _at(config: LoaderConfig, batch_size: int) -> LoaderConfig:
    return replace(config, batch_size=batch_size)
