"""The command: bad input, exit codes, closed pipes, interrupts, and what each verb prints."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

import loadtune
from factories import make_result, with_trials
from loadtune.cli import app, batch_job, interrupts, job
from loadtune.cli.app import main
from loadtune.cli.consoles import console_for_people
from loadtune.cli.options import SessionOptions
from loadtune.cli.streams import TolerantStream
from loadtune.errors import OutputError
from loadtune.record.batch_size import StepProbe
from loadtune.record.batch_store import read_probes
from loadtune.record.results import Finding, RunResult
from loadtune.record.store import RunHeader, RunStore
from loadtune.show.summary import headline
from loadtune.show.terminal import PlainListener, RichListener

Printed = pytest.CaptureFixture[str]

BAD_INPUT = [
    (["swep"], "unknown command 'swep'; did you mean 'sweep'?"),
    (
        ["zebra"],
        (
            "unknown command 'zebra': it must be one of "
            "sweep, batch-size, model, show, report, suggest, compare, doctor, explain"
        ),
    ),
    (["--verson"], "unknown option '--verson'"),
    (["sweep", "--batchsize", "4"], "unknown option '--batchsize'; did you mean '--batch-size'?"),
    (["sweep", "-x"], "unknown option '-x'"),
    (["sweep", "--no-strict"], "unknown option '--no-strict'; did you mean '--strict'?"),
    (["sweep", "a", "b"], "'b' is one argument too many"),
    (["sweep", "--seed", "1", "--seed", "2"], "--seed is given twice"),
    (["sweep", "--batch-size"], "--batch-size needs a value"),
    (["sweep", "--batch-size", "0"], "--batch-size 0"),
    (["sweep", "--batch-size", "64..32"], "'64..32' runs backwards: write 32..64"),
    (["sweep", "--num-workers", "0..-2"], "'0..-2' runs backwards: it must go up, from 0 or more"),
    (["sweep", "--batch-size", "many"], "'many' is not a number or a range"),
    (["sweep", "--num-workers", "-1"], "--num-workers -1 is out of range"),
    (["sweep", "--num-workers", "-2..4"], "--num-workers -2 is out of range"),
    (["sweep", "--num-workers", "0", "--prefetch-factor", "2"], "--prefetch-factor needs workers"),
    (["sweep", "--num-workers", "0", "--persistent-workers", "on"], "--persistent-workers needs workers: "),
    (["sweep", "--num-workers", "0", "--in-order", "off"], "--in-order off needs workers: "),
    (["sweep", "--num-workers", "0", "--multiprocessing-context", "fork"], "--multiprocessing-context needs workers: "),
    (["sweep", "--batch-size", "16777217"], "--batch-size 16777217 is out of range: it must be at most 16,777,216"),
    (["sweep", "--batch-size", "9" * 5000], "is out of range"),
    (["sweep", "--batch-size", "32,,64"], "--batch-size '32,,64' has an empty item"),
    (["sweep", "--batch-size", "\u0663"], "is not a number or a range"),
    (["sweep", "--seed", "\u0663"], "is not a whole number"),
    (["sweep", "--batch-size", "a\nb\x1b[31mc"], "'a bc' is not a number or a range"),
    (["sweep", "--pin-memory", "yes"], "--pin-memory 'yes'"),
    (["sweep", "--multiprocessing-context", "forks"], "did you mean 'fork'?"),
    (["sweep", "--host-memory", "12XB"], "--host-memory: size '12XB' has an unknown unit 'XB'"),
    (["sweep", "--host-memory", "150%"], "--host-memory: size '150%'"),
    (["sweep", "--gpu-memory", "-1GiB"], "--gpu-memory: '-1GiB'"),
    (["batch-size", "cifar10", "--noise-scale", "-3"], "--noise-scale: '-3' is not a noise scale: write it like 500"),
    (["batch-size", "cifar10", "--global-batch", "0"], "--global-batch: '0' is not a whole number of 1 or"),
    (["batch-size", "cifar10", "--noise-scale", "0"], "'0' must be a number of samples above 0, or measure"),
    (["sweep", "--max-batch-size", "0"], "--max-batch-size: '0'"),
    (["sweep", "--step-time", "20"], "--step-time: '20' has no unit: write 20ms or 20s"),
    (["sweep", "--step-time", "20mss"], "--step-time: time '20mss'"),
    (["sweep", "--time-budget", "0"], "--time-budget: '0'"),
    (["sweep", "--time-budget", "-1s"], "--time-budget: '-1s' is no time: it must be above 0"),
    (["sweep", "--trial-timeout", "-1s"], "--trial-timeout: '-1s' is no time: it must be above 0"),
    (["sweep", "--step-time", "-1ms"], "--step-time: '-1ms' is no time: it must be above 0"),
    (["sweep", "--step-time", "--device"], "'--device' is not a time"),
    (["sweep", "--precision", "-2%"], "--precision: share '-2%' must be above 0%"),
    (["sweep", "--trial-timeout", "soon"], "--trial-timeout: 'soon'"),
    (["sweep", "--precision", "200%"], "--precision: share '200%'"),
    (["sweep", "--seed", "x"], "--seed: 'x'"),
    (["sweep", "--seed", "9" * 20], f"--seed: '{'9' * 20}' is out of range: it must have at most 18 digits"),
    (["sweep", "--max-batch-size", "9" * 5000], "is out of range: it must have at most 18 digits"),
    (["sweep", "--device", "gpu"], "--device 'gpu'"),
    (["sweep", "--search", "adaptiv"], "--search 'adaptiv' must be one of adaptive, grid, optuna:tpe"),
    (["sweep", "--cache", "hot"], "--cache 'hot' must be one of as-is, warm, cold"),
    (["sweep", "--color", "alway"], "did you mean 'always'?"),
    (["sweep", "--strict=perhaps"], "--strict is a switch"),
    (["sweep", "-q", "-v"], "--quiet and --verbose"),
    (["sweep", "--arg", "root"], "--arg 'root' is not key=value"),
    (["sweep", "--arg", "a=1", "--arg", "a=2"], "--arg 'a' is given twice"),
    (["sweep", "--export-csv", "--force"], "--export-csv needs a file name"),
    (["sweep", "--export-csv", ""], "--export-csv needs a file name"),
    (["sweep", "--export-csv", "-", "--export-json", "-"], "--export-csv and --export-json"),
    (["sweep", "--export-html", "missing/page.html"], "'missing/page.html'"),
    (["sweep", "--config", "nowhere.toml"], "nowhere.toml"),
    (["sweep", "--config", "nowhere.toml", "--no-config"], "--config and --no-config contradict each other"),
    (["sweep", "--output", "x" * 300], "cannot be written: File name too long"),
    (["sweep", "--output", "new/" + "x" * 300], "cannot be written: File name too long"),
    (["sweep", "--export-csv", "x" * 300], "cannot be written: File name too long"),
    (["sweep", "--output", "o", "--export-csv", "o"], "--export-csv 'o' is where the run directory 'o' will be: give"),
    (["sweep", "--output", "o/first", "--export-html", "./o"], "--export-html './o' is where the run directory"),
    (["sweep", "--export-json", "reports"], "--export-json 'reports' is where the run directory"),
    (["show"], "RUN is missing"),
    (["show", "nowhere"], "'nowhere'"),
    (["show", "."], "'.' holds no run"),
    (["report", "nowhere"], "'nowhere'"),
    (["explain", "zebra"], "'zebra' is no finding and no kind of failure: loadtune explain lists them"),
    (["explain", "LT099"], "'LT099' is no finding and no kind of failure: loadtune explain lists them"),
    (["explain", "LT999"], "'LT999' is no finding and no kind of failure: loadtune explain lists them"),
    (["doctor", "--foo"], "unknown option '--foo': loadtune doctor --help lists the options"),
    (["explain", "shm"], "did you mean 'shm_full'?"),
    (["explain", "HOSTOOM"], "did you mean 'host_oom'?"),
    (["explain", "../codes/LT001"], "is no finding and no kind of failure"),
    (["explain", ""], "'' is no finding"),
    (["explain", "LT001", "LT002"], "'LT002' is one argument too many"),
    (["doctor", "now"], "'now' is one argument too many"),
    (["doctor", "--json"], "unknown option '--json'"),
    (["model", "--samples", "3"], "--batch-size is missing"),
    (["model", "--samples", "0", "--batch-size", "4", "--seconds-per-sample", "1", "--bytes-per-sample", "1"], "'0'"),
    (["model", "--samples", "9", "--batch-size", "4", "--seconds-per-sample", "1", "--bytes-per-sample", "5%"], "'5%'"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_INPUT, ids=[" ".join(case[0])[:60] for case in BAD_INPUT])
def test_bad_input_is_one_sentence(arguments: list[str], says: str, empty_folder: Path, capsys: Printed) -> None:
    """Each wrong input exits with 2, says one sentence with the value on stderr, and writes nothing."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert printed.err.startswith("loadtune: ")
    assert not any(empty_folder.iterdir())


