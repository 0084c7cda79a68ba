"""The search for a batch size for people: a line a probe, then what was found and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console

from loadtune.record.batch_size import BatchSizeResult, StepProbe
from loadtune.record.noise_scale import Goodput, NoiseScale
from loadtune.show.words import plain
from loadtune.units import (
    format_bytes,
    format_count,
    format_estimate,
    format_number,
    format_rate,
    format_seconds,
    format_share,
)

FITS = {
    "fits": "fits",
    "over": "over the limit",
    "out_of_memory": "out of memory",
    "late": "not over in time",
    "refused": "refused",
    "failed": "failed",
}
_RESOURCES = {"host": "host", "address_space": "address space", "device": "device"}


def print_probe(probe: StepProbe, console: Console) -> None:
    """Print one probe as a line."""
    console.print(plain(probe_line(probe)), markup=False, soft_wrap=True)


def print_search(probes: Iterable[StepProbe], result: BatchSizeResult | None, console: Console, *, quiet: bool) -> None:
    """Print a search that was kept: its probes unless that is too much, then what was found, if it came to that."""
    for probe in () if quiet else probes:
        print_probe(probe, console)
    if result is not None:
        print_batch_size(result, console)
    else:
        console.print("The search did not come to its end: these are the probes that it had made.", soft_wrap=True)


def print_batch_size(result: BatchSizeResult, console: Console) -> None:
    """Print what was found."""
    for line in summary(result):
        console.print(plain(line), markup=False, soft_wrap=True)


def probe_line(probe: StepProbe) -> str:
    """Return one probe in a line: the size, what became of it, what it took, why it was probed."""
    parts = [f"batch {format_count(probe.batch_size):>7}  {FITS[probe.fit]}"]
    parts += [f"{_RESOURCES[name]} {format_bytes(size)}" for name, size in probe.used_bytes.items()]
    if probe.samples_per_second is not None:
        parts.append(format_rate(probe.samples_per_second))
    if probe.reason:
        parts.append(probe.reason)
    return f"{', '.join(parts)}  ({probe.why}; {format_seconds(probe.seconds)})"


def summary(result: BatchSizeResult) -> Iterator[str]:
    """Yield what was found, in sentences."""
    if result.largest is None:
        yield f"Nothing fits: {result.because}."
        return
    sure = "exactly" if result.exact else "a lower bound"
    yield f"Largest: {format_count(result.largest)} ({sure}; {result.because})."
    if result.best is not None and result.fastest is not None:
        yield f"Best: {format_count(result.best)}, {_why_best(result)}."
    yield from _goodput(result)
    for note in result.notes:
        yield f"- {note}"


def _why_best(result: BatchSizeResult) -> str:
    rates = {probe.batch_size: probe.samples_per_second for probe in result.probes if probe.fit == "fits"}
    best, fastest = result.best or 0, result.fastest or 0
    words = f"{format_rate(rates[best])} of the step alone, on batches that are there already"
    if best == fastest:
        return f"{words}: the fastest"
    tie, most = format_share(result.plan.tie), format_rate(rates[fastest])
    return f"{words}: the smallest within {tie} of the fastest, {format_count(fastest)} ({most})"


def _goodput(result: BatchSizeResult) -> Iterator[str]:
    """Yield the noise scale, the batch of the best goodput, and the goodput of each batch size."""
    if result.noise_scale is None:
        return
    yield f"Noise scale: {_noise_scale(result.noise_scale)}."
    best = next((one for one in result.goodputs if one.batch_size == result.best_goodput), None)
    if best is None:
        return
    size = f"{format_count(best.batch_size)}{_between(result.best_goodput_range)}"
    yield f"Best goodput: batch {size}: {_worth(best, result)}."
    each = [
        f"{format_count(one.batch_size)}: {format_number(one.goodput_samples_per_second)}" for one in result.goodputs
    ]
    yield f"Goodput in samples/s, by the batch of an optimiser step: {', '.join(each)}."


def _between(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return ""
    return f" (between {format_count(ends[0])} and {format_count(ends[1])} by the interval of the noise scale)"


def _worth(best: Goodput, result: BatchSizeResult) -> str:
    """Return the rate of a batch size, and what that is in samples of the baseline's worth."""
    rate, baseline = format_rate(best.samples_per_second), format_count(result.baseline_batch_size)
    if best.batch_size == result.baseline_batch_size:
        return f"{rate}, by which the worth of a sample is counted"
    return (
        f"{rate}, each worth {format_share(best.efficiency, 0)} of one in a batch of {baseline}: as good as"
        f" {format_rate(best.goodput_samples_per_second)} there"
    )


def _noise_scale(found: NoiseScale) -> str:
    if found.samples is None:
        return f"not known, {found.because}"
    if found.source == "given":
        return f"{format_number(found.samples)} samples, as given"
    sizes = f"{format_count(found.small_batch_size)} and {format_count(found.large_batch_size)}"
    by = f"{format_count(found.pairs)} pairs of batches of {sizes}"
    order = "; the data set or its loader gave the samples in its own order, which has to be a random one"
    return (
        f"{format_estimate(found.samples, found.low_samples, found.high_samples, 'samples')}, by {by}, for the model as"
        f" it is now: it grows during training{order if found.in_own_order else ''}"
    )
