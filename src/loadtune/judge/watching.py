"""Whether a training loop that was watched waits for its data: the shares with their intervals, and one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.judge.reasons import counted
from loadtune.judge.statistics import Repeat, Spread, estimate, student_t, window_noise
from loadtune.judge.step_findings import FED, step_time_option
from loadtune.record.results import Interval
from loadtune.record.watching import Block, WatchMeasurement
from loadtune.units import (
    VAST_INTERVAL,
    format_count,
    format_estimate,
    format_number,
    format_seconds,
    format_share,
)

FEWEST_BLOCKS = 4
"""Rounds of the workers of which a share is told; fewer know of no spread worth the name."""
NO_STEP = 0.99
"""A loop that waits for a larger share of the time has hardly a step that could be faster fed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSummary:
    """What ``loadtune.watch`` saw of a training loop so far; ``print`` shows it in a few lines.

    The first batch of each epoch stands apart: ``wait_seconds``, ``step_seconds`` and what follows from them are of the
    other batches. The step's time is that of the Python loop. Where it hands work to a device and goes on, the device
    is busy during waits too: ``wait_share`` is then the most that the device can wait.
    """

    epochs: int
    """Loops that were begun."""
    batches: int
    """Batches that were handed out."""
    samples: int
    """Samples in them."""
    seconds: float
    """Time in the loops, from the start of each to the last batch that it asked for."""
    first_batch_seconds: float
    """Time from the start of an epoch to its first batch, summed over the epochs."""
    steady_batches: int
    """Batches whose wait and step were seen whole, the first of each epoch left out."""
    wait_seconds: float
    """Time for which the loop waited for these."""
    step_seconds: float
    """Time for which it used them."""
    wait_share: Interval | None
    """Part of the time that was waited, between 0 and 1, with its 95 % interval; None where too little was seen."""
    samples_per_second: Interval | None
    """Steady rate with its 95 % interval; None where too little was seen."""
    batch_wait_p50_seconds: float | None
    """Median wait for a batch, to 2 %; None where there was none."""
    batch_wait_p95_seconds: float | None
    """Wait within which 95 % of the batches came, to 2 %."""
    verdict: str
    """Whether the loop waits for data, in one sentence."""

    def __str__(self) -> str:
        lines = [f"{self.verdict[:1].upper()}{self.verdict[1:]}."]
        if self.batches:
            lines.append(self._seen_words())
        if self.steady_batches:
            lines.append(self._batch_words())
        return "\n".join(lines)

    def _seen_words(self) -> str:
        parts = [
            counted(self.epochs, "epoch"),
            counted(self.batches, "batch", "batches"),
            f"{counted(self.samples, 'sample')} in {format_seconds(self.seconds)}",
        ]
        rate = self.samples_per_second
        steady = f"; steady {format_estimate(rate.estimate, rate.low, rate.high)} (95 %)" if rate is not None else ""
        return f"{', '.join(parts)}{steady}."

    def _batch_words(self) -> str:
        wait, step = (seconds / self.steady_batches for seconds in (self.wait_seconds, self.step_seconds))
        half, most = (_two_digits(seconds) for seconds in (self.batch_wait_p50_seconds, self.batch_wait_p95_seconds))
        first = _two_digits(self.first_batch_seconds / self.epochs)
        return (
            f"A batch: {_two_digits(wait)} of waiting on average (half of them within {half}, 95 % within {most}), "
            f"{_two_digits(step)} of step; the first of an epoch is there after {first}."
        )


def summarise(seen: WatchMeasurement) -> WatchSummary:
    """Return what was seen with its intervals and the verdict."""
    steady = seen.steady
    told = len(seen.blocks) >= FEWEST_BLOCKS and steady.seconds > 0
    share = _wait_share(steady, seen.blocks) if told else None
    return WatchSummary(
        epochs=seen.epochs,
        batches=seen.batches,
        samples=seen.samples,
        seconds=seen.seconds,
        first_batch_seconds=seen.first_batch_seconds,
        steady_batches=steady.batches,
        wait_seconds=steady.wait_seconds,
        step_seconds=steady.step_seconds,
        wait_share=share,
        samples_per_second=_rate(steady, seen.blocks) if told and steady.samples else None,
        batch_wait_p50_seconds=seen.batch_wait_p50_seconds,
        batch_wait_p95_seconds=seen.batch_wait_p95_seconds,
        verdict=_verdict(seen, share),
    )


