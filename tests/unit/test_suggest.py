"""``loadtune suggest``: the choice as code, under other limits, without measuring."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripted_machine import MIB, Machine, a_probe, an_environment

from factories import make_probe, make_result
from loadtune.cli.app import main
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Limits, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.errors import UsageError
from loadtune.record.results import MemoryLimits, Probe, RunResult
from loadtune.record.store import RunHeader, RunStore, read_kept
from loadtune.run.rejudge import rejudged
from loadtune.run.sweep import conclude, grid, header_of, resolve_plan
from loadtune.show.suggestion import FORMATS, Suggestion, as_lightning, as_python, as_transformers
from loadtune.units import Size

Printed = pytest.CaptureFixture[str]

RATES = {0: 1000.0, 1: 950.0, 2: 1900.0, 4: 3600.0}


def keep(folder: Path, plan: SweepPlan, probe: Probe, *, memory: int = 8 * 2**30) -> Path:
    """Keep a run of a machine whose rates grow with the workers, 100 MiB for each."""
    environment = an_environment(usable_cpus=4.0)
    header = RunHeader(
        target="cifar10",
        command=("loadtune", "sweep"),
        started_at="2031-05-04T10:11:12+00:00",
        environment=environment,
        plan=plan,
        limits=MemoryLimits(host_memory_bytes=memory),
        probe=probe,
    )
    machine = Machine(rate=lambda config: RATES[config.num_workers] * (0.8 if config.batch_size == 32 else 1.0))
    configs = grid(resolve_plan(plan, probe, environment), probe)
    machine.sweep(plan, configs, probe=probe, limits=header.limits)
    with RunStore.create(folder) as store:
        store.open(header)
        for record in machine.records:
            store.append(record)
        store.finish(conclude(header, machine.records, elapsed_seconds=machine.elapsed, finished=True))
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kept run of two batch sizes with up to four workers."""
    space = SearchSpace(batch_size=(32, 64), num_workers=(0, 1, 2, 4), pin_memory=(False,), drop_last=(False,))
    return keep(tmp_path_factory.mktemp("runs") / "run", SweepPlan(target="cifar10", space=space), a_probe())


def test_without_limits_the_choice_is_the_runs(run_folder: Path, capsys: Printed) -> None:
    """Without options the code is that of the pick which the run made."""
    assert main(["suggest", str(run_folder)]) == 0
    printed = capsys.readouterr().out
    assert "batch_size=64, num_workers=4" in printed
    ast.parse(printed)


