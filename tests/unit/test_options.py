"""What options mean, and where they come from: command line over environment over file over default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from loadtune.cli import job, sweep
from loadtune.cli.app import main
from loadtune.describe.plan import Consumer, Limits, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.errors import UsageError
from loadtune.units import Size

Planned = list[dict[str, Any]]

DESIGNED = {
    "Search space": [
        "--batch-size", "--num-workers", "--pin-memory", "--drop-last", "--prefetch-factor", "--persistent-workers",
        "--in-order", "--multiprocessing-context",
    ],
    "Consumer": ["--step-time", "--step", "--amp", "--device"],
    "Measurement": ["--search", "--time-budget", "--precision", "--cache", "--seed"],
    "Limits": ["--host-memory", "--gpu-memory", "--max-batch-size", "--trial-timeout"],
    "Output": ["--output", "--export-csv", "--export-json", "--export-html", "--export-markdown", "--force"],
    "Session": [
        "--resume", "--dry-run", "--strict", "--config", "--no-config", "--quiet", "--verbose", "--no-progress",
        "--color",
    ],
}  # fmt: skip


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> Planned:
    """Take what would be swept instead of sweeping it."""
    seen: Planned = []

    def remember(plan: SweepPlan, **rest: Any) -> int:
        seen.append({"plan": plan, **rest})
        return 0

    monkeypatch.setattr(job, "sweep", remember)
    assert not any(empty_folder.iterdir())
    return seen


def plan_of(planned: Planned, *arguments: str) -> SweepPlan:
    assert main(["sweep", *arguments]) == 0
    plan = planned[-1]["plan"]
    assert isinstance(plan, SweepPlan)
    return plan


def test_without_options_the_plan_is_the_default(planned: Planned) -> None:
    """``loadtune sweep`` sweeps cifar10 with every default; the device is found by itself."""
    assert plan_of(planned) == SweepPlan(target="cifar10", consumer=Consumer(device="auto"))


def test_every_option_reaches_the_plan(planned: Planned) -> None:
    """Each option of the search space, the consumer, the measurement and the limits changes its field of the plan."""
    plan = plan_of(
        planned, "data.py:train", "--arg", "root=/data", "--arg", "split=a=b",
        "--batch-size", "16..64:x2", "--num-workers", "0,2", "--pin-memory", "on", "--drop-last", "off",
        "--prefetch-factor", "2,4", "--persistent-workers", "both", "--in-order", "off",
        "--multiprocessing-context", "fork,spawn", "--step-time", "20ms", "--device", "cuda:0", "--search", "grid",
        "--time-budget", "2m", "--precision", "5%", "--cache", "warm", "--seed", "7", "--host-memory", "8GiB",
        "--gpu-memory", "90%", "--max-batch-size", "128", "--trial-timeout", "10s",
    )  # fmt: skip
    assert plan.target == "data.py:train"
    assert plan.target_args == {"root": "/data", "split": "a=b"}
    assert plan.space == SearchSpace(
        batch_size=(16, 32, 64),
        num_workers=(0, 2),
        pin_memory=(True,),
        drop_last=(False,),
        prefetch_factor=(2, 4),
        persistent_workers=(False, True),
        in_order=(False,),
        multiprocessing_context=("fork", "spawn"),
    )
    assert plan.consumer == Consumer(step_seconds=0.02, device="cuda:0")
    assert plan.limits == Limits(host_memory=Size(bytes=8 * 2**30), gpu_memory=Size(share=0.9), max_batch_size=128)
    assert (plan.time_budget_seconds, plan.trial_timeout_seconds) == (120.0, 10.0)
    assert (plan.measurement.precision, plan.cache, plan.seed) == (0.05, "warm", 7)


def test_a_limit_of_memory_without_its_unit_is_refused() -> None:
    """No process lives in 5 bytes: who writes 5 has left out a unit."""
    with pytest.raises(UsageError, match=r"--host-memory of 5 B .* give a unit, as in 8GiB"):
        Limits(host_memory=Size(bytes=5))


def test_output_and_session_reach_the_job(planned: Planned) -> None:
    """Places, switches and the command itself are handed on as they were given."""
    arguments = ["sweep", "--output", "here", "--export-csv", "-", "--export-json=a.json", "--force", "--strict", "-v"]
    assert main([*arguments, "--no-progress", "--color", "never"]) == 0
    given = planned[-1]
    assert given["places"] == {"csv": "-", "json": "a.json", "html": None, "markdown": None}
    assert (given["output"].output, given["output"].force) == ("here", True)
    session = given["session"]
    assert (session.strict, session.verbosity, session.no_progress, session.color) == (True, 1, True, "never")
    assert given["command"] == ("loadtune", *arguments, "--no-progress", "--color", "never")


def test_help_has_the_designed_groups_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """The help page lists exactly the options that are built, under the headings of the design."""
    assert main(["sweep", "--help"]) == 0
    sections = re.split(r"\n\n(?=[A-Z][a-z ]+:\n)", capsys.readouterr().out)[1:]
    listed = {}
    for section in sections:
        title, _, body = section.partition(":\n")
        names = [re.search(r"--[a-z-]+", line) for line in body.splitlines() if line.startswith("  -")]
        listed[title] = [match[0] for match in names if match]
    assert listed.pop("Arguments") == ["--arg"]
    assert listed == DESIGNED


def test_a_file_gives_defaults(planned: Planned, empty_folder: Path) -> None:
    """[tool.loadtune] of the nearest pyproject.toml sets options: text, numbers, lists, switches and the target."""
    (empty_folder / "pyproject.toml").write_text(
        '[tool.loadtune]\ntarget = "data.py:train"\nbatch-size = [16, 32]\nnum_workers = 2\npin-memory = true\n'
        'drop-last = [true, false]\nstrict = true\ntime-budget = "30s"\narg = { root = "/data" }\n',
        encoding="utf-8",
    )
    inner = empty_folder / "deep" / "er"
    inner.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inner)
        plan = plan_of(planned)
    assert (plan.target, plan.target_args) == ("data.py:train", {"root": "/data"})
    assert plan.space == SearchSpace(batch_size=(16, 32), num_workers=(2,), pin_memory=(True,))
    assert plan.time_budget_seconds == 30.0
    assert planned[-1]["session"].strict is True


def test_a_named_file_gives_the_target_too(planned: Planned, empty_folder: Path) -> None:
    """``target`` of a file that ``--config`` names is taken, unless the command line names one; a near miss is told."""
    (empty_folder / "own.toml").write_text('[tool.loadtune]\ntarget = "data.py:train"\n', encoding="utf-8")
    assert plan_of(planned, "--config", "own.toml").target == "data.py:train"
    assert plan_of(planned, "images", "--config", "own.toml").target == "images"


def test_command_line_over_environment_over_file(
    planned: Planned, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer source wins, option by option."""
    settings = '[tool.loadtune]\nseed = 1\nprecision = "10%"\ntime-budget = "10s"\nstrict = true\n'
    (empty_folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    monkeypatch.setenv("LOADTUNE_SEED", "2")
    monkeypatch.setenv("LOADTUNE_PRECISION", "20%")
    monkeypatch.setenv("LOADTUNE_STRICT", "false")
    plan = plan_of(planned, "--seed", "3")
    assert (plan.seed, plan.measurement.precision, plan.time_budget_seconds) == (3, 0.2, 10.0)
    assert planned[-1]["session"].strict is False


def test_no_config_reads_no_file(planned: Planned, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--no-config``, also from the environment, leaves even a broken file alone."""
    (empty_folder / "pyproject.toml").write_text("not toml", encoding="utf-8")
    assert plan_of(planned, "--no-config").seed == 0
    monkeypatch.setenv("LOADTUNE_NO_CONFIG", "1")
    assert plan_of(planned).seed == 0


def test_the_command_line_names_or_forbids_the_file(
    planned: Planned, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--config`` wins over LOADTUNE_NO_CONFIG, and ``--no-config`` over LOADTUNE_CONFIG."""
    (empty_folder / "other.toml").write_text("[tool.loadtune]\nseed = 2\n", encoding="utf-8")
    monkeypatch.setenv("LOADTUNE_NO_CONFIG", "1")
    assert plan_of(planned, "--config", "other.toml").seed == 2
    monkeypatch.delenv("LOADTUNE_NO_CONFIG")
    monkeypatch.setenv("LOADTUNE_CONFIG", "other.toml")
    assert plan_of(planned, "--no-config").seed == 0


def test_a_named_file_replaces_the_nearest(planned: Planned, empty_folder: Path) -> None:
    """``--config FILE`` reads that file and not the nearest pyproject.toml."""
    (empty_folder / "pyproject.toml").write_text("[tool.loadtune]\nseed = 1\n", encoding="utf-8")
    (empty_folder / "other.toml").write_text("[tool.loadtune]\nseed = 2\n", encoding="utf-8")
    assert plan_of(planned, "--config", "other.toml").seed == 2


def test_a_project_without_a_table_changes_nothing(planned: Planned, empty_folder: Path) -> None:
    """A pyproject.toml of somebody else's is no configuration."""
    (empty_folder / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    assert plan_of(planned) == SweepPlan(target="cifar10", consumer=Consumer(device="auto"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.loadtune]\ntime-budge = 3\n", "'time-budge' in [tool.loadtune]"),
        ("[tool.loadtune]\ntime-budge = 3\n", "did you mean 'time-budget'?"),
        ("[tool.loadtune]\nconfig = 'x'\n", "'config' in [tool.loadtune]"),
        ("[tool.loadtune]\nseed = 1979-05-27\n", "'seed' in [tool.loadtune]"),
        ("[tool.loadtune]\nstrict = 'maybe'\n", "--strict"),
        ("[tool.loadtune]\nbatch-size = 0\n", "--batch-size 0"),
        ("[tool]\nloadtune = 3\n", "not a table"),
        ("tool = 3\n", "not a table"),
        ("seed =\n", "not TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    text: str, says: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown keys, wrong kinds and broken files exit with 2 and one sentence, and nothing is written."""
    file = empty_folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["sweep", "--config", str(file)]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert [entry.name for entry in empty_folder.iterdir()] == ["settings.toml"]


def test_a_wrong_variable_is_named(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A choice that comes from the environment is refused with the variable's name."""
    monkeypatch.setenv("LOADTUNE_CACHE", "hot")
    assert main(["sweep"]) == 2
    assert "LOADTUNE_CACHE" in capsys.readouterr().err
    assert not any(empty_folder.iterdir())


def test_an_unknown_variable_is_refused(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A LOADTUNE_ variable that is no option is refused with the nearest name, if any; an empty one is not."""
    monkeypatch.setenv("LOADTUNE_TIME_BUDGE", "")
    assert plan_of(planned).seed == 0
    monkeypatch.setenv("LOADTUNE_TIME_BUDGE", "30s")
    assert main(["sweep"]) == 2
    said = "'LOADTUNE_TIME_BUDGE' in the environment is no option; did you mean 'LOADTUNE_TIME_BUDGET'?"
    assert said in capsys.readouterr().err
    monkeypatch.delenv("LOADTUNE_TIME_BUDGE")
    monkeypatch.setenv("LOADTUNE_ZEBRA", "1")
    assert main(["sweep"]) == 2
    assert capsys.readouterr().err == "loadtune: 'LOADTUNE_ZEBRA' in the environment is no option\n"


def test_settings_are_a_sweeps_alone(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a variable nor a file that is meant for sweeps changes what another command does."""
    (empty_folder / "pyproject.toml").write_text("[tool.loadtune]\nunknown = 1\n", encoding="utf-8")
    monkeypatch.setenv("LOADTUNE_BATCH_SIZE", "3")
    figures = ["--samples", "10", "--batch-size", "5", "--seconds-per-sample", "1ms", "--bytes-per-sample", "8"]
    assert main(["model", *figures]) == 0
    assert "not N/B" not in capsys.readouterr().out


def test_a_variable_of_another_command_is_none_of_a_sweeps(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option of ``loadtune compare`` in the environment leaves a sweep as it is, a slip in its name does not."""
    monkeypatch.setenv("LOADTUNE_FAIL_ABOVE", "2%")
    assert plan_of(planned) == SweepPlan(target="cifar10", consumer=Consumer(device="auto"))
    monkeypatch.setenv("LOADTUNE_FAIL_ABOV", "2%")
    assert main(["sweep"]) == 2
    assert "'LOADTUNE_FAIL_ABOV' in the environment is no option" in capsys.readouterr().err


def test_a_variable_that_nothing_reads_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit of ``loadtune compare`` in the environment is no limit: refused, unless the command line gives it."""
    monkeypatch.setenv("LOADTUNE_FAIL_ABOVE", "2%")
    assert main(["compare", "base", "new"]) == 2
    said = "'LOADTUNE_FAIL_ABOVE' in the environment is not read, as only a sweep takes settings from there: "
    assert said + "give --fail-above on the command line" in capsys.readouterr().err
    assert main(["compare", "base", "new", "--fail-above", "5%"]) == 2
    assert "'base' is no run directory" in capsys.readouterr().err


def test_the_declaration_names_what_it_reads() -> None:
    """The help page of sweep says how to set options elsewhere and what the exit codes mean."""
    assert "[tool.loadtune]" in sweep.NOTES
    assert "LOADTUNE_" in sweep.NOTES
    assert "130 interrupted" in sweep.NOTES
