"""Optuna's samplers in a sweep, and loadtune's search in a study."""

from __future__ import annotations

import sys

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scripted_machine import Machine, a_probe, an_environment

from loadtune.cli import app
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Search, SweepPlan
from loadtune.integrations.optuna import LoadtuneSampler, add_trials
from loadtune.judge.search import by_optuna
from loadtune.judge.strategy import next_step
from loadtune.judge.verdict import conclude
from loadtune.record.results import MemoryLimits, TrialRecord

GRID = tuple(
    LoaderConfig.normalised(batch_size=size, num_workers=count, prefetch_factor=ahead)
    for size in (16, 32, 64, 128)
    for count in (0, 1, 2, 4, 8)
    for ahead in ((2, 4) if count else (None,))
)


def rate_of(config: LoaderConfig) -> float:
    return 100.0 * (1 + min(config.num_workers, 4)) + (config.batch_size or 1) / 10


def swept(search: Search, budget: float = 60.0, seed: int = 0) -> list[TrialRecord]:
    machine = Machine(rate=rate_of, window_sd=0.01, seed=seed)
    plan = SweepPlan(target="cifar10", search=search, time_budget_seconds=budget, seed=seed)
    return machine.sweep(plan, GRID, environment=an_environment())


@pytest.mark.parametrize("search", ["optuna:tpe", "optuna:random", "optuna:grid"])
def test_a_sampler_of_optuna_proposes_and_the_race_decides(search: Search) -> None:
    """Each sampler tries configurations of the grid, the baseline second; the sweep races and verifies."""
    records = swept(search)
    first = [record.config for record in records if record.phase == "screen"]
    assert len(first) == len(set(first))
    assert set(first) <= set(GRID)
    assert first[1] == LoaderConfig(batch_size=64)
    assert {record.phase for record in records} >= {"screen", "verify"}


def test_equal_seeds_give_equal_trials_and_others_give_others() -> None:
    """What a sampler proposes follows from the seed and the trials alone, so that a run can be resumed."""
    orders = [[record.config for record in swept("optuna:random", 20.0, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_the_whole_grid_is_tried_where_there_is_time() -> None:
    """Optuna's grid ends when all of it was tried, each once."""
    records = swept("optuna:grid", 110.0)
    first = [record.config for record in records if record.phase == "screen"]
    assert sorted(config.config_id for config in first) == sorted(config.config_id for config in GRID)


def test_optuna_that_is_not_installed_is_one_sentence_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra a sweep that asks for it ends before anything starts, and says what installs it."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert app.main(["sweep", "cifar10", "--search", "optuna:tpe", "--dry-run", "--no-config"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'loadtune[optuna]'" in error
    assert len(error.strip().splitlines()) == 1


def test_optuna_is_not_imported_where_nobody_asks_for_it() -> None:
    """An adaptive sweep does without Optuna."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "optuna"}
    try:
        plan = SweepPlan(target="cifar10")
        step = next_step(plan, GRID, [], 0.0, probe=a_probe(), limits=MemoryLimits(), environment=an_environment())
        assert step is not None
        assert "optuna" not in sys.modules
    finally:
        sys.modules.update(hidden)


def peaked(batch_size: int, workers: int) -> float:
    """A rate with one peak, at 6 workers and the largest batch: both neighbours in each axis are over 3 % below it."""
    return 1000.0 * batch_size / (batch_size + 8) * (workers / 6 if workers <= 6 else (6 / workers) ** 0.5)


def test_a_study_with_the_sampler_finds_the_best() -> None:
    """In a study of 4 × 17 settings it finds the one best within 16 trials; a foreign axis is kept.

    16 trials at random hold it in a quarter of studies, the sampler finds it in both of two.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {"batch_size": CategoricalDistribution([16, 32, 64, 128]), "num_workers": IntDistribution(0, 16)}

    def objective(trial: optuna.Trial) -> float:
        size = trial.suggest_categorical("batch_size", [16, 32, 64, 128])
        workers = trial.suggest_int("num_workers", 0, 16)
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        return peaked(size, workers)

    for seed in range(2):
        study = optuna.create_study(direction="maximize", sampler=LoadtuneSampler(space=space, seed=seed))
        study.optimize(objective, n_trials=16)
        assert study.best_value == peaked(128, 6)
        assert len({trial.params["learning_rate"] for trial in study.trials}) == 16


def test_the_sampler_minimises_times_too_and_leaves_other_studies_alone() -> None:
    """Where the value is a time the shortest is found; a study without loader settings is drawn at random."""
    space = {"batch_size": CategoricalDistribution([64]), "num_workers": IntDistribution(0, 32)}
    study = optuna.create_study(direction="minimize", sampler=LoadtuneSampler(space=space))

    def seconds(trial: optuna.Trial) -> float:
        trial.suggest_categorical("batch_size", [64])
        return 1 / max(1.0, peaked(64, trial.suggest_int("num_workers", 0, 32)))

    study.optimize(seconds, n_trials=14)
    assert study.best_params["num_workers"] == 6
    other = optuna.create_study(sampler=LoadtuneSampler(seed=1))
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    assert len({trial.params["x"] for trial in other.trials}) == 5


def test_a_run_becomes_trials_of_a_study() -> None:
    """Each measured configuration of a run is a finished trial with its settings and its rate."""
    records = swept("adaptive")
    result = conclude(
        plan=SweepPlan(target="cifar10"),
        environment=an_environment(),
        probe=a_probe(),
        limits=MemoryLimits(),
        records=records,
        configs=GRID,
        command=(),
        started_at="",
        elapsed_seconds=60.0,
    )
    study = optuna.create_study(direction="maximize")
    assert add_trials(study, result) == sum(row.samples_per_second is not None for row in result.trials)
    best = max(row.samples_per_second or 0.0 for row in result.trials)
    assert study.best_value == pytest.approx(best)
    assert any(trial.user_attrs["chosen"] for trial in study.trials)


def test_an_axis_that_cannot_be_counted_is_no_axis_of_the_search() -> None:
    """A setting drawn from a continuous range is left to chance instead of being searched."""
    sampler = LoadtuneSampler(
        space={"batch_size": FloatDistribution(1, 2), "num_workers": IntDistribution(1, 8, log=True)}
    )
    study = optuna.create_study(sampler=sampler)
    assert list(sampler.infer_relative_search_space(study, study.ask())) == ["num_workers"]


def test_a_proposal_follows_the_order_of_an_axis() -> None:
    """Axes are handed to Optuna as places in ascending values; one without choice is left out."""
    space = by_optuna._space(GRID)
    assert space == {"batch_size": [16, 32, 64, 128], "num_workers": [0, 1, 2, 4, 8], "prefetch_factor": [2, 4]}
