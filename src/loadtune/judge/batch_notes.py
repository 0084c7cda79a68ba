"""What a batch size changes beside speed, and what is to be known of how it was found: information, never a change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtune.record.batch_size import StepProbe
from loadtune.units import format_count, format_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulation:
    """A batch of one optimiser step, in samples, and what fits of it at a time."""

    global_batch: int
    largest: int
    multiple_of: int = 1
    """Micro-batches are multiples of this, as far as they are equal."""


def notes(
    size: int | None,
    *,
    baseline: int | None,
    samples: int | None,
    probes: Sequence[StepProbe],
    accumulation: Accumulation | None = None,
) -> tuple[str, ...]:
    """Return what a person should know of the batch size that is recommended, in sentences.

    Args:
        size: The recommended batch size; None where nothing fits.
        baseline: What is used now.
        samples: N of the data set.
        probes: All of them.
        accumulation: A batch of one optimiser step that is to stay the same; None where none was given.
    """
    found = list(_of_the_search(probes))
    if size is not None:
        found += [*_of_the_epoch(size, samples), *_of_learning(size, baseline)]
    if accumulation is not None:
        found.append(_of_accumulation(accumulation))
    return tuple(found)


def _of_the_search(probes: Sequence[StepProbe]) -> Iterator[str]:
    largest = max((probe.batch_size for probe in probes if probe.fit == "fits"), default=0)
    for probe in probes:
        if probe.fit in ("out_of_memory", "failed") and probe.batch_size < largest and probe.kind != "last_batch":
            yield (
                f"{format_count(probe.batch_size)} failed and {format_count(largest)} ran: memory does not grow evenly"
                " with the batch here, so sizes in between may fail too"
            )
    ran = [probe.measured for probe in probes if probe.fit == "fits" and probe.measured is not None]
    if any(one.samples_vary for one in ran):
        looked = max(one.samples_looked_at or 0 for one in ran)
        yield f"samples differ in size: memory is that of the largest of {format_count(looked)} that were looked at"
    if ran and not any(one.evaluated for one in ran):
        yield "the step has no evaluate(batch): no evaluation step was run, and evaluation may need more memory"


def _of_the_epoch(size: int, samples: int | None) -> Iterator[str]:
    if samples is None:
        return
    steps, rest = -(-samples // size), samples % size
    last = f"the last batch has {format_count(rest)}" if rest else "the last batch is full"
    yield f"{format_count(steps)} steps an epoch of {format_count(samples)} samples; {last}"
    if rest == 1:
        yield "a last batch of 1 makes BatchNorm raise in training: use drop_last=True"


def _of_learning(size: int, baseline: int | None) -> Iterator[str]:
    if baseline is None or baseline == size:
        return
    factor = size / baseline
    yield (
        f"against batch {format_count(baseline)} a learning rate would be {format_ratio(factor)} with SGD (linear rule:"
        f" Goyal et al. 2017, arXiv:1706.02677) and {format_ratio(factor**0.5)} with Adam (square-root rule: Malladi et"
        " al. 2022, arXiv:2205.10287); rules of thumb, nothing was changed"
    )


def _of_accumulation(asked: Accumulation) -> str:
    """Return how a global batch is made of smaller ones: of equal ones where that takes few more."""
    if asked.global_batch <= asked.largest:
        return f"a global batch of {format_count(asked.global_batch)} fits as it is: nothing has to be accumulated"
    part = _micro_batch(asked.global_batch, asked.largest, asked.multiple_of)
    count, rest = divmod(asked.global_batch, part)
    words = f"{format_count(count)} micro-{'batch' if count == 1 else 'batches'} of {format_count(part)}"
    weight = f"divide each loss by {format_count(count)}"
    if rest:
        words += f" and one of {format_count(rest)}"
        weight = f"multiply each loss by its share of the {format_count(asked.global_batch)} samples"
    return (
        f"a global batch of {format_count(asked.global_batch)} is {words}: accumulate their gradients for one optimiser"
        f" step, and {weight} (R devices in parallel share them, an R-th part each; BatchNorm goes by each"
        " micro-batch)"
    )


def _micro_batch(global_batch: int, largest: int, multiple_of: int) -> int:
    """Return the largest divisor that fits where it is more than half of what fits, else parts as even as may be."""
    dividing = max(
        (part for part in range(multiple_of, largest + 1, multiple_of) if global_batch % part == 0), default=0
    )
    if 2 * dividing > largest:
        return dividing
    count = -(-global_batch // largest)
    return -(-global_batch // (count * multiple_of)) * multiple_of
