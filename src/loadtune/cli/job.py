"""What ``loadtune sweep`` does: check, measure, say, write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from loadtune.cli.consoles import console_for_people, stdout
from loadtune.cli.options import OutputOptions, SessionOptions
from loadtune.cli.surroundings import environment
from loadtune.cli.verdict import complain
from loadtune.describe.plan import SweepPlan
from loadtune.errors import LoadtuneError
from loadtune.record.results import RunResult
from loadtune.record.store import TRIALS_FILE, RunStore, load_run
from loadtune.run.events import Listener, SilentListener
from loadtune.run.sweep import run_sweep
from loadtune.show.outputs import Exports
from loadtune.show.terminal import PlainListener, RichListener, print_result
from loadtune.show.words import plain

REPORTS = "reports"


def sweep(
    plan: SweepPlan,
    *,
    places: Mapping[str, str | None],
    output: OutputOptions,
    session: SessionOptions,
    command: tuple[str, ...],
) -> int:
    """Run a sweep, print what it found, leave its files, and return 0.

    Raises:
        UsageError: A target, limit or place that cannot be used; nothing was measured.
        NothingFitsError: No configuration meets the limits; the files are written.
        TooNoisyError: ``strict``, and the choice is not as precise as asked for; the files are written.
        KeyboardInterrupt: Interrupted; its argument says what is kept.
    """
    exports = Exports(**places, force=output.force)
    exports.check()
    console = console_for_people(color=session.color, to_stderr=exports.to_stdout)
    now = datetime.now(timezone.utc).astimezone()  # the user's clock names the user's folder
    folder = Path(output.output) if output.output is not None else default_directory(plan.target, now)
    store = RunStore.create(folder, force=output.force)
    try:
        result = _measure(plan, store, console, session, command)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_keep(store)) from None
    print_result(result, console, session.verbosity)
    _write(result, folder, exports, console if session.verbosity >= 0 else None)
    complain(result, strict=session.strict)
    return 0


def default_directory(target: str, now: datetime) -> Path:
    """Return ``reports/<target>-<time>``, the target's name reduced to what any file system takes."""
    place, colon, name = target.rpartition(":")
    words = f"{Path(place).stem}-{name}" if colon else target
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", words).strip("-.")[:60] or "run"
    return Path(REPORTS) / f"{slug}-{now:%Y%m%d-%H%M%S}"


def kept(folder: Path | None) -> str:
    """Return a sentence on what an interrupted sweep leaves in ``folder``, or nowhere as yet."""
    trials = None if folder is None else folder / TRIALS_FILE
    count = len(trials.read_bytes().splitlines()) if trials is not None and trials.is_file() else 0
    if count == 0:
        return "nothing was measured yet"
    return f"{count} trial{'s are' if count > 1 else ' is'} kept: loadtune show {folder} prints what they say"


def _keep(store: RunStore) -> str:
    if not store.opened:
        return kept(None)
    # A run that could not be concluded has its trials alone, and a second interrupt is not made to wait.
    with suppress(LoadtuneError, KeyboardInterrupt):
        _write_own(load_run(store.path), store.path)
    return kept(store.path)


def _measure(
    plan: SweepPlan, store: RunStore, console: Console, session: SessionOptions, command: tuple[str, ...]
) -> RunResult:
    with ExitStack() as stack:
        listener = _listener(console, session, stack)
        return run_sweep(plan, listener=listener, store=store, command=command, environ=environment())


def _listener(console: Console, session: SessionOptions, stack: ExitStack) -> Listener:
    if session.quiet:
        return SilentListener()
    # Not `is_terminal`: with --color always that is so for a pipe too, and a live line would fill it with escapes.
    if console.file.isatty() and not session.no_progress:
        return stack.enter_context(RichListener(console, every_trial=session.verbose))
    return PlainListener(console.file)  # type: ignore[arg-type]  # rich types its file as IO[str]


def _write(result: RunResult, folder: Path, exports: Exports, console: Console | None) -> None:
    _write_own(result, folder)
    written = exports.write(result, stdout())
    if console is not None:
        for place in (f"{folder}/", *written):
            console.print(f"Wrote {plain(str(place))}", markup=False, soft_wrap=True)


def _write_own(result: RunResult, folder: Path) -> None:
    # The run's own files, in a directory that this run has made.
    own = Exports(csv=str(folder / "trials.csv"), html=str(folder / "report.html"), force=True)
    own.write(result, stdout())