@pytest.mark.parametrize(("limit", "workers"), [("650MiB", 2), ("450MiB", 1), ("350MiB", 0), ("5%", 1), ("90%", 4)])
def test_less_memory_gives_the_best_that_fits(limit: str, workers: int, run_folder: Path, capsys: Printed) -> None:
    """Under each limit the choice is the fastest that fits of what was measured; a share is of the limit in force."""
    assert main(["suggest", str(run_folder), "--host-memory", limit, "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    # One worker is slower than none: nobody would take it.
    assert said["loader_kwargs"]["num_workers"] == (0 if workers == 1 else workers)
    assert said["host_peak_bytes"] <= 8 * 2**30


def test_a_smaller_batch_can_be_asked_for(run_folder: Path, capsys: Printed) -> None:
    """With --max-batch-size 32 the choice has batch 32, though 64 is faster."""
    assert main(["suggest", str(run_folder), "--max-batch-size", "32", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["loader_kwargs"]["batch_size"] == 32


def test_nothing_fits_is_exit_3_with_what_would(run_folder: Path, capsys: Printed) -> None:
    """Where nothing that was measured fits, the least memory needed is named, and nothing is printed to paste."""
    assert main(["suggest", str(run_folder), "--host-memory", "100MiB"]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "The least host memory needed was 300 MiB" in printed.err


def test_a_batch_below_all_that_were_tried_is_exit_3(run_folder: Path, capsys: Printed) -> None:
    """No batch of the run is that small: nothing fits, and nothing is wrong with the option."""
    assert main(["suggest", str(run_folder), "--max-batch-size", "1"]) == 3
    assert "--max-batch-size 1 leaves no batch size" in capsys.readouterr().err


def test_device_memory_without_a_device_is_refused(run_folder: Path, capsys: Printed) -> None:
    """A limit of device memory for a run without a device is a sentence and exit 2."""
    assert main(["suggest", str(run_folder), "--gpu-memory", "1GiB"]) == 2
    assert "--gpu-memory needs an accelerator" in capsys.readouterr().err


def test_the_run_stays_as_it_is(run_folder: Path) -> None:
    """Judging anew changes no file, and a limit that changes nothing gives the run's own choice."""
    before = {file.name: file.read_bytes() for file in run_folder.iterdir()}
    kept = read_kept(run_folder)
    anew = rejudged(kept, Limits(host_memory=Size(bytes=2000 * MIB)))
    assert anew.best is not None
    assert kept.result is not None
    assert kept.result.best is not None
    assert anew.best.config == kept.result.best.config
    assert anew.limits.host_memory_bytes == 2000 * MIB
    assert {file.name: file.read_bytes() for file in run_folder.iterdir()} == before


def pick_of(**settings: Any) -> RunResult:
    from factories import make_pick, make_trial  # noqa: PLC0415 - beside its one use

    return make_result(best=make_pick(make_trial(LoaderConfig(**settings), 1000.0), "because"))


@pytest.mark.parametrize("write", [as_python, as_lightning, as_transformers])
@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 64},
        {"batch_size": 32, "num_workers": 2, "in_order": False, "multiprocessing_context": "fork"},
        {"batch_size": None, "num_workers": 1},
    ],
)
def test_every_format_is_python(write: Callable[..., str], settings: dict[str, Any]) -> None:
    """Whatever the settings, the code parses, and what a name of the data set holds stays a comment."""
    result = pick_of(**settings)
    assert result.best is not None
    ast.parse(write(Suggestion(result=result, pick=result.best)))
    hostile = make_result(best=result.best, probe=make_probe(name="x\nimport os"), target="x\nimport os")
    code = write(Suggestion(result=hostile, pick=result.best))
    assert "\nimport os" not in code


def test_transformers_takes_its_own_names() -> None:
    """Settings have the names of TrainingArguments; what it does not take is said in a comment."""
    result = pick_of(batch_size=32, num_workers=2, in_order=False)
    assert result.best is not None
    code = as_transformers(Suggestion(result=result, pick=result.best))
    assert "per_device_train_batch_size=32," in code
    assert "dataloader_num_workers=2," in code
    assert "# TrainingArguments takes no in_order: it was False" in code


def with_a_batch_sampler() -> Suggestion:
    """Return what is suggested for a loader that keeps its batch sampler."""
    result = dataclasses.replace(
        pick_of(batch_size=None, num_workers=2),
        probe=make_probe(kept_arguments=("batch_sampler",), batch_size_is_swept=False),
    )
    assert result.best is not None
    return Suggestion(result=result, pick=result.best)


def test_a_lightning_module_takes_the_batch_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class that is written makes a loader whose batches are those of the sampler it was given."""
    stub = ModuleType("lightning")
    stub.LightningDataModule = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", stub)
    written: dict[str, Any] = {}
    exec(as_lightning(with_a_batch_sampler()), written)  # noqa: S102 - what is written is what is tested
    loader = written["Data"]([1.0, 2.0, 3.0], [[0], [1, 2]]).train_dataloader()
    assert loader.batch_sampler == [[0], [1, 2]]
    assert loader.num_workers == 2


def with_parts() -> Suggestion:
    """Return what is suggested for a loader with a sampler and a collate function."""
    result = dataclasses.replace(
        pick_of(batch_size=2, num_workers=0), probe=make_probe(kept_arguments=("collate_fn", "sampler"))
    )
    assert result.best is not None
    return Suggestion(result=result, pick=result.best)


def test_what_was_given_with_the_loader_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampler and collate function are arguments of the code, in any format, or a comment says where they go."""
    assert "    dataset, sampler=sampler, collate_fn=collate_fn," in as_python(with_parts())
    stub = ModuleType("lightning")
    stub.LightningDataModule = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", stub)
    written: dict[str, Any] = {}
    exec(as_lightning(with_parts()), written)  # noqa: S102 - what is written is what is tested
    loader = written["Data"]([1.0, 2.0, 3.0], [2, 0, 1], sum).train_dataloader()
    assert list(loader) == [4.0, 2.0]
    code = as_transformers(with_parts())
    assert "# TrainingArguments takes no sampler: one was given where this was measured." in code
    assert "# Trainer takes the collate_fn as its data_collator." in code


def test_transformers_says_that_it_takes_no_batches_of_another() -> None:
    """Neither a batch sampler nor a batch size of None goes into TrainingArguments: a comment names the one it was."""
    assert "# TrainingArguments takes no batch_sampler: one formed" in as_transformers(with_a_batch_sampler())
    result = pick_of(batch_size=None, num_workers=1)
    assert result.best is not None
    own = as_transformers(Suggestion(result=result, pick=result.best))
    assert "# TrainingArguments takes no batch_size of None: the data set formed" in own


def test_a_batch_sampler_keeps_its_batches() -> None:
    """Where the data set forms its batches, no format gives a batch size."""
    result = pick_of(batch_size=None, num_workers=1)
    assert result.best is not None
    for name, write in FORMATS.items():
        text = write(Suggestion(result=result, pick=result.best))
        assert "train_batch_size" not in text
        assert name == "json" or "batch_size=64" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, capsys: Printed) -> None:
    """The script for each shell has every command and an option of each kind."""
    from loadtune.cli.app import VERBS  # noqa: PLC0415 - beside its one use

    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in script] == []
    assert "batch-size" in script
    assert "fail-above" in script


