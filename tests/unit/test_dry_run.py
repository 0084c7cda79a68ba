"""What a sweep says that it would do, held against what it then does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_machine import Machine, a_probe, an_environment

from loadtune.cli import app
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Limits, Search, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.judge.rehearsal import rehearse
from loadtune.judge.search import adaptive
from loadtune.judge.state import State
from loadtune.record.results import MemoryLimits
from loadtune.run.dry_run import dry_run
from loadtune.run.sweep import Runner, grid
from loadtune.show.dry_run import lines
from loadtune.units import parse_size

GRID = SearchSpace.parse(
    batch_size="16..256:x2", num_workers="0,1,2,4,8,16", drop_last="off", pin_memory="off"
).configs()
PROBE = a_probe(seconds_per_sample=5e-3, cpu_seconds_per_sample=1e-4)


def rate(config: LoaderConfig) -> float:
    """Samples that wait 5 ms, on workers that do not disturb each other, up to 8,000 a second."""
    level = max(1, config.num_workers) / 5e-3
    return float((level**-4 + 8000**-4) ** -0.25)


@pytest.mark.parametrize(("search", "budget"), [("adaptive", 40.0), ("adaptive", 400.0), ("grid", 40.0)])
def test_the_time_to_expect_is_near_what_a_sweep_takes(search: Search, budget: float) -> None:
    """Played through in advance, a sweep takes within 25 % of what it takes on a machine with like noise."""
    plan = SweepPlan(target="cifar10", search=search, time_budget_seconds=budget)
    known = {"probe": PROBE, "limits": MemoryLimits(), "environment": an_environment(), "workers_open_ended": False}
    expected = rehearse(plan, GRID, **known)  # type: ignore[arg-type]
    machine = Machine(rate=rate, window_sd=0.03, trial_sd=0.03, seed=3, overhead=0.6)
    machine.sweep(plan, GRID, **known)  # type: ignore[arg-type]
    assert expected.seconds == pytest.approx(machine.elapsed, rel=0.25)
    assert expected.seconds <= budget


def test_the_short_way_of_a_step_that_hardly_waits_is_foreseen() -> None:
    """Behind a step of 20 ms of 64 samples as many trials are expected as there are, and nothing is raced."""
    step = 0.02
    plan = SweepPlan(target="cifar10", consumer=Consumer(step_seconds=step), time_budget_seconds=120.0)
    configs = tuple(config for config in GRID if config.batch_size == 64) + tuple(
        LoaderConfig(batch_size=64, num_workers=workers) for workers in (3, 6, 12, 24)
    )
    known = {"probe": PROBE, "limits": MemoryLimits(), "environment": an_environment(), "workers_open_ended": False}
    expected = rehearse(plan, configs, **known)  # type: ignore[arg-type]

    def behind_the_step(config: LoaderConfig) -> float:
        return float((rate(config) ** -10 + (64 / step) ** -10) ** -0.1)

    machine = Machine(rate=behind_the_step, window_sd=0.003, trial_sd=0.003, seed=3, overhead=0.6, cached=64 / step)
    machine.sweep(plan, configs, **known)  # type: ignore[arg-type]
    assert sum(expected.trials.values()) == pytest.approx(len(machine.records), rel=0.25)
    assert "race" not in expected.trials
    assert not [record for record in machine.records if record.phase == "race"]


def test_nothing_is_left_to_chance() -> None:
    """The same arguments give the same forecast."""
    known = {"probe": PROBE, "limits": MemoryLimits(), "environment": an_environment(), "workers_open_ended": False}
    plan = SweepPlan(target="cifar10", time_budget_seconds=30.0)
    assert rehearse(plan, GRID, **known) == rehearse(plan, GRID, **known)  # type: ignore[arg-type]


def test_a_limit_that_was_asked_for_counts() -> None:
    """With less memory allowed than one process takes the limit is named, and that nothing can be chosen."""
    runner = Looked()
    runner.probe = replace(PROBE, resident_bytes=330 * 2**20)
    plan = SweepPlan(
        target="cifar10",
        space=SearchSpace.parse(batch_size="64,128"),
        limits=Limits(host_memory=parse_size("100MiB")),
    )
    found = dry_run(plan, open_runner=lambda *_: nullcontext(runner))
    text = "\n".join(lines(found))
    rows = found.rehearsal.configs
    assert "100 MiB of memory allowed, of " in text
    assert f"over the limit of 100 MiB of host memory: {rows}, which need 331 MiB or more" in text
    assert rows == len({*grid(found.resolved, PROBE), PROBE.baseline})
    assert f"configurations: {rows}, 0 of them refused, more where the sweep goes on to more workers" in text
    assert "and more while more workers help" in text


@pytest.mark.parametrize("seconds", [1e-4, 1e-3, 5e-3])
def test_what_is_tried_first_is_what_no_rate_has_a_say_in(seconds: float) -> None:
    """What is named as tried first are the configurations that no rate has a say in, and that is said."""
    runner = Looked()
    runner.probe = replace(PROBE, seconds_per_sample=seconds, cpu_seconds_per_sample=seconds)
    space = SearchSpace.parse(batch_size="16..256:x2", num_workers="0,1,2,4", drop_last="off", pin_memory="off")
    found = dry_run(SweepPlan(target="cifar10", space=space, seed=3), open_runner=lambda *_: nullcontext(runner))
    first = found.rehearsal.first[: found.rehearsal.settled]
    known = {"probe": runner.probe, "limits": MemoryLimits(), "environment": found.header.environment}
    state = State(plan=found.resolved, configs=space.configs(), records=(), **known)  # type: ignore[arg-type]
    assert first == adaptive.opening(state)
    text = "\n".join(lines(found))
    assert f"tried first: {', '.join(config.config_id for config in first)}; what comes next depends" in text


class Looked:
    """Knows the data set, and fails where a trial is asked for."""

    probe = PROBE

    def run(self, *_: object, **__: object) -> None:
        raise AssertionError("a dry run measures nothing")


@contextmanager
def looking(_plan: SweepPlan, _pickle: str | None) -> Iterator[Runner]:
    yield Looked()  # type: ignore[misc]


def test_it_says_the_axes_the_refusals_and_the_time() -> None:
    """The lines name every axis, how many are refused and why, what is tried first, and the time; no trial is run."""
    space = SearchSpace.parse(batch_size="64,10000000", num_workers="0,4", drop_last="off")
    found = dry_run(SweepPlan(target="cifar10", space=space), open_runner=looking)
    text = "\n".join(lines(found))
    assert "batch_size: 64, 10000000" in text
    assert "num_workers: 0, 4" in text
    assert "time to expect: " in text
    assert "tried first: b" in text
    assert "2 of them refused" in text
    assert "such as b10000000-w" in text


def test_thousands_that_are_refused_leave_the_trials_of_the_others() -> None:
    """2,100 configurations that do not fit into shared memory are no trials: what fits is played through as before."""
    small = SearchSpace.parse(batch_size="16,32", num_workers="0,1,2", drop_last="off", pin_memory="off")
    sizes = ",".join(str(10_000_000 + size) for size in range(700))
    large = SearchSpace.parse(batch_size=f"16,32,{sizes}", num_workers="0..3", drop_last="off", pin_memory="off")
    some, many = (
        dry_run(SweepPlan(target="cifar10", space=space, time_budget_seconds=30.0), open_runner=looking).rehearsal
        for space in (small, large)
    )
    assert len(many.refused) >= 2100
    assert sum(many.trials.values()) >= sum(some.trials.values()) > 5


def test_the_command_measures_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--dry-run`` prints the plan, leaves no file and exits with 0; beside ``--resume`` it is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loadtune.run.dry_run.open_supervisor", lambda plan, pickled, _: looking(plan, pickled))
    assert app.main(["sweep", "cifar10", "--dry-run", "--time-budget", "20s", "--no-config"]) == 0
    assert "Nothing was measured and nothing was written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert app.main(["sweep", "cifar10", "--dry-run", "--resume", "x", "--no-config"]) == 2
    assert "contradict" in capsys.readouterr().err
