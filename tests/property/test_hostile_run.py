"""A run directory from elsewhere: its strings are shown and never obeyed, and nothing that lies in it is run."""

from __future__ import annotations

import csv
import io
import json
import pickle
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cloudpickle
import pytest
from hypothesis import HealthCheck, given, settings
from rich.console import Console

from factories import HOSTILE, make_environment, make_record, make_result
from hostile import hostile_text, is_harmless_on_a_terminal
from loadtune.cli.app import main
from loadtune.describe.config import LoaderConfig
from loadtune.judge.checkup.check import Candidate, Check
from loadtune.record.results import CSV_COLUMNS
from loadtune.record.store import RunHeader, RunStore
from loadtune.show import page
from loadtune.show.doctor import print_checkup

CONFIGS = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in (0, 1, 2))


def a_run(place: Path, text: str, *, target: str = "cifar10") -> Path:
    """Write a run that was not finished, so that all that is shown is made up from its trials; with strings in them."""
    made = make_result(hostile=text)
    plan = replace(made.plan, target=target, space=replace(made.plan.space, batch_size=(64,), num_workers=(0, 1, 2)))
    header = RunHeader(
        target=target,
        command=("loadtune", "sweep", text),
        started_at=made.started_at,
        environment=made.environment,
        plan=plan,
        limits=made.limits,
        probe=replace(made.probe, name=text or "cifar10", kept_arguments=(text,)),
    )
    with RunStore.create(place) as store:
        store.open(header)
        store.append(make_record(CONFIGS[0], 100.0, order=0))
        for order, status in ((1, "failed"), (2, "hung")):
            broken = make_record(
                CONFIGS[order], None, order=order, status=status, failure_kind="worker_error", failure_reason=text,
                stderr_tail=text,
            )  # fmt: skip
            store.append(broken)
    return place


def said_by(*words: str) -> tuple[int, str, str]:
    """Return the exit code of a command, and what it says to programs and to people."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


@given(hostile_text())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reasons_and_last_words_go_through_every_exporter_as_text(text: str) -> None:
    """What a data set raised or wrote is text in terminal, page, CSV, JSON and Markdown of a run that was loaded."""
    import loadtune  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(page, "figures", return_value=()):
        run = a_run(Path(folder) / "run", text.encode(errors="replace").decode())
        code, out, err = said_by("show", str(run), "--verbose")
        assert code == 0, err
        assert is_harmless_on_a_terminal(out + err)
        loaded = loadtune.load(run)
        for name in ("csv", "json", "html", "markdown"):
            getattr(loaded, f"to_{name}")(Path(folder) / name)
        rows = list(csv.DictReader(io.StringIO((Path(folder) / "csv").read_text(encoding="utf-8"), newline="")))
        assert [tuple(row) for row in rows] == [CSV_COLUMNS] * len(rows)
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for row in rows for cell in row.values())
        json.loads((Path(folder) / "json").read_text(encoding="utf-8"))
        shown = (Path(folder) / "html").read_text(encoding="utf-8")
        assert "<script>alert" not in shown
        assert "<img" not in shown
        assert "\x1b" not in shown + (Path(folder) / "markdown").read_text(encoding="utf-8")
        assert "<script" not in (Path(folder) / "markdown").read_text(encoding="utf-8")


@given(hostile_text())
@settings(max_examples=25, deadline=None)
def test_words_on_the_command_line_are_repeated_as_text(text: str) -> None:
    """A run, a finding or a file of a hostile name is refused in words that no terminal obeys."""
    for words in (("show",), ("report",), ("explain",), ("sweep", "--resume")):
        code, out, err = said_by(*words, f"x{text}".replace("\x00", "").replace("\udcff", ""))
        assert code == 2, (words, out, err)
        assert is_harmless_on_a_terminal(out + err), (words, err)


@given(hostile_text())
@settings(max_examples=25, deadline=None)
def test_the_machine_is_shown_as_text(text: str) -> None:
    """Names of hosts, processors, groups and folders in ``loadtune doctor`` are text."""
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    candidates = tuple(Candidate(amount="1", source=text, binds=binds) for binds in (True, False))
    found = (
        Check(topic="memory", verdict="look", value=text, candidates=candidates, advice=text),
        Check(topic="cache", verdict="bad", value=text, candidates=candidates[:1]),
    )
    print_checkup(make_environment(hostname=text, cpu_model=text, platform=text), found, console)
    assert is_harmless_on_a_terminal(console.file.getvalue())  # type: ignore[attr-defined]


class Trap:
    """Whoever unpickles it runs what it says."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


def test_nothing_in_a_run_directory_is_unpickled_or_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles in a run stay shut and its target is never imported, by load, show, report and all exports."""
    import loadtune  # noqa: PLC0415

    sprung = tmp_path / "sprung"
    target = tmp_path / "evil_target.py"
    target.write_text(f"from pathlib import Path\nPath({str(sprung)!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("evil_target:make", f"{target}:make"):
        run = a_run(tmp_path / f"run{len(name)}", HOSTILE, target=name)
        for place in ("workload.pickle", "run.pkl", "trials.pkl", "sitecustomize.py", "conftest.py", "evil_target.py"):
            trap = pickle.dumps(Trap(sprung)) if place.endswith(("pickle", "pkl")) else target.read_bytes()
            (run / place).write_bytes(trap)
        with (
            mock.patch.object(pickle, "loads", side_effect=AssertionError("unpickled")),
            mock.patch.object(pickle, "load", side_effect=AssertionError("unpickled")),
            mock.patch.object(pickle, "Unpickler", side_effect=AssertionError("unpickled")),
            mock.patch.object(cloudpickle, "loads", side_effect=AssertionError("unpickled")),
        ):
            loaded = loadtune.load(run)
            loaded.to_json(tmp_path / "out.json")
            loaded.to_markdown(tmp_path / "out.md")
            loaded.to_frame()
            for words in (("show", str(run)), ("report", str(run), "-o", str(tmp_path / "out.html"), "--force")):
                code, _, err = said_by(*words)
                assert code == 0, err
    assert not sprung.exists()
    assert "evil_target" not in sys.modules


def test_the_trap_would_have_been_sprung(tmp_path: Path) -> None:
    """The pickles that lie in those runs do what they say when they are opened."""
    sprung = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(sprung)))  # noqa: S301 - our own
    assert sprung.exists()