def test_a_choice_that_was_not_measured_again_is_called_that(run_folder: Path, capsys: Printed) -> None:
    """The pick of the run was measured again; what a smaller limit leaves was not, and comment and JSON say so."""
    words = "# It was not measured again: its rate may be flattered. A sweep with these limits measures it again."
    assert main(["suggest", str(run_folder)]) == 0
    assert words not in capsys.readouterr().out
    assert main(["suggest", str(run_folder), "--host-memory", "550MiB"]) == 0
    assert words in capsys.readouterr().out
    assert main(["suggest", str(run_folder), "--host-memory", "550MiB", "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    row = next(row for row in read_kept(run_folder).result.trials if row.config_id == said["config_id"])  # type: ignore[union-attr]
    assert said["measured_again"] is row.measured_again is False


def test_what_was_over_the_runs_own_limits_can_be_chosen_under_wider_ones(tmp_path: Path, capsys: Printed) -> None:
    """As the help page says: what was measured and over a limit is chosen where a wider one is given."""
    space = SearchSpace(batch_size=(64,), num_workers=(0, 2), pin_memory=(False,), drop_last=(False,))
    plan = SweepPlan(target="cifar10", space=space, limits=Limits(host_memory=Size(bytes=400 * MIB)))
    keep(tmp_path / "run", plan, a_probe(), memory=400 * MIB)
    for options, workers in (([], 0), (["--host-memory", "1GiB"], 2)):
        assert main(["suggest", str(tmp_path / "run"), "--format", "json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["loader_kwargs"]["num_workers"] == workers


def test_a_limit_of_batches_that_others_form_is_refused(tmp_path: Path, capsys: Printed) -> None:
    """With a batch sampler --max-batch-size cannot be kept to: one sentence, exit 2, in suggest as in a sweep."""
    space = SearchSpace(batch_size=(64,), num_workers=(0, 2), pin_memory=(False,), drop_last=(False,))
    probe = a_probe(baseline=LoaderConfig(batch_size=None), batch_size_is_swept=False)
    folder = keep(tmp_path / "run", SweepPlan(target="cifar10", space=space), probe)
    says = "--max-batch-size 8 cannot be kept to: the data set or its batch sampler forms the batches"
    assert main(["suggest", str(folder), "--max-batch-size", "8"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    plan = SweepPlan(target="cifar10", space=space, limits=Limits(max_batch_size=8))
    with pytest.raises(UsageError, match=says):
        header_of(plan, probe, environ=None, command=(), started_at="")
    assert main(["suggest", str(folder), "--host-memory", "1GiB"]) == 0


def test_what_is_judged_anew_is_said_to_be(run_folder: Path, capsys: Printed) -> None:
    """Under other limits a comment and the JSON say so, the run's own choice does not."""
    words = "# It was judged anew under these limits from what the run measured."
    for options, anew in (([], False), (["--host-memory", "550MiB"], True)):
        assert main(["suggest", str(run_folder), *options]) == 0
        assert (words in capsys.readouterr().out) is anew
        assert main(["suggest", str(run_folder), "--format", "json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["judged_anew"] is anew


def test_judging_anew_warns_of_no_time_that_ran_out(run_folder: Path, capsys: Printed) -> None:
    """Judged anew the choice has no fresh trials, which a finding would put down to the time: none is named."""
    kept = read_kept(run_folder)
    anew = rejudged(kept, Limits(host_memory=Size(bytes=550 * MIB)))
    assert not {"LT004", "LT012"} & {finding.code for finding in anew.findings}
    assert main(["suggest", str(run_folder), "--host-memory", "550MiB"]) == 0
    printed = capsys.readouterr().out
    assert "The run warns" not in printed
    assert "--time-budget" not in printed
