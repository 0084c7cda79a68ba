"""What a batch size changes beside speed, and what is to be known of how it was found: information, never a change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadtune.record.batch_size import StepProbe
from loadtune.units import format_count, format_ratio


def notes(
    size: int | None,
    *,
    baseline: int | None,
    samples: int | None,
    probes: Sequence[StepProbe],
    multiple_of: int = 1,
) -> tuple[str, ...]:
    """Return what a person should know of the batch size that is recommended, in sentences.

    Args:
        size: The recommended batch size; None where nothing fits.
        baseline: What is used now.
        samples: N of the data set.
        probes: All of them.
        multiple_of: Batch sizes are to be multiples of this.
    """
    found = list(_of_the_search(probes))
    if size is not None:
        found += [
            *_of_the_epoch(size, samples),
            *_of_learning(size, baseline),
            *_of_accumulation(size, baseline, multiple_of),
        ]
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


def _of_accumulation(size: int, baseline: int | None, multiple_of: int) -> Iterator[str]:
    """Yield how a batch of the baseline's size is made of smaller ones: of equal ones where that takes few more."""
    if baseline is None or baseline <= size:
        return
    dividing = [part for part in range(multiple_of, size + 1, multiple_of) if baseline % part == 0]
    part, is_exact = max(dividing, default=0), bool(dividing) and 2 * max(dividing) > size
    if not is_exact:
        count = -(-baseline // size)
        part = -(-baseline // (count * multiple_of)) * multiple_of
    count, rest = divmod(baseline, part)
    words = f"{format_count(count)} micro-{'batch' if count == 1 else 'batches'} of {format_count(part)}"
    if rest:
        words += f" and one of {format_count(rest)}, each loss weighted by its samples"
    yield (
        f"a global batch of {format_count(baseline)} is {words}: accumulate their gradients for one optimiser step"
        " (BatchNorm goes by each micro-batch)"
    )
