"""``loadtune model``: the document's three models for given figures, each checked."""

from __future__ import annotations

from typing import Annotated

from loadtune.cli.options import maybe, option, parsed, positive, positive_duration
from loadtune.cli.streams import stdout
from loadtune.errors import UsageError
from loadtune.units import parse_size

USAGE = "model --samples N --batch-size B --seconds-per-sample T --bytes-per-sample M [OPTIONS]"
HELP = (
    "Prints batches per epoch (N/B), the work of an epoch (K·B·T) and the bytes that pass through in it (K·B·M) for "
    "given figures, and says where a given K is not N/B."
)
NOTES = "Example: loadtune model --samples 50000 --batch-size 64 --seconds-per-sample 1ms --bytes-per-sample 12KiB"
READS_SETTINGS = False


def run(
    *,
    samples: Annotated[str, option("N", "Samples in the data set.", hyphen=True)],
    batch_size: Annotated[str, option("B", "Samples a batch.", hyphen=True)],
    seconds_per_sample: Annotated[str, option("1ms", "T: time to load one sample in one process.", hyphen=True)],
    bytes_per_sample: Annotated[str, option("3072|12KiB", "M: bytes of one sample after collate.", hyphen=True)],
    batches: Annotated[str | None, option("K", "Batches per epoch, to be compared with N/B.", hyphen=True)] = None,
    drop_last: Annotated[bool, option("", "Leave out a last batch that is not full.")] = False,
) -> int:
    """Print the models for these figures."""
    from loadtune.judge.document import DocumentModel, describe  # noqa: PLC0415 - not needed for the help page

    model = DocumentModel(
        samples=parsed("--samples", samples, positive),
        batch_size=parsed("--batch-size", batch_size, positive),
        seconds_per_sample=parsed("--seconds-per-sample", seconds_per_sample, positive_duration),
        bytes_per_sample=parsed("--bytes-per-sample", bytes_per_sample, exact_bytes),
        batches_given=maybe("--batches", batches, positive),
        drop_last=drop_last,
    )
    stdout().write("\n".join([*_columns(describe(model)), *(f"! {check}" for check in model.checks)]) + "\n")
    return 0


def _columns(rows: tuple[tuple[str, str, str], ...]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {meaning}" for name, value, meaning in rows]


def exact_bytes(text: str) -> int:
    """Return the number of bytes that ``text`` stands for; a share of a limit is none."""
    size = parse_size(text)
    if size.bytes is None:
        raise UsageError(f"'{text}' is a share of a limit: write a number of bytes, such as 3072 or 12KiB")
    return size.bytes