def _wait_share(steady: Block, blocks: Sequence[Block]) -> Interval:
    """Return the share of the time that is waited.

    It is a ratio of sums, and its variance that of the blocks' residuals from it (Cochran, *Sampling Techniques*,
    section 6.3), of which neighbours resemble each other as the windows of a trial do.
    """
    share = steady.wait_seconds / steady.seconds
    mean = sum(block.seconds for block in blocks) / len(blocks)
    variance, worth, df = window_noise([1 + (block.wait_seconds - share * block.seconds) / mean for block in blocks])
    half = student_t(0.975, df) * math.sqrt(variance / worth)
    return Interval(estimate=share, low=max(0.0, share - half), high=min(1.0, share + half))


def _rate(steady: Block, blocks: Sequence[Block]) -> Interval:
    """Return the steady rate in samples per second, as that of a single trial whose windows are the blocks."""
    variance, worth, df = window_noise([block.samples / block.seconds for block in blocks if block.seconds > 0])
    log_rate = math.log(steady.samples / steady.seconds)
    one = Repeat(block=0, at_seconds=0.0, log_rate=log_rate, window_variance=variance, windows=worth, window_df=df)
    return estimate([one], Spread())


def _verdict(seen: WatchMeasurement, share: Interval | None) -> str:
    if seen.batches == 0:
        why = "the loader gave no batch" if seen.epochs else "loop over what loadtune.watch() returned"
        return f"nothing was watched: {why}"
    if _is_start_bound(seen):
        return _start_words(seen)
    if share is None:
        return _few_words(seen)
    if share.high <= FED:
        return f"the training step is kept fed: it waits {_share_words(share)} of the time for data"
    if share.low <= FED:
        return (
            f"the step waits {_share_words(share)} of the time for data, which does not tell whether it is kept fed "
            f"({format_share(FED, 0)} at most): watch for longer"
        )
    return _waiting_words(seen, share)


def _is_start_bound(seen: WatchMeasurement) -> bool:
    """Return whether the start of epochs costs more than what is waited later; one epoch is not known to be short.

    A first batch is loaded too, which takes about as long as what the late ones of the others are waited for.
    """
    start = seen.first_batch_seconds - seen.epochs * (seen.batch_wait_p95_seconds or 0.0)
    return seen.epochs > 1 and start > FED * seen.seconds and start > seen.steady.wait_seconds


def _start_words(seen: WatchMeasurement) -> str:
    each = _two_digits(seen.first_batch_seconds / seen.epochs)
    anew = seen.loader.num_workers and not seen.loader.persistent_workers
    advice = "persistent_workers=True starts workers once for all epochs" if anew else "longer epochs wait less"
    return (
        f"first batches take {format_share(seen.first_batch_seconds / seen.seconds, 0)} of the time: each of "
        f"{format_count(seen.epochs)} epochs waits {each} on average for its own; {advice}"
    )


def _few_words(seen: WatchMeasurement) -> str:
    """Return that too little was seen, and how much is needed: of one epoch its first batch is told along."""
    is_one = seen.epochs == 1
    batches, needed = seen.steady.batches, FEWEST_BLOCKS * max(1, seen.loader.num_workers or 1)
    if is_one:
        batches, needed = seen.batches, needed + 1
    where = "" if is_one else " after the first of each epoch"
    return (
        f"only {counted(batches, 'batch was', 'batches were')} seen{where}, too few to say how long the step waits: "
        f"{format_count(needed)} are needed"
    )


def _waiting_words(seen: WatchMeasurement, share: Interval) -> str:
    if share.estimate >= NO_STEP:
        return (
            f"the loop does little but wait for data, {_share_words(share)} of the time: there is hardly a step to "
            "feed, and `loadtune sweep TARGET` looks for the fastest loader"
        )
    low, middle, high = (1 / (1 - min(one, NO_STEP)) for one in (share.low, share.estimate, share.high))
    size = seen.loader.batch_size
    batch = f" --batch-size {size}" if size else ""
    step = step_time_option(float(f"{seen.steady.step_seconds / seen.steady.batches:.2g}"))
    return (
        f"the step waits {_share_words(share)} of the time for data: a loader that never lets it wait would train at "
        f"most {format_estimate(middle, low, high, unit='×', digits=1)} as fast; "
        f"`loadtune sweep TARGET{batch} --step-time {step}` looks for one"
    )


def _share_words(share: Interval) -> str:
    """Return ``34 ± 2 %``, or ``at most 4 %`` where the lower end says nothing."""
    if share.high > VAST_INTERVAL * share.low:
        half = max(share.high - share.estimate, share.estimate - share.low)
        return f"at most {format_number(100 * share.high, 100 * half)} %"
    return format_estimate(100 * share.estimate, 100 * share.low, 100 * share.high, unit="%", digits=1)


def _two_digits(seconds: float | None) -> str:
    """Return a time to two digits: a single wait is known no better, and a mean of them need not be."""
    return format_seconds(seconds, seconds or 0.0)
