"""What ``loadtune sweep`` does: check, measure, say, write."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from loadtune.cli import interrupts
from loadtune.cli.consoles import console_for_people
from loadtune.cli.options import OutputOptions, SessionOptions
from loadtune.cli.streams import stdout
from loadtune.cli.surroundings import environment
from loadtune.cli.verdict import complain
from loadtune.describe.plan import SweepPlan
from loadtune.errors import LoadtuneError, OutputError
from loadtune.record.results import RunResult
from loadtune.record.store import RunStore, load_run
from loadtune.run.events import Listener, SilentListener
from loadtune.run.resume import resume_command
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
    exports = Exports(**places, interactive=False, force=output.force)
    exports.check()
    now = datetime.now(timezone.utc).astimezone()  # the user's clock names the user's folder
    folder = Path(output.output) if output.output is not None else default_directory(plan.target, now)
    with RunStore.create(folder, force=output.force) as store:
        exports.require_apart(store.path)
        return measure(plan, store, exports=exports, session=session, command=command)


def measure(
    plan: SweepPlan, store: RunStore, *, exports: Exports, session: SessionOptions, command: tuple[str, ...]
) -> int:
    """Run a sweep into ``store``, new or taken up again; print what it found, leave its files, and return 0.

    Raises:
        LoadtuneError: As ``sweep`` says.
        KeyboardInterrupt: Interrupted; its arguments say what is kept, and how to go on.
    """
    console = console_for_people(color=session.color, to_stderr=exports.to_stdout)
    try:
        result = _measure(plan, store, console, session, command)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*_keep(store)) from None
    except LoadtuneError as error:
        if store.opened:
            error.hint = "\n  ".join(filter(None, (error.hint, _how_to_go_on(store))))
        raise
    tell(result, store.path, exports, console, session)
    return 0


def tell(result: RunResult, folder: Path, exports: Exports, console: Console, session: SessionOptions) -> None:
    """Print the result of a run, write its files and exports, and raise where it is no success.

    Raises:
        LoadtuneError: As ``sweep`` says.
    """
    print_result(result, console, session.verbosity)
    _write(result, folder, exports, console if session.verbosity >= 0 else None)
    complain(result, strict=session.strict)


def default_directory(target: str, now: datetime) -> Path:
    """Return ``reports/<target>-<time>``, the target's name reduced to what any file system takes."""
    place, colon, name = target.rpartition(":")
    words = f"{Path(place).stem}-{name}" if colon else target
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", words).strip("-.")[:60] or "run"
    return Path(REPORTS) / f"{slug}-{now:%Y%m%d-%H%M%S}"


def kept(folder: Path, count: int) -> str:
    """Return a sentence on what a sweep that was ended leaves in ``folder``."""
    if count == 0:
        return "nothing was measured yet"
    words = ("1 trial is", "it") if count == 1 else (f"{count} trials are", "them")
    return f"{words[0]} kept: loadtune show {shlex.quote(str(folder))} prints {words[1]}"


def _keep(store: RunStore) -> tuple[str, ...]:
    """Write what can be concluded; return what is kept, and how to go on."""
    if not store.opened:
        return (kept(store.path, len(store.kept.journal.records) if store.kept else 0),)
    # A second interrupt is not made to wait for pages: `loadtune report` makes them.
    with suppress(LoadtuneError, KeyboardInterrupt):
        _write_own(load_run(store.path), store.path)
    return kept(store.path, store.count), f"go on with: {resume_command(store.path)}"


def _how_to_go_on(store: RunStore) -> str:
    return f"{kept(store.path, store.count)}; when that is put right, go on with: {resume_command(store.path)}"


def _measure(
    plan: SweepPlan, store: RunStore, console: Console, session: SessionOptions, command: tuple[str, ...]
) -> RunResult:
    with ExitStack() as stack:
        listener = _listener(console, session, stack)
        return run_sweep(
            plan,
            listener=listener,
            store=store,
            command=command,
            environ=environment(),
            kept=store.kept,
            interrupted=interrupts.came,
        )


def _listener(console: Console, session: SessionOptions, stack: ExitStack) -> Listener:
    if session.quiet:
        return SilentListener()
    # Not `is_terminal`: with --color always that is so for a pipe too, and a live line would fill it with escapes.
    if console.file.isatty() and not session.no_progress:
        return stack.enter_context(RichListener(console, every_trial=session.verbose))
    return PlainListener(console.file)  # type: ignore[arg-type]  # rich types its file as IO[str]


def _write(result: RunResult, folder: Path, exports: Exports, console: Console | None) -> None:
    """Write the run's own files and the exports, which may lie elsewhere: these also where there is no room for those.

    Raises:
        OutputError: A file that cannot be written; of the run's own, the hint says what is there all the same.
    """
    failed: OutputError | None = None
    try:
        _write_own(result, folder)
    except OutputError as error:
        name = shlex.quote(str(folder))
        error.hint = f"the run is whole in {name}: `loadtune report {name} -o FILE` makes its page elsewhere"
        failed = error
    written = exports.write(result, stdout())
    if console is not None:
        for place in (f"{folder}/", *written):
            console.print(f"Wrote {plain(str(place))}", markup=False, soft_wrap=True)
    if failed is not None:
        raise failed


def _write_own(result: RunResult, folder: Path) -> None:
    # The run's own files, in a directory that this run has made.
    own = Exports(csv=str(folder / "trials.csv"), html=str(folder / "report.html"), force=True)
    own.write(result, stdout())
