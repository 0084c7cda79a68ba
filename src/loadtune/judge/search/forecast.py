"""What the search expects of each configuration: the pipeline model, and what it was off by near by.

The model is fitted to the trials so far and gives the mean; what the trials differ from it by is carried to their
neighbours by a Gaussian process (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, ch. 2.7), which
also says how much is still open where nothing was tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from loadtune.describe.config import LoaderConfig
from loadtune.judge.capacity import FloatArray, Points, epoch_seconds, points, service_seconds
from loadtune.judge.evidence import measured, steady_table
from loadtune.judge.fit import Fit
from loadtune.judge.prediction import fit_to, observe, observe_rungs
from loadtune.judge.search.standing import Standing
from loadtune.judge.state import State
from loadtune.judge.statistics import student_t
from loadtune.record.results import Probe, TrialRecord

LEAST_MEASURED = 4
"""Configurations below which nothing is forecast."""
LEAST_MISFIT = 0.02
"""Standard deviation of a log rate: the model is never taken for better than this."""
TRIAL_NOISE = 0.02
"""Standard deviation of a log rate between trials of one configuration, beside what its windows show."""
REACH = 2.0
"""Doublings over which neighbours share what the model is off by."""
WORKER_WEIGHT, ORDER_WEIGHT, PREFETCH_WEIGHT, ALONE_GAP = 1.5, 1.0, 1.0, 4.0
"""Of a doubling of the workers, of the order, of a doubling of the prefetch factor, and from none to one worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The log rate that is expected of each configuration, as the choice compares it."""

    configs: tuple[LoaderConfig, ...]
    log_rate: FloatArray
    spread: FloatArray
    """Its standard deviation."""
    place: Mapping[LoaderConfig, int]
    """Of each configuration in the arrays."""
    fitted: Fit
    fitted_to: tuple[LoaderConfig, ...]
    """Configurations that the entries of ``fitted.errors`` belong to."""
    noise: FloatArray
    """Standard deviation of their measured log rates."""


def forecast(
    state: State, configs: tuple[LoaderConfig, ...], standing: Mapping[LoaderConfig, Standing]
) -> Forecast | None:
    """Return what is expected of ``configs``; None where the model cannot be fitted.

    Args:
        state: The trials, the data set and the machine.
        configs: With ``drop_last`` off.
        standing: Of every measured group.
    """
    if state.environment is None or state.probe.dataset_kind == "loader" or state.plan.consumer.step is not None:
        return None
    observed = observe(state.records, state.probe)
    seen = tuple(steady_table(state.records))
    known = tuple(config for config in seen if config in standing)
    if len(known) < LEAST_MEASURED:
        return None
    fitted = fit_to(
        observed,
        probe=state.probe,
        plan=state.plan,
        environment=state.environment,
        rungs=observe_rungs(observed, state.records, state.probe),
    )
    everything = (*configs, *known)
    prior, own = _model(fitted, everything, state)
    noise = observed.noise[[seen.index(config) for config in known]]
    residual = np.array([standing[config].log_rate for config in known]) - prior[len(configs) :]
    repeats = np.array([standing[config].repeats for config in known], dtype=np.float64)
    shift, left = _carried(
        features(configs), features(known), residual, np.hypot(noise, TRIAL_NOISE / np.sqrt(repeats)), _misfit(fitted)
    )
    open_variance = own[: len(configs)] ** 2 + _misfit(fitted) ** 2
    return Forecast(
        configs=configs,
        log_rate=prior[: len(configs)] + shift,
        spread=np.sqrt(open_variance * left),
        place={config: index for index, config in enumerate(configs)},
        fitted=fitted,
        fitted_to=seen,
        noise=observed.noise,
    )


def _misfit(fitted: Fit) -> float:
    """Return how far the model is off, as a standard deviation; its worst entries count less."""
    sizes = np.abs(fitted.errors)
    return max(LEAST_MISFIT, float(np.median(sizes)) / 0.6745, float(np.quantile(sizes, 0.9)) / 2)


def _carried(
    at: FloatArray, known: FloatArray, residual: FloatArray, noise: FloatArray, misfit: float
) -> tuple[FloatArray, FloatArray]:
    """Return what to add to the model at each place, and the share of the variance that is left there."""
    covariance = _kernel(known, known) + np.diag((noise / misfit) ** 2)
    across = _kernel(at, known)
    solved = np.linalg.solve(covariance, across.T)
    left = 1.0 - np.einsum("ij,ji->i", across, solved)
    return solved.T @ residual, np.clip(left, 0.0, 1.0)


def _kernel(first: FloatArray, second: FloatArray) -> FloatArray:
    squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)[None, :] - 2 * first @ second.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2 * REACH**2)))


@lru_cache(maxsize=8)
def features(configs: tuple[LoaderConfig, ...]) -> FloatArray:
    """Return where each configuration lies, in doublings."""
    return np.array(
        [
            (
                np.log2(config.batch_size or 1),
                WORKER_WEIGHT * np.log2(config.num_workers) if config.num_workers else -ALONE_GAP,
                PREFETCH_WEIGHT * np.log2(config.prefetch_factor or 2),
                ORDER_WEIGHT * config.in_order,
            )
            for config in configs
        ],
        dtype=np.float64,
    ).reshape(len(configs), 4)


def _model(fitted: Fit, configs: Sequence[LoaderConfig], state: State) -> tuple[FloatArray, FloatArray]:
    """Return the log rate by the model alone, as the choice compares it, and how uncertain its costs leave it."""
    at = _points(configs, state.probe, state.records)
    found = fitted.predict(at)
    whole = np.log(found.high / found.low) / 2 / student_t(0.975, len(fitted.errors) - 1)
    of_costs = np.sqrt(np.maximum(whole**2 - np.min(whole) ** 2, 0.0))
    if state.probe.dataset_samples is None:
        return np.log(found.rate), of_costs
    # Workers that are kept start once in a run.
    kept = np.array([config.persistent_workers for config in configs], dtype=np.bool_)
    starts = [np.where(kept, 0.0, seconds) for seconds in _start_seconds(fitted, at, state.records)]
    rates = [
        _epoch_rate(fitted, at, state.probe.dataset_samples, *starts, drop_last=drop)
        for drop in sorted({drop for record in state.records for drop in record.drop_last})
    ]
    return np.log(np.maximum(np.max(np.stack(rates), axis=0), 1e-9)), of_costs


def _points(configs: Sequence[LoaderConfig], probe: Probe, records: Sequence[TrialRecord]) -> Points:
    own = [record.steady.samples_per_batch for record in measured(records) if record.steady]
    return points(
        configs,
        own_batch_size=float(np.median(own)) if own else 1.0,
        bytes_per_sample=probe.shared_bytes_per_sample or probe.bytes_per_sample or 0.0,
        tensors_per_batch=probe.tensors_per_batch or 0.0,
        tensors_per_sample=probe.tensors_per_sample,
        pins=probe.accelerator is not None,
    )


def _start_seconds(fitted: Fit, at: Points, records: Sequence[TrialRecord]) -> tuple[float, float]:
    """Return what starting a worker takes, and what passes from then until it takes its first batch."""
    with_workers = [record for record in measured(records) if record.config.num_workers and record.steady]
    each = [r.steady.startup_seconds / r.config.num_workers for r in with_workers if r.steady]
    waits = [r.steady.first_batch_seconds - r.steady.startup_seconds for r in with_workers if r.steady]
    if not with_workers:
        return 0.0, 0.0
    return float(np.median(each)), max(0.0, float(np.min(waits)) - float(np.min(service_seconds(fitted.costs, at))))


def _epoch_rate(
    fitted: Fit, at: Points, samples: int, start_seconds: FloatArray, ready_seconds: FloatArray, *, drop_last: bool
) -> FloatArray:
    """Return samples used in an epoch over its seconds."""
    size = at.batch_size
    batches = np.floor(samples / size) if drop_last else np.ceil(samples / size)
    used = np.minimum(float(samples), batches * size)
    seconds = epoch_seconds(
        fitted.costs,
        at,
        np.maximum(batches, 1.0),
        start_seconds=start_seconds,
        ready_seconds=ready_seconds,
        last_share=np.clip((used - (batches - 1) * size) / size, 0.0, 1.0),
    )
    return np.where(batches > 0, used / np.maximum(seconds, 1e-9), 0.0)
