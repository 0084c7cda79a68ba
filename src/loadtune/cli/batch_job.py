"""What ``loadtune batch-size`` does: probe, say, write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from rich.console import Console

from loadtune.cli import interrupts
from loadtune.cli.consoles import console_for_people
from loadtune.cli.job import default_directory
from loadtune.cli.streams import stdout
from loadtune.cli.surroundings import environment
from loadtune.describe.plan import Limits
from loadtune.errors import NothingFitsError
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, StepProbe
from loadtune.record.batch_store import BatchStore, to_json
from loadtune.run.batch_size import HostStepper, find_batch_size, setup_of
from loadtune.show.batch_size import print_batch_size, print_probe
from loadtune.show.outputs import check_file, write_file
from loadtune.show.words import plain


def find(
    plan: BatchSizePlan,
    limits: Limits,
    arguments: Mapping[str, str],
    *,
    output: str | None,
    export: str | None,
    force: bool,
    quiet: bool,
    color: Literal["auto", "always", "never"],
) -> int:
    """Search, print what was found, leave the run directory, and return 0.

    Raises:
        LoadtuneError: Something given cannot be used, or the step fails.
        NothingFitsError: No batch fits the limits; the probes are written.
        KeyboardInterrupt: Interrupted; its argument says what is kept.
    """
    if export is not None and export != "-":
        check_file(export, force=force)
    now = datetime.now(timezone.utc).astimezone()  # the user's clock names the user's folder
    store = BatchStore(Path(output) if output is not None else _default(plan.target, now), force=force)
    console = console_for_people(color=color, to_stderr=export == "-")
    result = _search(plan, limits, arguments, store, console if not quiet else None)
    store.finish(result)
    print_batch_size(result, console)
    if export is not None:
        _export(export, result)
    if not quiet:
        console.print(f"Wrote {plain(str(store.path))}/", markup=False, soft_wrap=True)
    if result.largest is None:
        raise NothingFitsError(f"no batch fits: {result.because}", hint="raise the limit, or make the model smaller")
    return 0


def _search(
    plan: BatchSizePlan, limits: Limits, arguments: Mapping[str, str], store: BatchStore, console: Console | None
) -> BatchSizeResult:
    kept = 0

    def tell(probe: StepProbe) -> None:
        nonlocal kept
        store.keep(probe)
        kept += 1
        if console is not None:
            print_probe(probe, console)
        _stop_if_interrupted()

    try:
        with HostStepper(setup_of(plan, arguments=arguments, pickle_path=None)) as stepper:
            _stop_if_interrupted()
            return find_batch_size(plan, limits, stepper, environ=environment(), tell=tell)
    except KeyboardInterrupt:
        count = "1 probe is" if kept == 1 else f"{kept} probes are"
        words = f"{count} kept in '{store.path}'" if kept else "nothing was measured yet"
        raise KeyboardInterrupt(words) from None


def _stop_if_interrupted() -> None:
    """Raise the exception of an interrupt anew, should it have been lost on its way.

    Raises:
        KeyboardInterrupt: One came.
    """
    if interrupts.came():
        raise KeyboardInterrupt


def _default(target: str, now: datetime) -> Path:
    folder = default_directory(target, now)
    return folder.with_name(folder.name.replace(f"{now:%Y%m%d}", f"batch-{now:%Y%m%d}"))


def _export(place: str, result: BatchSizeResult) -> None:
    text = to_json(result).decode()
    if place != "-":
        write_file(Path(place), text)
        return
    stdout().write(text)
    stdout().flush()
