"""Optuna's samplers in place of loadtune's own search (extra ``optuna``, imported only when it is asked for).

What the sampler has seen is built anew from the trials each time, and its seed follows from the plan's and from their
number: equal trials give equal answers here too.
"""

from __future__ import annotations

import importlib.util
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loadtune.describe.config import WITHOUT_WORKERS, LoaderConfig
from loadtune.errors import UsageError
from loadtune.judge.search.standing import Standing, standings
from loadtune.judge.state import Group, State, group_configs

if TYPE_CHECKING:
    import optuna

AXES = (
    "batch_size",
    "num_workers",
    "prefetch_factor",
    "in_order",
    "pin_memory",
    "persistent_workers",
    "multiprocessing_context",
)
ASKS = 30
"""How often a sampler is asked for something that was not tried, before the first such in random order is taken."""


def require() -> None:
    """Return where Optuna can be imported.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("--search optuna:… needs Optuna, which is not installed: pip install 'loadtune[optuna]'")


def next_group(state: State) -> Group | None:
    """Return the group that the plan's sampler proposes next; None where the whole grid was tried."""
    groups = {group.config: group for group in group_configs(state.configs, state.probe.baseline)}
    tried = {record.config for record in state.records}
    left = [config for config in groups if config not in tried]
    baseline = state.probe.baseline.steady
    if not left:
        return None
    if tried and baseline in left:
        return groups[baseline]
    if baseline in left and len(left) > 1:
        left.remove(baseline)
    return groups[_proposed(state, left)]


def _proposed(state: State, left: Sequence[LoaderConfig]) -> LoaderConfig:
    """Return the first proposal that was not tried; what the sampler asks for in vain counts as tried."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental parts of Optuna say so each time
        study, space = _study(state), _space(state.configs)
        able = frozenset(left)
        for _ in range(ASKS):
            trial = study.ask(_distributions(space))
            config = _config(trial.params, space, state.configs[-1])
            if config in able:
                return config
    order = sorted(left, key=lambda config: config.config_id)
    return random.Random(f"{state.plan.seed}/optuna/{len(state.records)}").choice(order)  # noqa: S311


def _study(state: State) -> optuna.Study:
    """Return a study that holds every configuration that was measured, with its log rate."""
    import optuna  # noqa: PLC0415 - an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, standing = _space(state.configs), standings(state)
    study = optuna.create_study(direction="maximize", sampler=_sampler(state, space))
    for config, one in standing.items():
        params = _params(config, space)
        if params is not None:
            study.add_trial(_trial(params, one, space))
    return study


def _trial(params: Mapping[str, int], one: Standing, space: Mapping[str, Sequence[Any]]) -> optuna.trial.FrozenTrial:
    import optuna  # noqa: PLC0415 - an extra

    return optuna.trial.create_trial(params=dict(params), distributions=_distributions(space), value=one.log_rate)


def _sampler(state: State, space: Mapping[str, Sequence[Any]]) -> optuna.samplers.BaseSampler:
    from optuna import samplers  # noqa: PLC0415 - an extra

    seed = (state.plan.seed * 7919 + len(state.records)) % 2**31
    if state.plan.search == "optuna:tpe":
        return samplers.TPESampler(seed=seed)
    if state.plan.search == "optuna:random":
        return samplers.RandomSampler(seed=seed)
    return samplers.GridSampler({axis: list(range(len(values))) for axis, values in space.items()}, seed=seed)


def _space(configs: Sequence[LoaderConfig]) -> dict[str, list[Any]]:
    """Return the values of each axis that has several, in ascending order; those of workers' axes are with workers."""
    with_workers = [one for one in configs if one.num_workers]
    values = {
        axis: sorted({getattr(one, axis) for one in (with_workers if axis in WITHOUT_WORKERS else configs)}, key=_rank)
        for axis in AXES
    }
    return {axis: found for axis, found in values.items() if len(found) > 1}


def _rank(value: float | str | None) -> tuple[str, float]:
    """Return what sorts the values of an axis: nothing said first, numbers by size, start methods by name."""
    return (value, 0.0) if isinstance(value, str) else ("", -1.0 if value is None else float(value))


def _distributions(space: Mapping[str, Sequence[Any]]) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return an axis as the place in its values, so that a sampler knows their order."""
    from optuna.distributions import IntDistribution  # noqa: PLC0415 - an extra

    return {axis: IntDistribution(0, len(values) - 1) for axis, values in space.items()}


def _params(config: LoaderConfig, space: Mapping[str, Sequence[Any]]) -> dict[str, int] | None:
    """Return the places of a configuration's values; None where one is not of the grid."""
    places = {}
    for axis, values in space.items():
        own = getattr(config, axis)
        if not config.num_workers and axis in WITHOUT_WORKERS:
            own = values[0]
        if own not in values:
            return None
        places[axis] = list(values).index(own)
    return places


def _config(params: Mapping[str, int], space: Mapping[str, Sequence[Any]], others: LoaderConfig) -> LoaderConfig:
    """Return the configuration at these places; what is no axis is as in ``others``."""
    settings = others.steady.as_dict() | {axis: values[params[axis]] for axis, values in space.items()}
    return LoaderConfig.normalised(**settings)
