"""What the pipeline model says of a sweep: a rate for every configuration, and how far it can be trusted."""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.capacity import Costs, FloatArray, Points, capacity, points
from loadtune.judge.contest import steady_contest
from loadtune.judge.evidence import by_group, group_of, measured, steady_of, steady_table, taken_cores
from loadtune.judge.fit import LEAST_NOISE, Beside, Fit, Observed, Prior, fit
from loadtune.judge.statistics import Repeat
from loadtune.judge.unique import unique_share
from loadtune.record.results import Environment, Interval, Model, Probe, Rung, TrialRecord, TrialResult
from loadtune.units import format_share

LEAST_MEASURED = 5
"""Configurations below which the model is not fitted for a result: it could not be checked."""
MOST_ERROR = 0.10
"""Median error on unseen trials above which nothing is predicted."""

NEAR = 1.25
"""A rate within this factor of what is predicted for the pick is near enough for the model to know what bounds it."""
PROBED_BATCH = 16
"""Samples that the probe collates at a time."""
PROBE_NOISE = 0.15
"""Standard deviation of its log rate: a look of half a second, in which others may have had a core."""
RUNG_NOISE = 0.03
"""Standard deviation of the log rate of workers that have served another batch size, beside that of their trial."""
DISTURBED = 0.15
"""Cores that others take more than in the quietest trial of the same settings, above which a trial does not count."""

