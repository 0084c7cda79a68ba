"""loadtune's search as a sampler of an Optuna study, and its runs as trials of one (extra ``optuna``).

Studies, dashboards and storages stay as they are::

    study = optuna.create_study(direction="maximize", sampler=LoadtuneSampler())
    study.optimize(objective, n_trials=20)  # the objective returns samples per second

The parameters are named as those of ``DataLoader``: ``batch_size``, ``num_workers``, ``prefetch_factor``,
``in_order``, ``pin_memory``, ``persistent_workers``, ``multiprocessing_context``. What else a study tunes is drawn at
random, and not by what it did to the rate. One trial at a time, as ``n_jobs=1`` makes them: loaders that are measured
side by side slow each other down, and a trial that is not over is not known to the search.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.trial import FrozenTrial, TrialState
except ModuleNotFoundError as error:
    from loadtune.errors import UsageError

    raise UsageError("loadtune.integrations.optuna needs Optuna: pip install 'loadtune[optuna]'") from error

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.evidence import group_of
from loadtune.judge.search import adaptive
from loadtune.judge.state import State
from loadtune.record.environment import read_environment
from loadtune.record.results import MemoryLimits, Probe, RunResult, SteadyMeasurement, TrialRecord

if TYPE_CHECKING:
    from optuna.study import Study

AXES = tuple(field.name for field in fields(LoaderConfig))
MOST_CONFIGS = 10_000
"""A study's grid above this is thinned out: the axis with the most values loses every second."""
WINDOW_SECONDS = 1.0
"""What a rate is taken to have been measured in."""


class LoadtuneSampler(BaseSampler):
    """Proposes loader settings as ``loadtune sweep --search adaptive`` would try them; the value is a rate.

    Args:
        space: The distributions to search from the first trial on; None takes those that the trials so far share, so
            that the first trial is a random one.
        probe: What is known of the data set, as in ``loadtune.load(DIR).result.probe``; None learns it from the trials.
        seed: Of what is drawn at random.
    """

    def __init__(
        self, *, space: Mapping[str, BaseDistribution] | None = None, probe: Probe | None = None, seed: int = 0
    ) -> None:
        self._space = dict(space) if space is not None else None
        self._shared = IntersectionSearchSpace()
        self._probe = probe
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._environment = read_environment()

    def reseed_rng(self) -> None:
        """Take another seed for what is drawn at random, as Optuna asks of samplers that are copied."""
        self._random.reseed_rng()

    def infer_relative_search_space(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Return the loader settings among the parameters; the others are drawn by themselves."""
        known = self._space if self._space is not None else self._shared.calculate(study)
        return {name: one for name, one in known.items() if name in AXES and _values(one)}

    def sample_relative(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Return the settings to try next; once the search is sure, the best ones again."""
        if "batch_size" not in search_space and "num_workers" not in search_space:
            return {}
        axes = {name: _values(one) for name, one in search_space.items()}
        done = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished() and _has(one, axes)]
        state = self._state(_grid(axes), done, higher=study.direction == optuna.study.StudyDirection.MAXIMIZE)
        group = adaptive.next_group(state)
        config = group.config if group is not None and group.config in _grid_groups(state) else _leader(state)
        return _params(config, axes)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value of a parameter that is no setting of a loader, or of the first trial."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _state(self, grid: tuple[LoaderConfig, ...], done: Sequence[FrozenTrial], *, higher: bool) -> State:
        probe = self._probe or _unknown(grid)
        return State(
            plan=SweepPlan(target="<study>", seed=self._seed),
            configs=grid,
            records=tuple(_record(order, trial, higher=higher) for order, trial in enumerate(done)),
            probe=replace(probe, dataset_samples=None, baseline=_unknown(grid).baseline),
            limits=MemoryLimits(),
            environment=self._environment,
        )


