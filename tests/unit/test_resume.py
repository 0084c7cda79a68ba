"""A run that is taken up again: nothing twice, nothing lost, and only where plan and machine agree."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted_machine import Machine, a_probe, an_environment
from test_sweep import SPACE, ScriptedRunner, rate, sweep

from loadtune.cli import resuming
from loadtune.cli.app import main
from loadtune.cli.options import ConsumerOptions, LimitOptions, MeasurementOptions, SpaceOptions, build_plan
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.errors import RunDirectoryError, UsageError
from loadtune.judge.reopen import as_compared
from loadtune.record.results import Environment, Probe, Resume, RunResult, TrialRecord
from loadtune.record.store import KeptRun, RunStore, read_kept
from loadtune.run import sweep as sweep_module
from loadtune.run.resume import load, resume_command, unfinished_note

PLAN = SweepPlan(target="x", space=SPACE)


@pytest.fixture(autouse=True)
def _one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the same machine in every test, whatever it runs on."""
    be(monkeypatch, an_environment())


def be(patch: pytest.MonkeyPatch, environment: Environment) -> None:
    patch.setattr(sweep_module, "read_environment", lambda **_: environment)


def first_part(place: Path, trials: int, plan: SweepPlan = PLAN) -> KeptRun:
    """Sweep until the interrupt in the trial of this number."""
    with pytest.raises(KeyboardInterrupt):
        sweep(ScriptedRunner(Machine(rate=rate), a_probe(), interrupt_at=trials), plan, store=RunStore.create(place))
    return read_kept(place)


def second_part(place: Path, *, probe: Probe | None = None, **changes: Any) -> tuple[ScriptedRunner, RunResult]:
    store = RunStore.resume(place)
    assert store.kept is not None
    records = list(store.kept.journal.records)
    runner = ScriptedRunner(Machine(rate=rate, records=records), probe or a_probe())
    plan = dataclasses.replace(store.kept.header.plan, **changes)
    return runner, sweep(runner, plan, store=store)


def asked(record: TrialRecord) -> tuple[Any, ...]:
    return record.order, record.block, record.phase, record.config, record.drop_last


def whole_run(place: Path, plan: SweepPlan = PLAN) -> tuple[RunResult, list[tuple[Any, ...]]]:
    result = sweep(ScriptedRunner(Machine(rate=rate), a_probe()), plan, store=RunStore.create(place))
    return result, list(map(asked, read_kept(place).journal.records))


@pytest.mark.parametrize("trials", [0, 1, 3, 5, 9, 14])
def test_a_resumed_run_goes_on_as_it_would_have(trials: int, tmp_path: Path) -> None:
    """Interrupted anywhere, a run ends with the trials, the rows and the pick of one that was not, none made twice."""
    whole, expected = whole_run(tmp_path / "whole")
    assert trials < len(expected)
    kept = first_part(tmp_path / "parts", trials)
    runner, result = second_part(tmp_path / "parts")
    assert [request.order for request in runner.requests] == list(range(trials, len(expected)))
    journal = read_kept(tmp_path / "parts").journal
    assert list(map(asked, journal.records)) == expected
    assert journal.records[:trials] == kept.journal.records
    assert (result.best, result.trials) == (whole.best, whole.trials)
    assert (result.finished, result.cost.trials) == (True, whole.cost.trials)
    assert result.cost.seconds == pytest.approx(whole.cost.seconds)


def test_an_axis_that_was_left_to_the_sweep_stays_so(tmp_path: Path) -> None:
    """A run with ``auto`` workers goes on beyond the cores after a resume too: its header holds what was asked for."""
    plan = SweepPlan(target="x", space=SearchSpace.parse(batch_size=64))
    kept = first_part(tmp_path / "run", 2, plan)
    assert kept.header.plan.space == plan.space
    _, result = second_part(tmp_path / "run")
    assert result.plan == kept.header.plan
    assert max(trial.num_workers for trial in result.trials) > 2