_GENERAL = (
    Prior(name="collate_seconds_per_batch", centre=3e-5, spread=1.0),
    Prior(name="worker_seconds_per_batch", centre=2e-4, spread=1.0),
    Prior(name="worker_seconds_per_byte", centre=2e-10, spread=1.0),
    Prior(name="handover_seconds_per_batch", centre=2e-4, spread=0.7),
    Prior(name="wake_seconds_per_batch", centre=1.2e-3, spread=0.8),
    Prior(name="handover_seconds_per_tensor", centre=1.2e-4, spread=0.5),
    Prior(name="handover_seconds_per_byte", centre=2.5e-10, spread=1.0),
    Prior(name="answer_seconds_per_tensor", centre=2e-4, spread=1.2),
    Prior(name="dispatch_seconds_per_sample", centre=1e-6, spread=0.7),
    Prior(name="latency_seconds", centre=3e-4, spread=1.0),
    Prior(name="contention", centre=0.03, spread=1.2),
    Prior(name="switching", centre=0.03, spread=1.2),
    Prior(name="in_process_factor", centre=1.0, spread=0.5),
    Prior(name="batch_variation", centre=0.003, spread=1.5),
    Prior(name="sharpness", centre=16.0, spread=0.3),
)
"""What is thought of any machine: hand-overs as timed on two, the rest wide enough for the trials to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The model of a sweep, and its rates by configuration."""

    model: Model
    rates: Mapping[LoaderConfig, Interval]
    """By settings with ``drop_last`` off; empty where the model is not trusted."""

    def on(self, rows: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
        """Return the rows with what is predicted for each; what cannot run has no rate to predict."""
        return tuple(self._on(row) for row in rows)

    def _on(self, row: TrialResult) -> TrialResult:
        rate = self.rates.get(group_of(row.config)) if row.status != "refused" else None
        if rate is None:
            return row
        return replace(
            row,
            predicted_samples_per_second=rate.estimate,
            predicted_samples_per_second_low=rate.low,
            predicted_samples_per_second_high=rate.high,
        )


def predict(
    records: Sequence[TrialRecord],
    configs: Sequence[LoaderConfig],
    *,
    probe: Probe,
    plan: SweepPlan,
    environment: Environment,
    pick: LoaderConfig | None = None,
) -> Prediction:
    """Return the model as fitted to the trials, and a rate for each of ``configs`` where it can be trusted.

    The model is of deliveries, as a copy of a sample takes as long as any other; the rates count unique samples.

    Args:
        records: Every trial, with all samples that it delivered.
        configs: What to predict.
        probe: The data set.
        plan: Of the sweep; its consumer has a part in every rate.
        environment: The machine.
        pick: The configuration whose bound is named.
    """
    if probe.dataset_kind == "loader":
        return _nothing("a loader of a class of its own is not modelled")
    if plan.consumer.step is not None:
        return _nothing("a training step that is really run is not modelled")
    observed = observe(records, probe)
    if len(observed) < LEAST_MEASURED:
        return _nothing(f"it takes {LEAST_MEASURED} measured configurations to check it, not {len(observed)}")
    rungs = observe_rungs(observed, records, probe)
    fitted = fit_to(observed, probe=probe, plan=plan, environment=environment, rungs=rungs)
    groups = tuple(dict.fromkeys(group_of(config) for config in configs))
    # What is predicted is the machine as it was in the sweep, with what others took of it.
    whole = environment.usable_cpus >= environment.logical_cpus
    others = float(np.median(observed.points.taken_cores)) if whole else 0.0
    at = _points(groups, probe, _own_batch_size(records), others=others)
    model = Model(
        parameters={**_parameters(fitted.costs), **_start_parameters(records)},
        median_abs_error=fitted.median_abs_error,
        p90_abs_error=fitted.p90_abs_error,
    )
    if not fitted.median_abs_error <= MOST_ERROR:  # no number is not trusted either
        seen = format_share(fitted.median_abs_error, 0)
        note = f"its median error on trials that it did not see is {seen}, and above {format_share(MOST_ERROR, 0)} it "
        note += "is not trusted; trials that differ from each other need more time"
        return Prediction(model=replace(model, note=note), rates={})
    intervals = dict(zip(groups, _intervals(fitted, at), strict=True))
    limit = None
    if pick is not None and _is_near(intervals[group_of(pick)].estimate, group_of(pick), records):
        limit = capacity(fitted.costs, at).bounded_by(groups.index(group_of(pick)))
    rates = {group: _unique(rate, unique_share(probe, group.num_workers)) for group, rate in intervals.items()}
    return Prediction(model=replace(model, pick_bounded_by=limit), rates=rates)


def _is_near(predicted: float, config: LoaderConfig, records: Sequence[TrialRecord]) -> bool:
    """Return whether a configuration is as fast as predicted, about: else the model does not know what bounds it."""
    seen = [repeat.log_rate for repeat in steady_table(records).get(config, ())]
    return not seen or abs(math.log(predicted) - plain.fmean(seen)) <= math.log(NEAR)


def _intervals(fitted: Fit, at: Points) -> list[Interval]:
    found = fitted.predict(at)
    ends = zip(found.rate.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    return [Interval(estimate=rate, low=low, high=high) for rate, low, high in ends]


def _unique(rate: Interval, share: float | None) -> Interval:
    """Return the rate of unique samples; what is not known to repeat counts in full."""
    if share is None:
        return rate
    return Interval(estimate=rate.estimate * share, low=rate.low * share, high=rate.high * share)


def _nothing(note: str) -> Prediction:
    return Prediction(model=Model(note=note), rates={})


def fit_to(
    observed: Observed,
    *,
    probe: Probe,
    plan: SweepPlan,
    environment: Environment,
    rungs: Beside | None = None,
) -> Fit:
    """Return the costs that explain what was measured, of ``observe_rungs`` too, beginning with what the probe saw."""
    told = bool(observed.points.taken_cores.any())
    if environment.usable_cpus < environment.logical_cpus:
        # What others do on CPUs that are not ours takes nothing from us.
        points = replace(observed.points, taken_cores=np.zeros(len(observed)))
        observed, told = replace(observed, points=points), False
        if rungs is not None:
            none_taken = replace(rungs.entries.points, taken_cores=np.zeros(len(rungs.entries)))
            rungs = replace(rungs, entries=replace(rungs.entries, points=none_taken))
    step = plan.consumer.step_seconds
    free = [*_sample_priors(observed, probe), _variation_prior(probe), *_GENERAL]
    # What others had of the cores is either told by the trials or to be found out.
    spread = 0.1 if told else 0.4
    free.append(Prior(name="cores", centre=max(environment.usable_cpus, 0.1), spread=spread))
    if step:
        free.append(Prior(name="consumer_seconds_per_batch", centre=step, spread=0.05))
    if observed.points.pinned.any():
        free.append(Prior(name="pin_seconds_per_byte", centre=2e-10, spread=1.0))
    return fit(observed, free, Costs(cpu_seconds_per_sample=1.0), _probed(probe, step), rungs)


def _probed(probe: Probe, step_seconds: float) -> Observed | None:
    """Return what the probe has seen as a loader without workers, whose few samples it loaded in their stead."""
    wall, size = probe.seconds_per_sample, PROBED_BATCH
    if not wall or not probe.batch_size_is_swept:
        return None
    return Observed(
        points=_points([LoaderConfig(batch_size=size)], probe, 1.0),
        log_rate=np.array([math.log(size / (size * wall + step_seconds))]),
        noise=np.array([PROBE_NOISE]),
        cpu_seconds=np.array([math.nan]),
    )


def _sample_priors(observed: Observed, probe: Probe) -> tuple[Prior, Prior]:
    """Return what is thought of T, in two parts: by the probe, else by what a worker took at most."""
    wall, cpu = probe.seconds_per_sample, probe.cpu_seconds_per_sample
    if not wall:
        wall = math.exp(-float(np.max(observed.log_rate - np.log(np.maximum(observed.points.num_workers, 1.0)))))
        cpu = None
    cpu = min(wall, cpu) if cpu else wall / 2
    # What was waited for may have been a core that others had, or the threads that torch gives the main process and not
    # a worker: the trials may say something else by a factor.
    floor = 0.02 * wall
    return (
        Prior(name="cpu_seconds_per_sample", centre=max(cpu, floor), spread=1.0),
        Prior(name="blocked_seconds_per_sample", centre=max(wall - cpu, floor), spread=1.5),
    )


def _variation_prior(probe: Probe) -> Prior:
    """Return what is thought of how samples differ: by the probe, which sees few of the slow ones."""
    if probe.sample_variation is None:
        return Prior(name="sample_variation", centre=0.1, spread=1.5)
    return Prior(name="sample_variation", centre=min(max(probe.sample_variation, 1e-3), 1e2), spread=1.0)


def observe(records: Sequence[TrialRecord], probe: Probe) -> Observed:
    """Return the measured configurations with their rates on the scale of the table: what is predicted is on it too.

    Of the trials of one configuration those count in which other work took least of the machine.
    """
    quiet = quiet_trials(records)
    table = steady_table(quiet)
    levels = steady_contest(quiet, probe).levels
    configs = tuple(config for config in by_group(records) if config in levels)
    groups = {config: measured(trials) for config, trials in by_group(quiet).items()}
    pooled = _pooled_variance(table)
    taken = np.array([plain.fmean(taken_cores(one) or 0.0 for one in groups[config]) for config in configs])
    return Observed(
        points=_points(configs, probe, _own_batch_size(records), others=taken),
        log_rate=np.array([levels[config] for config in configs]),
        noise=np.array([_noise(table[config], groups[config], pooled, probe) for config in configs]),
        cpu_seconds=np.array([_cpu_seconds(groups[config]) for config in configs]),
    )


def observe_rungs(observed: Observed, records: Sequence[TrialRecord], probe: Probe) -> Beside | None:
    """Return what workers did with other batch sizes than their trial's, on its scale; None where none did.

    A configuration that has had a trial of its own is known by that.

    Args:
        observed: Of ``observe``, from the same records.
        records: Every trial.
        probe: The data set.
    """
    quiet = quiet_trials(records)
    levels = steady_contest(quiet, probe).levels
    places = {config: place for place, config in enumerate(one for one in by_group(records) if one in levels)}
    seen = [
        (config, record, rung)
        for record in measured(quiet)
        for rung in record.rungs
        if (config := replace(record.config, batch_size=rung.batch_size)) not in levels
        and min(rung.window_samples_per_second, default=0.0) > 0
    ]
    if not seen:
        return None
    taken = np.array([taken_cores(record) or 0.0 for _, record, _ in seen])
    entries = Observed(
        points=_points([config for config, *_ in seen], probe, _own_batch_size(records), others=taken),
        log_rate=np.array([levels[record.config] + _over_its_trial(rung, record) for _, record, rung in seen]),
        noise=np.full(len(seen), math.hypot(RUNG_NOISE, float(np.median(observed.noise)))),
        cpu_seconds=np.array([(rung.cpu_seconds or math.nan) / max(1, rung.samples_measured) for *_, rung in seen]),
    )
    return Beside(entries=entries, of=tuple(places[record.config] for _, record, _ in seen))


def _over_its_trial(rung: Rung, record: TrialRecord) -> float:
    """Return the logarithm of a rung's rate over that of the trial whose workers it had."""
    return plain.fmean(map(math.log, rung.window_samples_per_second)) - math.log(steady_of(record) or 1.0)


def quiet_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the records less those in which others took more of the machine than in another of the same settings."""
    least = {
        group: min((taken_cores(one) or 0.0 for one in measured(trials)), default=0.0)
        for group, trials in by_group(records).items()
    }
    return [one for one in records if (taken_cores(one) or 0.0) <= least.get(group_of(one.config), 0.0) + DISTURBED]


def _pooled_variance(table: Mapping[LoaderConfig, Sequence[Repeat]]) -> float:
    """Return the variance of a window's log rate as all trials say it; two windows say little of their own."""
    seen = [one.window_variance for repeats in table.values() for one in repeats if one.windows > 1]
    return plain.median(seen) if seen else 0.0


def _noise(repeats: Sequence[Repeat], trials: Sequence[TrialRecord], pooled: float, probe: Probe) -> float:
    """Return the standard deviation of a mean log rate: by its windows, or by how many samples it has seen.

    Trials of few samples whose times vary much have no rate of their own yet: windows that share the luck agree.
    """
    windows = sum((one.window_variance + pooled) / 2 / one.windows for one in repeats) / len(repeats) ** 2
    samples = sum(one.steady.samples_measured for one in trials if one.steady)
    drawn = (probe.sample_variation or 0.0) / max(1, samples)
    return math.sqrt(max(windows, drawn) + LEAST_NOISE**2)


def _cpu_seconds(trials: Sequence[TrialRecord]) -> float:
    seen = [
        one.steady.cpu_seconds / one.steady.samples_measured
        for one in measured(trials)
        if one.steady and one.steady.cpu_seconds and one.steady.samples_measured
    ]
    return plain.median(seen) if seen else math.nan


def _own_batch_size(records: Sequence[TrialRecord]) -> float:
    sizes = [record.steady.samples_per_batch for record in measured(records) if record.steady]
    return plain.median(sizes) if sizes else 1.0


def _points(
    configs: Sequence[LoaderConfig], probe: Probe, own_batch_size: float, *, others: float | FloatArray = 0.0
) -> Points:
    return points(
        configs,
        own_batch_size=own_batch_size,
        bytes_per_sample=probe.shared_bytes_per_sample or probe.bytes_per_sample or 0.0,
        tensors_per_batch=probe.tensors_per_batch or 0.0,
        tensors_per_sample=probe.tensors_per_sample,
        pins=probe.accelerator is not None,
        taken_cores=others,
    )


def _parameters(costs: Costs) -> dict[str, float]:
    return {name: float(getattr(costs, name)) for name in Costs.__dataclass_fields__}


def _start_parameters(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Return what starting one worker takes; nothing where no trial had workers."""
    each = [
        record.steady.startup_seconds / record.config.num_workers
        for record in measured(records)
        if record.steady and record.config.num_workers
    ]
    return {"worker_start_seconds": plain.median(each)} if each else {}