def add_trials(study: Study, run: RunResult) -> int:
    """Add every measured configuration of a run to a study as a finished trial; return how many.

    The value is the steady rate in samples per second; status, memory and id are user attributes.
    """
    rows = [row for row in run.trials if row.samples_per_second is not None]
    axes: dict[str, list[Any]] = {name: list(dict.fromkeys(getattr(row, name) for row in rows)) for name in AXES}
    for row in rows:
        trial = optuna.trial.create_trial(
            params={name: getattr(row, name) for name in AXES},
            distributions={name: CategoricalDistribution(values) for name, values in axes.items()},
            value=row.samples_per_second,
            user_attrs={"config_id": row.config_id, "host_peak_bytes": row.host_peak_bytes, "chosen": row.chosen},
        )
        study.add_trial(trial)
    return len(rows)


def _values(distribution: BaseDistribution) -> list[Any]:
    """Return the values of an axis; none where it cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, FloatDistribution) or not isinstance(distribution, IntDistribution):
        return []
    low, high = distribution.low, distribution.high
    if not distribution.log:
        return list(range(low, high + 1, distribution.step))
    octaves = math.floor(math.log2(high / low))
    return sorted({*(low * 2**octave for octave in range(octaves + 1)), high})


def _grid(axes: Mapping[str, Sequence[Any]]) -> tuple[LoaderConfig, ...]:
    thin = {name: list(values) for name, values in axes.items()}
    while math.prod(map(len, thin.values())) > MOST_CONFIGS:
        longest = max(thin, key=lambda name: len(thin[name]))
        thin[longest] = thin[longest][::2]
    points = itertools.product(*thin.values())
    settings = ({"batch_size": 1} | dict(zip(thin, point, strict=True)) for point in points)
    return tuple(dict.fromkeys(LoaderConfig.normalised(**one) for one in settings))


def _grid_groups(state: State) -> frozenset[LoaderConfig]:
    return frozenset(group_of(config) for config in state.configs)


def _leader(state: State) -> LoaderConfig:
    return state.records[_best(state.records)].config if state.records else state.configs[0]


def _best(records: Sequence[TrialRecord]) -> int:
    rates = [record.steady.samples_measured if record.steady else 0 for record in records]
    return rates.index(max(rates))


def _has(trial: FrozenTrial, axes: Mapping[str, Sequence[Any]]) -> bool:
    return all(name in trial.params for name in axes)


def _params(config: LoaderConfig, axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the settings as the study names them; what means nothing without workers is its first value."""
    return {name: own if (own := getattr(config, name)) in values else values[0] for name, values in axes.items()}


def _record(order: int, trial: FrozenTrial, *, higher: bool) -> TrialRecord:
    """Return a trial of the study as one of a sweep; a time that is to be small counts by its inverse."""
    settings = {"batch_size": 1} | {name: value for name, value in trial.params.items() if name in AXES}
    value = trial.value if trial.state == TrialState.COMPLETE else None
    rate = None if value is None or value <= 0 else (value if higher else 1.0 / value)
    config = LoaderConfig.normalised(**settings)
    return TrialRecord(
        order=order,
        block=0,
        phase="screen",
        config=config.steady,
        drop_last=(config.drop_last,),
        status="ok" if rate is not None else "failed",
        started_at="",
        seconds=WINDOW_SECONDS,
        steady=_steady(rate, config) if rate is not None else None,
    )


def _steady(rate: float, config: LoaderConfig) -> SteadyMeasurement:
    return SteadyMeasurement(
        startup_seconds=0.0,
        first_batch_seconds=0.0,
        window_samples_per_second=(rate,),
        batches_measured=1,
        samples_measured=max(1, round(1e6 * rate)),
        measured_seconds=1e6 * WINDOW_SECONDS,
        steady=True,
        batch_wait_p50_seconds=0.0,
        batch_wait_p95_seconds=0.0,
        batch_wait_p99_seconds=0.0,
        cpu_seconds=None,
        bytes_per_batch=0.0,
        samples_per_batch=float(config.batch_size or 1),
    )


def _unknown(grid: Sequence[LoaderConfig]) -> Probe:
    """Return a probe that knows nothing; the baseline, which is tried early, is of the grid."""
    return Probe(
        dataset_kind="map",
        dataset_samples=None,
        seconds_per_sample=None,
        cpu_seconds_per_sample=None,
        bytes_per_sample=None,
        samples_probed=0,
        baseline=min(grid, key=lambda config: (config.num_workers, config.config_id)).steady,
    )
