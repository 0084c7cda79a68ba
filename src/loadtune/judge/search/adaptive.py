"""The adaptive search: which configuration has its first trial next, decided from what the trials so far say.

*Seeds* lie far apart. The pipeline model is fitted to them and asked to predict each from the others; where it can,
the *candidates* are those that it forecasts to be the best, the cheapest of the best, or open enough to be insured
against. Where it cannot, the leader is *bracketed* on one axis after the other, without a model. Then the *variants*:
what no model knows is tried at the best point. Small grids are tried whole. Where all so far is over the limits of
memory the leanest comes next. Where the step hardly waits only fewer workers are tried. docs/choosing.md has the
reasons.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.judge.costs import screen_measurement, unseen_seconds
from loadtune.judge.lean import leanest
from loadtune.judge.search import bracket, candidates, fed, variants
from loadtune.judge.search.forecast import forecast
from loadtune.judge.search.ladder import rungs_of, without_rungs
from loadtune.judge.search.pool import Pool, pool_of, reachable
from loadtune.judge.search.seeds import beyond_the_grid, seeds
from loadtune.judge.search.standing import Standing, leading, standings
from loadtune.judge.search.trust import trust
from loadtune.judge.state import Group, State

SEED_SHARE = 1 / 15
"""Of the time budget, that a seed may take."""
SEED_TIMES = 1.3
"""Times the shortest of them, that a seed may take in any case."""
AHEAD_PLACE = 1
"""Of the seed beyond the grid among the others: after one worker and the baseline."""
SMALL = 8
"""Groups up to which a search tries all: no fewer would tell."""


def next_group(state: State) -> Group | None:
    """Return the group that is tried next for the first time; None where no further one is worth a trial."""
    pool = pool_of(state.configs)
    tried = frozenset(record.config for record in state.records)
    lean = leanest(state, [group for group in pool.groups.values() if group.config not in tried])
    if lean is not None:
        return lean
    best = fed.leader(state, pool)
    if best is not None and state.probe.baseline.steady in tried:  # which all is compared with
        config = fed.next_config(state, pool, best, tried)
    else:
        config = _of_the_start(state, pool, tried) or _by_evidence(state, pool, tried)
    if config is None:
        return None
    return state.group(config) if config == state.probe.baseline.steady else pool.group(config)


def ladder(state: State, config: LoaderConfig) -> tuple[int, ...]:
    """Return the smaller batch sizes that a first trial measures with the same workers (``ladder``)."""
    pool = pool_of(state.configs)
    return () if len(pool.groups) <= SMALL or variants.is_variant(config, pool) else rungs_of(state, config)


def is_fed(state: State) -> bool:
    """Return whether the step hardly waits: then nothing is left to race for (``fed``)."""
    return fed.leader(state, pool_of(state.configs)) is not None


def _of_the_start(state: State, pool: Pool, tried: Collection[LoaderConfig]) -> LoaderConfig | None:
    """Return a trial that needs no evidence."""
    return next((config for config in _opening(state, pool) if config not in tried), None)


def opening(state: State) -> tuple[LoaderConfig, ...]:
    """Return what is tried first whatever the trials give: where a step may hardly wait, the baseline ends it."""
    pool = pool_of(state.configs)
    order = _opening(state, pool)
    return tuple(order[:2] if fed.is_possible(state, pool) else order)


def _opening(state: State, pool: Pool) -> list[LoaderConfig]:
    """Return all of a small grid, else the seeds; the baseline is the second."""
    baseline = state.probe.baseline.steady
    order = [config for config in _starters(state, pool) if config != baseline]
    order.insert(1, baseline)
    return order


def _starters(state: State, pool: Pool) -> list[LoaderConfig]:
    if len(pool.groups) <= SMALL:
        order = sorted(pool.groups, key=lambda config: config.config_id)
        random.Random(f"{state.plan.seed}/screen").shuffle(order)  # noqa: S311 - an order, not a secret
        return order
    refused = {record.config for record in state.records if record.status == "refused"}
    able = _affordable(state, [config for config in pool.configs if config not in refused])
    if not able:
        return []
    cores = state.environment.usable_cpus if state.environment is not None else state.usable_cpus or 1.0
    found = without_rungs(seeds(able, cores), state)
    ahead = beyond_the_grid(able, cores, state.probe) if state.workers_open_ended else None
    if ahead is not None and ahead not in refused:
        found.insert(AHEAD_PLACE, ahead)
    return found


def _affordable(state: State, configs: Sequence[LoaderConfig]) -> list[LoaderConfig]:
    """Return what may be a seed: what takes no more than its share of the time, or than little more than the shortest.

    Where a sample takes long a trial of a large batch takes a third of the budget, and the rates of small ones tell the
    model as much.
    """
    measurement = screen_measurement(state.plan)
    # A round of the workers takes as long however many they are: the size of the batch decides.
    sizes = {config.batch_size: config for config in configs}
    takes = {size: unseen_seconds(one, measurement, state.probe) for size, one in sizes.items()}
    shortest = min(takes.values(), default=0.0)
    within = max(SEED_SHARE * state.plan.time_budget_seconds, SEED_TIMES * shortest)
    return [config for config in configs if takes[config.batch_size] <= within]


def _by_evidence(state: State, pool: Pool, tried: Collection[LoaderConfig]) -> LoaderConfig | None:
    standing = standings(state)
    plain = {config: one for config, one in standing.items() if not variants.is_variant(config, pool)}
    found = _of_the_model(state, pool, plain, tried) if len(pool.groups) > SMALL else None
    return found or variants.next_config(pool, leading(standing), tried)


def _of_the_model(
    state: State, pool: Pool, standing: dict[LoaderConfig, Standing], tried: Collection[LoaderConfig]
) -> LoaderConfig | None:
    """Return what the model, or where it is not trusted the bracket, asks for; None once it had its trials."""
    configs = reachable(state, pool)
    extra = _beyond_the_start(state, pool, tried)
    if not configs or extra >= bracket.MOST:
        return None
    ahead = forecast(state, configs, standing)
    tie = state.plan.tie
    if ahead is not None and trust(ahead).holds:
        return candidates.next_config(ahead, standing, tried, tie) if extra < candidates.MOST else None
    found = bracket.next_config(configs, standing, tried, tie)
    # Even a bad model with what it is off by knows of places where nothing was tried.
    return found or (candidates.next_config(ahead, standing, tried, tie) if ahead is not None else None)


def _beyond_the_start(state: State, pool: Pool, tried: Collection[LoaderConfig]) -> int:
    """Return how many configurations were tried that are neither seeds nor variants."""
    refused = {record.config for record in state.records if record.status == "refused"}
    first = {*_starters(state, pool), state.probe.baseline.steady}
    return sum(not (config in first or config in refused or variants.is_variant(config, pool)) for config in tried)