def test_the_resume_and_its_pause_are_told(tmp_path: Path) -> None:
    """Finding LT016 says after how many trials, and for how long the run lay; a run in one go has none."""
    first_part(tmp_path / "run", 5)
    _, result = second_part(tmp_path / "run")
    assert [resume.order for resume in result.resumes] == [5]
    found = next(finding for finding in result.findings if finding.code == "LT016")
    assert "resumed after 5 trials, a pause of " in found.message
    assert found.numbers["longest_pause_seconds"] == result.resumes[0].pause_seconds > 1e6  # the script's clock is old
    assert "LT016" not in {finding.code for finding in whole_run(tmp_path / "whole")[0].findings}


def test_a_resume_that_measured_nothing_is_none(tmp_path: Path) -> None:
    """Of two resumes at one place only the last counts."""
    first_part(tmp_path / "run", 5)
    with pytest.raises(KeyboardInterrupt):
        sweep(
            ScriptedRunner(Machine(rate=rate), a_probe(), interrupt_at=5), PLAN, store=RunStore.resume(tmp_path / "run")
        )
    _, result = second_part(tmp_path / "run")
    assert [resume.order for resume in result.resumes] == [5]


def test_a_finished_run_goes_on_with_more_time(tmp_path: Path) -> None:
    """What had no turn is measured with a longer budget, what was measured is not, and the pick is verified anew."""
    space = SearchSpace.parse(batch_size="8..4096:x2", num_workers="0..3", drop_last=False)
    plan = SweepPlan(target="x", space=space, search="grid", time_budget_seconds=20.0)
    short, done = whole_run(tmp_path / "run", plan)
    missing = {trial.config for trial in short.trials if trial.status == "interrupted"}
    assert missing
    runner, result = second_part(tmp_path / "run", time_budget_seconds=120.0)
    assert {request.config for request in runner.requests if request.phase == "screen"} == missing
    assert list(map(asked, read_kept(tmp_path / "run").journal.records))[: len(done)] == done
    assert {trial.status for trial in result.trials} == {"ok"}
    assert 20.0 < result.cost.seconds <= 120.0
    assert result.plan.time_budget_seconds == 120.0
    assert result.best is not None
    assert result.best.config.num_workers == 3
    row = result.trial(result.best.config_id)
    assert row is not None
    assert row.measured_again
    assert row.repeats >= 3
    assert min(row.order) >= len(done)


def test_trials_before_more_time_count_as_first_looks() -> None:
    """A verifying trial stays one, unless more time came after it; a trial that the old end cut off is then none."""
    configs = [LoaderConfig(batch_size=size) for size in (8, 16, 32)]
    machine = Machine(rate=rate)
    records = [
        dataclasses.replace(record, phase="verify", status="interrupted" if order == 1 else "ok")
        for order, record in enumerate(machine.sweep(PLAN, configs)[:3])
    ]
    assert as_compared(records, [Resume(order=3, pause_seconds=1.0)]) == tuple(records)
    opened = as_compared(records, [Resume(order=2, pause_seconds=1.0, more_time=True)])
    assert [(record.order, record.phase) for record in opened] == [(0, "screen"), (2, "verify")]


def test_with_more_time_the_workers_go_on_and_a_race_of_its_own_is_run() -> None:
    """16 s ended at 2 workers; with 200 s they are doubled until 32 pay no more, and no old block is raced on."""
    machine = Machine(rate=lambda config: 100.0 * min(max(config.num_workers, 0.5), 32), overhead=0.2)
    configs = [LoaderConfig(batch_size=size, num_workers=count) for size in (16, 32, 64) for count in (0, 1, 2)]
    plan = SweepPlan(target="x", search="grid", time_budget_seconds=16.0)
    before = machine.sweep(plan, configs, workers_open_ended=True)
    assert "verify" in {record.phase for record in before}
    old_blocks = {record.block for record in before}
    reopening = [Resume(order=len(before), pause_seconds=1.0, more_time=True)]
    machine.records = list(as_compared(before, reopening))
    after = machine.sweep(dataclasses.replace(plan, time_budget_seconds=200.0), configs, workers_open_ended=True)
    added = after[len(before) :]
    assert max(record.config.num_workers for record in added if record.phase == "screen") == 64
    raced = {record.block for record in added if record.phase == "race"}
    assert raced
    assert not raced & old_blocks


def with_machine(**changes: Any) -> Environment:
    return dataclasses.replace(an_environment(), **changes)