def test_an_existing_output_is_kept(empty_folder: Path, capsys: Printed) -> None:
    """Neither a file nor a folder that is there already is touched without --force."""
    (empty_folder / "table.csv").write_text("mine", encoding="utf-8")
    (empty_folder / "folder").mkdir()
    (empty_folder / "folder" / "mine.txt").write_text("mine", encoding="utf-8")
    assert main(["sweep", "--export-csv", "table.csv"]) == 2
    assert main(["sweep", "--output", "folder"]) == 2
    assert main(["sweep", "--output", "table.csv"]) == 2
    said = capsys.readouterr().err
    assert "'table.csv' exists already: use --force" in said
    assert "'folder' is there already" in said
    assert "'table.csv' is a file" in said
    assert (empty_folder / "table.csv").read_text(encoding="utf-8") == "mine"


def test_an_unwritable_output_is_refused(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """A folder without permission is found out before anything is measured."""

    def refuse(**_where: Any) -> None:
        raise PermissionError(13, "Permission denied")

    # Whoever runs the tests may be root, whom permissions do not stop: the question is answered by hand.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert main(["sweep", "--output", "runs/a"]) == 2
    assert main(["sweep", "--export-json", "a.json"]) == 2
    said = capsys.readouterr().err
    assert "'runs/a' cannot be written" in said
    assert "'a.json' cannot be written" in said
    assert not any(empty_folder.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "options", [["--output", "/proc/foo"], ["--export-csv", "/proc/x.csv"], ["--export-csv", "/dev/full"]]
)
def test_a_place_that_takes_nothing_is_refused(options: list[str], empty_folder: Path, capsys: Printed) -> None:
    """A place where even root can write nothing is found out before anything is measured."""
    assert main(["sweep", *options]) == 2
    printed = capsys.readouterr()
    assert f"'{options[1]}' cannot be written: " in printed.err
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert not any(empty_folder.iterdir())


def test_help_and_version(capsys: Printed) -> None:
    """Help names every verb and exits with 0, with and without being asked; the version is one line."""
    assert main(["--help"]) == main([]) == main(["-h"]) == 0
    page = capsys.readouterr().out
    assert all(f"\n  {verb} " in page for verb in app.VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{loadtune.__version__}\n"


@pytest.mark.parametrize("verb", app.VERBS)
def test_each_verb_has_its_page(verb: str, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb's help begins with its usage and fits the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: loadtune {verb}")
    assert max(map(len, page.splitlines()[1:])) <= 80


@pytest.mark.alone
@pytest.mark.parametrize(
    ("arguments", "most_seconds"),
    [(["--help"], 0.2), (["--version"], 0.2), (["sweep", "--help"], 0.5), (["sweep", "--batch-size", "0"], 0.5)],
)
def test_nothing_heavy_is_imported_for_a_page(arguments: list[str], most_seconds: float) -> None:
    """Help, version and a refusal load neither torch, pandas, numpy nor rich; CPU time is that of the best of five."""
    program = (
        "import sys; from loadtune.cli.app import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'numpy', 'scipy', 'altair', 'rich.console'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONDONT", "COV"))}
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert done.stderr.splitlines()[-1] == "[]"
    assert min(costs) <= most_seconds


def test_a_closed_pipe_is_no_traceback() -> None:
    """``loadtune sweep --help | true`` ends quietly."""
    command = [sys.executable, "-m", "loadtune.cli.app", "sweep", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")


VERBS_THAT_PRINT = [["--version"], ["explain", "LT003"], ["explain"], ["sweep", "--help"], ["completion", "bash"]]


def run_in_a_shell(arguments: list[str], redirection: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does that redirects its streams."""
    command = f"{shlex.join([sys.executable, '-m', 'loadtune', *arguments])} {redirection}"
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", VERBS_THAT_PRINT)
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_a_closed_stdout_is_quiet(arguments: list[str], closed: str) -> None:
    """To write nowhere is no fault: nothing is said, and the exit code is the command's."""
    done = run_in_a_shell(arguments, closed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_stdout_hides_no_error() -> None:
    """What the command refuses is said on stderr with its exit code, whether or not stdout is there."""
    done = run_in_a_shell(["explain", "LT999"], ">&-")
    assert done.returncode == 2
    assert "LT999" in done.stderr


@pytest.mark.parametrize("arguments", VERBS_THAT_PRINT)
def test_a_full_stdout_is_one_sentence(arguments: list[str]) -> None:
    """What cannot be written is the code of other outputs and a sentence that names the stream and the cause."""
    done = run_in_a_shell(arguments, ">/dev/full")
    said = "loadtune: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (OutputError.exit_code, said)


def test_a_stream_survives_its_reader() -> None:
    """What is written after the reader has gone is dropped, and writing goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8", buffering=1) as stream:
        tolerant = TolerantStream(stream)
        for _ in range(3):
            tolerant.write("a line\n")
            tolerant.flush()


@pytest.mark.parametrize(
    ("color", "no_color", "coloured"),
    [("always", "", True), ("always", "1", True), ("never", "", False), ("auto", "1", False), ("auto", "", False)],
)
def test_colour(color: Any, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:  # noqa: FBT001
    """NO_COLOR and --color never give plain text; --color always wins over both and over a pipe."""
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    console_for_people(color=color).print("[red]red[/]")
    assert ("\x1b[" in capsys.readouterr().out) is coloured


@pytest.mark.parametrize(("terminal", "live"), [(False, PlainListener), (True, RichListener)])
def test_only_a_real_terminal_is_drawn_on(terminal: bool, live: type, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """``--color always`` into a pipe gives plain lines; a terminal gets the live line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    with ExitStack() as stack:
        session = SessionOptions(color="always")
        assert type(job._listener(console_for_people(color="always"), session, stack)) is live


def test_a_terminal_that_is_gone_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO of a terminal is its end, and dropped; EIO of a file is a broken disk, and said."""
    with tempfile.TemporaryFile("w") as stream:
        broken = Gone(stream)
        with pytest.raises(OutputError, match="standard output cannot be written: Input/output error"):
            TolerantStream(broken).write("text")  # type: ignore[arg-type]
        monkeypatch.setattr(broken, "terminal", True)
        assert TolerantStream(broken).write("text") == 4  # type: ignore[arg-type]


class Gone:
    """A stream whose other end has hung up."""

    def __init__(self, stream: IO[str]) -> None:
        self.terminal = False
        self.fileno = stream.fileno

    def isatty(self) -> bool:
        """Say what it was."""
        return self.terminal

    def write(self, _text: str) -> int:
        """Fail as the system does."""
        raise OSError(errno.EIO, "Input/output error")


def test_model_prints_the_articles_case(capsys: Printed) -> None:
    """The article's figures give its models, and the K that is not N/B is named."""
    arguments = ["--samples", "60000", "--batch-size", "64", "--seconds-per-sample", "1ms"]
    assert main(["model", *arguments, "--bytes-per-sample", "3072", "--batches", "500"]) == 0
    printed = capsys.readouterr().out
    for figure in ("937.5", "938 batches", "196,608 B", "98,304,000 B", "32.0 s", "K = 500 is not N/B"):
        assert figure in printed


def test_model_without_a_slip_complains_of_nothing(capsys: Printed) -> None:
    """Figures that agree give the three models and no complaint; sizes may have units."""
    arguments = ["--samples", "50000", "--batch-size", "50", "--seconds-per-sample", "0.001"]
    assert main(["model", *arguments, "--bytes-per-sample", "12KiB", "--drop-last"]) == 0
    printed = capsys.readouterr().out
    assert "1,000 batches" in printed
    assert "not N/B" not in printed


class ScriptedSweep:
    """Stands in for the sweep: keeps what it was asked, then gives ``outcome`` or raises it."""

    def __init__(self, outcome: RunResult | BaseException | int) -> None:
        self.outcome = outcome
        self.asked: dict[str, Any] = {}

    def __call__(self, plan: Any, *, store: RunStore, **rest: Any) -> RunResult:
        """Give or raise the outcome; a number is the signal that interrupts."""
        self.asked = {"plan": plan, **rest}
        if isinstance(self.outcome, int):
            os.kill(os.getpid(), self.outcome)
            signal.pause()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        assert isinstance(self.outcome, RunResult)
        fields = msgspec.structs.fields(RunHeader)
        store.open(RunHeader(**{field.name: getattr(self.outcome, field.name) for field in fields}))
        store.finish(self.outcome)
        return self.outcome


class SignalledSweep(ScriptedSweep):
    """A sweep during which the terminal hangs up."""

    def __call__(self, plan: Any, *, store: RunStore, **rest: Any) -> RunResult:
        """Be signalled, then give the outcome."""
        os.kill(os.getpid(), signal.SIGHUP)
        return super().__call__(plan, store=store, **rest)


def scripted(patch: pytest.MonkeyPatch, outcome: RunResult | BaseException | int) -> ScriptedSweep:
    sweep = ScriptedSweep(outcome)
    patch.setattr(job, "run_sweep", sweep)
    return sweep


def test_a_sweep_leaves_its_run(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """A sweep exits with 0, prints the pick, and leaves the four files in the directory that it names."""
    sweep = scripted(monkeypatch, make_result())
    assert main(["sweep", "--output", "runs/first", "--export-markdown", "table.md"]) == 0
    printed = capsys.readouterr()
    assert f"Best guess: {headline(make_result())}" in " ".join(printed.out.split())
    assert "Wrote runs/first/\nWrote table.md\n" in printed.out
    assert printed.err == ""
    files = {path.name for path in (empty_folder / "runs" / "first").iterdir()}
    assert files == {"run.json", "trials.jsonl", "trials.csv", "report.html"}
    assert sweep.asked["command"][:2] == ("loadtune", "sweep")
    assert sweep.asked["environ"] is os.environ
    assert sweep.asked["interrupted"] is interrupts.came


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("cifar10", "cifar10-20260102-030405"),
        ("path/to/my data.py:train", "my-data-train-20260102-030405"),
        ("package.module:Class", "package-Class-20260102-030405"),
        ("../..:x", "x-20260102-030405"),
        ("/", "run-20260102-030405"),
    ],
)
def test_the_default_directory_is_named_after_target_and_time(target: str, name: str) -> None:
    """The directory lies under reports/, whatever the target is called."""
    folder = job.default_directory(target, datetime(2026, 1, 2, 3, 4, 5))  # noqa: DTZ001 - local, as it is used
    assert folder == Path("reports") / name


def test_an_export_to_stdout_stands_alone(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """With ``--export-json -`` stdout is that JSON and everything for people is on stderr."""
    scripted(monkeypatch, make_result())
    assert main(["sweep", "--export-json", "-"]) == 0
    printed = capsys.readouterr()
    assert msgspec.json.decode(printed.out)["schema"] == "loadtune.run/1"
    assert f"Best guess: {headline(make_result())}" in " ".join(printed.err.split())
    assert len(list((empty_folder / "reports").iterdir())) == 1


def test_quiet_prints_the_pick_alone(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """``-q`` prints one line, the pick with its rate."""
    scripted(monkeypatch, make_result())
    assert main(["sweep", "-q", "--output", str(empty_folder / "run")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_nothing_fits_is_exit_3(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """When nothing meets the limits, the files are written and stderr says what would fit."""
    scripted(monkeypatch, make_result(best=None, gain=None, tied=()))
    assert main(["sweep", "--output", "run"]) == 3
    said = capsys.readouterr().err
    assert "no configuration that was measured meets the limits" in said
    assert "The least host memory needed was" in said
    assert (empty_folder / "run" / "report.html").is_file()


def test_all_failed_is_the_targets_fault(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """When every trial failed by the data set's own error, the exit is 2 and the first reason is said."""
    example = make_result(best=None, fastest=None, baseline=None, gain=None, tied=())
    failed = tuple(trial for trial in example.trials if trial.status == "failed")
    scripted(monkeypatch, with_trials(example, failed))
    assert main(["sweep", "--output", str(empty_folder / "run")]) == 2
    assert "worker 1 raised ValueError" in capsys.readouterr().err


def test_no_time_is_said(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """When the time was over before the first number, the exit is 2 and names --time-budget."""
    scripted(monkeypatch, with_trials(make_result(best=None, fastest=None, baseline=None, gain=None, tied=()), ()))
    assert main(["sweep", "--output", str(empty_folder / "run")]) == 2
    assert "--time-budget" in capsys.readouterr().err


def noisy(share: float) -> RunResult:
    example = make_result()
    assert example.best is not None
    rate = example.best.samples_per_second
    wide = dataclasses.replace(rate, low=rate.estimate * (1 - share), high=rate.estimate * (1 + share))
    best = dataclasses.replace(example.best, samples_per_second=wide)
    return dataclasses.replace(example, best=best, findings=())


@pytest.mark.parametrize(
    ("share", "options", "code"),
    [(0.03, ["--strict"], 4), (0.03, [], 0), (0.019, ["--strict"], 0), (float("nan"), ["--strict"], 4)],
)
def test_strict_asks_for_the_precision(
    share: float, options: list[str], code: int, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --strict a choice known less precisely than asked for exits with 4, its files written."""
    scripted(monkeypatch, noisy(share))
    assert main(["sweep", "--output", "run", *options]) == code
    assert (empty_folder / "run" / "trials.csv").is_file()


def test_strict_asks_for_a_steady_state(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """With --strict a choice that never became steady exits with 4, however narrow its interval."""
    finding = Finding(code="LT003", severity="warning", message="no steady state: b64", advice="give more time")
    scripted(monkeypatch, dataclasses.replace(noisy(0.001), findings=(finding,)))
    assert main(["sweep", "--output", str(empty_folder / "run"), "--strict"]) == 4
    assert "loadtune: no steady state: b64, and --strict asks for one" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_says_what_is_kept(
    number: int, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP exit with 130 and one sentence, and the handler is as before afterwards."""
    before = signal.getsignal(number)
    scripted(monkeypatch, number)
    assert main(["sweep", "--output", str(empty_folder / "run")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "loadtune: interrupted; nothing was measured yet"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_whose_exception_is_dropped_is_remembered(number: int) -> None:
    """What is being imported may drop the exception of a signal; that one came is known until the next command."""
    with interrupts.heard():
        assert not interrupts.came()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupts.came()
    with interrupts.heard():
        assert not interrupts.came()


def test_a_search_whose_interrupt_was_lost_ends_after_its_probe(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """A signal whose exception is dropped during a probe ends the search with 130; the probe is kept."""

    def search(*_: Any, tell: Callable[[StepProbe], None], **__: Any) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        tell(StepProbe(order=0, batch_size=8, purpose="start", why="the first", fit="fits"))
        raise AssertionError("it went on")

    monkeypatch.setattr(batch_job, "HostStepper", lambda _: nullcontext())
    monkeypatch.setattr(batch_job, "find_batch_size", search)
    assert main(["batch-size", "cifar10", "--output", "run"]) == 130
    assert "1 probe is kept in 'run'" in capsys.readouterr().err
    assert len(read_probes(empty_folder / "run")) == 1


def test_nohup_is_respected(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    """A command that was started to outlive its terminal does not end with it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(job, "run_sweep", SignalledSweep(make_result()))
        assert main(["sweep", "--output", str(empty_folder / "run")]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupted_sweep_that_was_concluded_leaves_every_file(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """What an interrupted sweep could still conclude has its rows and its page too."""
    concluded = scripted(monkeypatch, make_result())

    def interrupted(plan: Any, **rest: Any) -> None:
        concluded(plan, **rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "run_sweep", interrupted)
    assert main(["sweep", "--output", "run"]) == 130
    files = {path.name for path in (empty_folder / "run").iterdir()}
    assert files == {"run.json", "trials.jsonl", "trials.csv", "report.html"}
    assert capsys.readouterr().err.startswith("loadtune: interrupted; ")


def test_a_broken_pipe_inside_a_sweep_is_a_fault(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """A pipe that breaks while measuring is not the reader of stdout: it is said, with exit 1."""
    scripted(monkeypatch, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert main(["sweep", "--output", str(empty_folder / "run")]) == 1
    assert "a fault of loadtune itself: BrokenPipeError" in capsys.readouterr().err


def test_what_is_kept_is_counted() -> None:
    """The sentence counts the trials and says how to see them, as a shell takes it."""
    assert job.kept(Path("a run"), 2) == "2 trials are kept: loadtune show 'a run' prints them"
    assert job.kept(Path("run"), 1) == "1 trial is kept: loadtune show run prints it"


@pytest.mark.parametrize(("options", "traceback_shown"), [([], False), (["-v"], True)])
def test_a_fault_of_loadtune_is_exit_1(
    options: list[str],
    traceback_shown: bool,  # noqa: FBT001
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Printed,
) -> None:
    """An error that nobody foresaw is one short message, with its traceback only with -v."""
    scripted(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["sweep", "--output", str(empty_folder / "run"), *options]) == 1
    said = capsys.readouterr().err
    assert "a fault of loadtune itself: ZeroDivisionError: division by zero" in said
    assert ("Traceback" in said) is traceback_shown


def test_show_and_report_read_a_run(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """A run that a sweep has left is printed again, and its page written again, elsewhere only where nothing is."""
    scripted(monkeypatch, make_result())
    assert main(["sweep", "--output", "run"]) == 0
    printed = capsys.readouterr().out
    assert main(["show", "run"]) == 0
    assert printed.startswith(capsys.readouterr().out)
    (empty_folder / "run" / "report.html").unlink()
    assert main(["report", "run"]) == main(["report", "run"]) == 0
    assert capsys.readouterr().out == "Wrote run/report.html\n" * 2
    assert main(["report", "run", "-o", "page.html"]) == 0
    assert main(["report", "run", "-o", "page.html"]) == 2
    assert main(["report", "run", "-o", "page.html", "--force"]) == 0
    page = (empty_folder / "page.html").read_text(encoding="utf-8")
    assert page == (empty_folder / "run" / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["report", "run", "-o", "-"]) == 0
    assert capsys.readouterr().out == page
