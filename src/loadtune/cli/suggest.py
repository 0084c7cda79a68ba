"""``loadtune suggest``: the choice of a run as code, under its own limits of memory or others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from loadtune.cli.options import maybe, option, positive
from loadtune.cli.streams import stdout
from loadtune.units import parse_size

USAGE = "suggest RUN [OPTIONS]"
HELP = (
    "Prints the choice of a run as code to paste. With other limits it chooses anew among what was measured, and "
    "measures nothing: a training process that has less memory to spare, or a batch that may be no larger."
)
NOTES = (
    "Exit codes: 0 done, 2 something given cannot be used, 3 nothing that was measured meets the limits. "
    "What the run measured and held to be over its limits can be chosen under wider ones; what it never measured, "
    "since it was refused or not tried, cannot: a sweep measures it. A choice not measured again is called that."
)
READS_SETTINGS = False


def run(
    directory: Annotated[str, option("", "A run directory, such as reports/cifar10-20260102-120000.", "RUN")],
    /,
    *,
    format_: Annotated[
        Literal["python", "json", "lightning", "transformers"],
        option("python|json|lightning|transformers", "What it is written as.  [default: python]", "--format"),
    ] = "python",
    host_memory: Annotated[
        str | None, option("8GiB|50%", "Most host memory; a share is of the limit in force in the run.", hyphen=True)
    ] = None,
    gpu_memory: Annotated[
        str | None, option("20GiB|90%", "Most device memory; a share is of the whole device.", hyphen=True)
    ] = None,
    max_batch_size: Annotated[str | None, option("N", "Batch sizes above this are never chosen.", hyphen=True)] = None,
) -> int:
    """Print the choice of the run in ``directory``.

    Raises:
        NothingFitsError: Nothing that was measured meets the limits.
    """
    # Not needed for the help page.
    from loadtune.cli.consoles import note  # noqa: PLC0415
    from loadtune.cli.verdict import complain  # noqa: PLC0415
    from loadtune.describe.plan import Limits  # noqa: PLC0415
    from loadtune.record.store import read_kept  # noqa: PLC0415
    from loadtune.run.rejudge import rejudged  # noqa: PLC0415
    from loadtune.run.resume import unfinished_note  # noqa: PLC0415
    from loadtune.show.suggestion import FORMATS, Suggestion  # noqa: PLC0415

    wanted = Limits(
        host_memory=maybe("--host-memory", host_memory, parse_size),
        gpu_memory=maybe("--gpu-memory", gpu_memory, parse_size),
        max_batch_size=maybe("--max-batch-size", max_batch_size, positive),
    )
    result = rejudged(read_kept(Path(directory)), wanted)
    complain(result, strict=False)
    assert result.best is not None  # noqa: S101 - `complain` has raised otherwise
    said = Suggestion(result=result, pick=result.best, anew=wanted != Limits())
    stdout().write(FORMATS[format_](said) + "\n")
    note(unfinished_note(result, directory))
    return 0