@pytest.mark.parametrize(
    ("here", "says"),
    [
        ({"cpu_model": "another"}, "the processor was a processor and is another"),
        ({"logical_cpus": 4}, "the number of logical CPUs was 2 and is 4"),
        ({"usable_cpus": 1.5}, "the number of usable CPUs was 2 and is 1.5"),
        ({"host_memory_limit_bytes": 2**32}, "the limit of host memory was 8.0 GiB and is 4.0 GiB"),
        ({"accelerators": ("a device",)}, "the accelerator was none and is a device"),
        ({"python_version": "3.13"}, "Python was 3.12 and is 3.13"),
        ({"loadtune_version": "1"}, "loadtune was 0 and is 1"),
    ],
)
def test_another_machine_is_named(
    here: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on only on the machine it began on: the first fact that differs is named with both values."""
    first_part(tmp_path / "run", 3)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    be(monkeypatch, with_machine(**here))
    with pytest.raises(UsageError) as raised:
        second_part(tmp_path / "run")
    assert str(raised.value) == f"the run in '{tmp_path / 'run'}' cannot be resumed here: {says}"
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("here", "says"),
    [
        ({"torch_version": "9"}, "torch was  and is 9"),
        ({"dataset_kind": "iterable"}, "the kind of the data set was map and is iterable"),
        ({"dataset_samples": 40_000}, "the number of samples was 50,000 and is 40,000"),
        ({"baseline": LoaderConfig(batch_size=16)}, "the baseline was 0 workers, batch 64 and is 0 workers, batch 16"),
        ({"batch_size_is_swept": False}, "who forms the batches was the loader and is the data set"),
    ],
)
def test_another_data_set_is_named(here: dict[str, Any], says: str, tmp_path: Path) -> None:
    """A run goes on only with the data set and the torch that it began with."""
    first_part(tmp_path / "run", 3)
    with pytest.raises(UsageError) as raised:
        second_part(tmp_path / "run", probe=a_probe(**here))
    assert str(raised.value).endswith(f"cannot be resumed here: {says}")


def test_a_host_that_lacks_a_few_pages_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory limit within 1 % agrees, and the limit that the run began with stays in force."""
    kept = first_part(tmp_path / "run", 3)
    be(monkeypatch, with_machine(host_memory_limit_bytes=int(8 * 2**30 * 0.995)))
    _, result = second_part(tmp_path / "run")
    assert result.limits == kept.header.limits
    assert result.environment == kept.header.environment


def test_a_run_that_was_not_finished_can_be_looked_at(tmp_path: Path) -> None:
    """A killed sweep's header and journal, torn at its end, give the result of its whole lines, which says so."""
    place = tmp_path / "a run"
    kept = first_part(place, 9)
    concluded = load(place)
    (place / "run.json").write_bytes(msgspec.json.encode(kept.header))
    with (place / "trials.jsonl").open("ab") as journal:
        journal.write(b'{"order": 9, "bl')
    result = load(place)
    assert result == dataclasses.replace(concluded, cost=result.cost)
    assert result.finished is False
    assert result.cost.trials == 9
    found = next(finding for finding in result.findings if finding.code == "LT017")
    assert "after 9 trials" in found.message
    note = unfinished_note(result, place)
    assert note is not None
    assert note.endswith(f"go on with: loadtune sweep --resume '{place}'")
    with RunStore.resume(place):
        assert "is still measuring" in (unfinished_note(result, place) or "")


def test_a_run_without_a_trial_can_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep that was killed in its first trial left nothing but its plan, and that is said."""
    kept = first_part(tmp_path / "run", 0)
    (tmp_path / "run" / "run.json").write_bytes(msgspec.json.encode(kept.header))
    (tmp_path / "run" / "trials.jsonl").unlink()
    result = load(tmp_path / "run")
    assert (result.best, result.cost.trials) == (None, 0)
    assert main(["show", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "ended after 0 trials" in " ".join(printed.out.split())
    assert printed.err == (f"loadtune: this run was not finished; go on with: {resume_command(tmp_path / 'run')}\n")


@pytest.mark.parametrize("kept", [2, 7])
def test_a_finished_run_whose_journal_was_cut_is_finished_again(kept: int, tmp_path: Path) -> None:
    """As the hint at a damaged line says: what is above it stays, the rest is measured, the result is made anew."""
    first_part(tmp_path / "run", 5)
    whole = second_part(tmp_path / "run")[1]
    journal = tmp_path / "run" / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:kept], b"damaged\n", *lines[kept + 1 :]]))
    with pytest.raises(RunDirectoryError, match=f"line {kept + 1} of .* is damaged") as raised:
        RunStore.resume(tmp_path / "run")
    assert "cut the file before this line" in (raised.value.hint or "")
    journal.write_bytes(b"".join(lines[:kept]))
    assert load(tmp_path / "run").cost.trials == len(lines), "the result is shown until something is made of the rest"
    runner, result = second_part(tmp_path / "run")
    assert [request.order for request in runner.requests] == list(range(kept, len(lines)))
    assert (result.best, result.trials, result.finished) == (whole.best, whole.trials, True)
    assert [resume.order for resume in result.resumes] == ([kept] if kept < 5 else [5, kept])


def test_a_finished_run_whose_last_line_is_torn_measures_that_trial_again(tmp_path: Path) -> None:
    """One trial, and the run is what it was."""
    whole, asked_for = whole_run(tmp_path / "run")
    journal = tmp_path / "run" / "trials.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    runner, result = second_part(tmp_path / "run")
    assert [request.order for request in runner.requests] == [len(asked_for) - 1]
    assert (result.best, result.trials) == (whole.best, whole.trials)


def test_a_finished_run_without_its_journal_is_not_measured_over(tmp_path: Path) -> None:
    """Its result is all there is: it is shown, and neither resumed nor written; the hint says what can be done."""
    whole_run(tmp_path / "run")
    (tmp_path / "run" / "trials.jsonl").unlink()
    assert load(tmp_path / "run").finished
    with pytest.raises(RunDirectoryError, match=r"holds none of the .* trials") as raised:
        RunStore.resume(tmp_path / "run")
    assert "`loadtune show` prints" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("folder", "command"),
    [("run", "run"), ("my run", "'my run'"), ("-x", "./-x"), ("it's", """'it'"'"'s'""")],
)
def test_the_command_is_one_that_a_shell_takes(folder: str, command: str) -> None:
    """A name with spaces, quotes or a hyphen at its begin is quoted."""
    assert resume_command(folder) == f"loadtune sweep --resume {command}"


def options_plan(target: str = "x", **options: str) -> SweepPlan:
    space = SpaceOptions(**{name: value for name, value in options.items() if name in SpaceOptions.__slots__})
    limits = LimitOptions(**{name: value for name, value in options.items() if name in LimitOptions.__slots__})
    consumer = ConsumerOptions(**{name: value for name, value in options.items() if name in ConsumerOptions.__slots__})
    measurement = MeasurementOptions(
        **{name: value for name, value in options.items() if name in MeasurementOptions.__slots__}  # type: ignore[arg-type]
    )
    return build_plan(target, {}, space=space, consumer=consumer, measurement=measurement, limits=limits)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("batch_size", "32", "--batch-size was 64,128 and is 32"),
        ("num_workers", "auto", "--num-workers was 0,2 and is auto"),
        ("drop_last", "on", "--drop-last was off,on and is on"),
        ("multiprocessing_context", "spawn", "--multiprocessing-context was Python's own and is spawn"),
        ("step_time", "20ms", "--step-time was 0 µs and is 20.0 ms"),
        ("device", "cuda:0", "--device was cpu and is cuda:0"),
        ("precision", "5%", "--precision was 2.0 % and is 5.0 %"),
        ("seed", "7", "--seed was 0 and is 7"),
        ("cache", "warm", "--cache was as-is and is warm"),
        ("host_memory", "2GiB", "--host-memory was not given and is 2.0 GiB"),
        ("trial_timeout", "61s", "--trial-timeout was 60.0 s and is 61.0 s"),
        ("time_budget", "30s", "with less time: --time-budget was 60.0 s and is 30.0 s"),
    ],
)
def test_an_option_that_differs_is_named(option: str, value: str, says: str, tmp_path: Path) -> None:
    """An option on the command line that is not the run's is refused with both values; not given, it is the run's."""
    kept, plan = first_part(tmp_path / "run", 1), options_plan(**{option: value})
    with pytest.raises(UsageError) as raised:
        resuming.agreed(kept, plan, {option.replace("_", "-")})
    assert says in str(raised.value)
    assert resuming.agreed(kept, plan, ()) == kept.header.plan


def test_options_that_agree_are_taken(tmp_path: Path) -> None:
    """The run's own options may stand there again, written otherwise, and the time budget may be longer."""
    kept = first_part(tmp_path / "run", 1)
    plan = options_plan(batch_size="64..128:x2", num_workers="2,0", device="auto", time_budget="2m")
    goal = resuming.agreed(kept, plan, {"target", "batch-size", "num-workers", "device", "time-budget"})
    assert goal == dataclasses.replace(kept.header.plan, time_budget_seconds=120.0)
    with pytest.raises(UsageError, match="TARGET was x and is y"):
        resuming.agreed(kept, options_plan(target="y"), {"target"})


def test_every_option_of_the_plan_is_compared() -> None:
    """No option of the search space, the consumer, the measurement or the limits is forgotten in the comparison."""
    groups = (SpaceOptions, ConsumerOptions, MeasurementOptions, LimitOptions)
    names = {field.name.replace("_", "-") for group in groups for field in dataclasses.fields(group)}
    assert set(resuming.IN_THE_PLAN) == {*names, "target", "arg"} - {"time-budget"}


def test_a_run_of_an_object_is_not_for_the_command_line(tmp_path: Path) -> None:
    """What a program handed over no command line can name: that is said, by sweep and by show."""
    kept = first_part(tmp_path / "run", 1, dataclasses.replace(PLAN, target="<Local>"))
    with pytest.raises(UsageError, match=r"<Local> was handed to loadtune\.sweep by a program"):
        resuming.agreed(kept, options_plan(), ())
    assert "--resume" not in (unfinished_note(load(tmp_path / "run"), tmp_path / "run") or "--resume")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--resume", "run", "--output", "other"], "--resume and --output contradict each other"),
        (["--resume", "nowhere"], "'nowhere' is no run directory"),
        (["--resume", "."], "'.' holds no run"),
        (["--resume", "run", "--batch-size", "32"], "--batch-size was 64,128 and is 32"),
        (["cifar10", "--resume", "run"], "TARGET was x and is cifar10"),
    ],
)
def test_a_resume_that_cannot_be_is_one_sentence(
    arguments: list[str], says: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What contradicts the run exits with 2 before anything is loaded, and leaves the run as it was."""
    first_part(empty_folder / "run", 3)
    before = {path.name: path.read_bytes() for path in (empty_folder / "run").iterdir()}
    assert main(["sweep", *arguments]) == 2
    assert says in capsys.readouterr().err.splitlines()[0]
    assert {path.name: path.read_bytes() for path in (empty_folder / "run").iterdir()} == before
    assert os.listdir(empty_folder) == ["run"]


def test_a_finished_run_is_told_again(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is left of a finished run: its result is printed and exported without loading anything, with exit 0."""
    whole_run(empty_folder / "run")
    assert main(["sweep", "--resume", "run", "--export-json", "-"]) == 0
    printed = capsys.readouterr()
    assert msgspec.json.decode(printed.out)["finished"] is True
    assert "this run is finished" in printed.err


def test_settings_from_outside_do_not_change_a_run(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The environment and the file may ask for something else today: a run goes on as it began."""
    whole_run(empty_folder / "run")
    monkeypatch.setenv("LOADTUNE_OUTPUT", "elsewhere")
    (empty_folder / "pyproject.toml").write_text('[tool.loadtune]\nbatch-size = "16"\n', encoding="utf-8")
    assert main(["sweep", "--resume", "run"]) == 0
    assert not (empty_folder / "elsewhere").exists()
    capsys.readouterr()


def test_the_command_for_the_record_names_the_longer_time() -> None:
    """The kept command makes the same run in one go: its time budget is replaced or added."""
    longer = dataclasses.replace(PLAN, time_budget_seconds=90.0)
    for words in (("--time-budget", "30s"), ("--time-budget=30s",), ()):
        command = ("loadtune", "sweep", *words, "--seed", "1")
        assert resuming._with_budget(command, longer, PLAN) == (
            "loadtune", "sweep", "--seed", "1", "--time-budget", "90s"
        )  # fmt: skip
        assert resuming._with_budget(command, PLAN, PLAN) == command
