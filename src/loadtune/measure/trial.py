"""One trial: build the loader, prime it, measure windows, run a short epoch, tear down. Runs in a process of its own.

The order is: start-up and first batch · priming · where growth is asked for, a look from outside at the memory while
batches go on · windows, with another such look in the middle, in the time of none of them · where memory is asked for,
a look while the consumer pauses and the queue fills · the same workers with smaller batches, where these are asked
for · whole epochs where they are short.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement, TrialRequest
from loadtune.measure import accelerator, aftermath, feeding, heap, others, page_cache, steady, threads, witness
from loadtune.measure.alone import Suspects
from loadtune.measure.batches import count_bytes, count_samples
from loadtune.measure.consumer import Consumer
from loadtune.measure.steady import Round
from loadtune.measure.stream import END, Stream, epoch_loader, next_batch
from loadtune.measure.witness import Beats
from loadtune.measure.worker_deaths import settled
from loadtune.record.failure import Aftermath
from loadtune.record.results import WAIT_SHARES, EpochMeasurement, Rung, SteadyMeasurement
from loadtune.units import words_of
from loadtune.workloads.source import Source

LONGEST_REASON, LONGEST_TRACEBACK = 500, 100_000
QUEUE_FILL_MARGIN = 1.2
"""A pausing consumer waits this many times as long as the queue's batches took to come."""


class WorkerEndedError(RuntimeError):
    """A worker ended by itself; torch's own message does not always say how."""


class Observer(Protocol):
    """Looks at the trial from outside: at its threads and memory when told to, and whether it goes on."""

    beats: Beats
    """One more with every batch."""

    def begin(self, workers: Sequence[int]) -> None:
        """Say that the windows begin, loaded by these processes; returns at once."""

    def end(self) -> None:
        """Say that the windows are over; returns at once."""

    def look(self, batches: int) -> None:
        """Ask for a look after so many batches; returns at once."""

    def has_looked(self) -> bool:
        """Return whether the look asked for last is over."""

    def wait(self) -> None:
        """Wait until the look asked for last is over."""

    def failed(self, seen: Aftermath, suspects: Suspects | None) -> None:
        """Be told what was to be seen when the trial raised, while its workers were there."""


@dataclass(slots=True, kw_only=True)
class _Taken:
    """What was seen of each batch."""

    ended: list[float]
    waits: list[float]
    samples: list[int]


class _Loop:
    """Takes batches from a stream, and keeps when each came and how many samples were in it."""

    def __init__(self, stream: Stream, consumer: Consumer, beats: Beats) -> None:
        self.stream = stream
        self._beats = beats
        self.consumer = consumer
        self.taken = _Taken(ended=[], waits=[], samples=[])

    def anew(self) -> _Loop:
        """Return a loop that goes on from here and has seen nothing."""
        return _Loop(self.stream, self.consumer, self._beats)

    def take(self, count: int) -> None:
        """Take ``count`` batches. Nothing else happens here: this is the loop whose speed is reported."""
        taken, stream, consumer, clock = self.taken, self.stream, self.consumer, time.perf_counter
        beats = self._beats
        for _ in range(count):
            asked = clock()
            batch = stream.next()
            taken.waits.append(clock() - asked)
            taken.samples.append(count_samples(batch, stream.expected_samples()))
            consumer.take(batch)
            taken.ended.append(clock())
            beats[0] += 1

    def round(self, size: int) -> Round:
        """Take a round of ``size`` batches; return it, timed from the end of the batch before it."""
        ended = self.taken.ended
        before = ended[-1]
        self.take(size)
        return Round(seconds=ended[-1] - before, samples=sum(self.taken.samples[-size:]), batches=size)

    def settle(self) -> float:
        """Wait for what is queued on the device; return the seconds that the last batch ended later by that."""
        before = self.taken.ended[-1]
        self.consumer.synchronise()
        self.taken.ended[-1] = time.perf_counter()
        return self.taken.ended[-1] - before


def run_trial(source: Source, request: TrialRequest, observer: Observer) -> tuple[SteadyMeasurement, tuple[Rung, ...]]:
    """Return what one loader did, measured in this process, and what its workers did with smaller batches.

    Raises:
        Exception: Whatever the user's data set or torch raises.
    """
    torch.manual_seed(request.seed)
    if request.one_thread:
        threads.hold_to_one()
    accelerator.initialise(request.consumer.device)
    # The sweep decides whether many workers help; torch's advice to stay at the CPU count is not asked for.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    config, plan = request.config, request.measurement
    heap.begin(witness.place() if plan.look_early else None)
    stream = Stream(source, config, request.seed)
    consumer = Consumer(request.consumer, pinned=config.pin_memory, workload=source.workload)
    loop = _Loop(stream, consumer, observer.beats)
    try:
        windows = settled(partial(_run_windows, source, request, loop, observer))
        last_bytes = count_bytes(consumer.held)
        rungs = tuple(_ladder(request, loop, windows, observer))
    except Exception as error:
        _tell(error, observer, stream.iterator, consumer)
        raise
    finally:
        page_cache.note_held((os.getpid(), *stream.worker_pids()))
        stream.kill()
    measured = _measured(loop, windows, plan)
    measured = replace(
        measured,
        bytes_per_batch=last_bytes * measured.samples_per_batch / loop.taken.samples[-1],
        gpu_reserved_peak_bytes=accelerator.reserved_peak_bytes(request.consumer.device),
        start_method=_start_method(stream, config),
        reshuffled_passes=not stream.restarts,
        passes=windows.samples / source.samples if source.samples else None,
        feeding=feeding.feeding(
            windows.rounds,
            loop.taken.waits[windows.primed :],
            windows.cached,
            consumer,
            made_share=windows.made_samples / max(1.0, windows.taken_samples),
        ),
    )
    epochs = partial(_short_epochs, source, request, measured, stream, consumer=consumer, beats=observer.beats)
    try:
        return replace(measured, epochs=settled(epochs)), rungs
    except Exception as error:
        _tell(error, observer, None, consumer)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """What was seen from asking for the first batch to the end of the last window."""

    startup_seconds: float
    first_batch_seconds: float
    primed: int
    """Batches that came before the windows."""
    rounds: list[Round]
    """With the samples that were made in them (``steady.as_made``)."""
    taken_samples: float
    """Taken in the rounds."""
    samples: int
    """Taken until the end of the last window, from the first one on."""
    cached: float | None
    """Of ``feeding.cached_rate``."""
    cpu_seconds: float | None
    """Of this process and its workers, in the windows."""
    others_cpu_seconds: float | None

    @property
    def made_samples(self) -> float:
        """Samples that were made in the rounds."""
        return sum(one.samples for one in self.rounds)


def _run_windows(source: Source, request: TrialRequest, loop: _Loop, observer: Observer) -> _Windows:
    """Start the loader, prime it, and measure."""
    config, plan, stream = request.config, request.measurement, loop.stream
    cached = feeding.cached_rate(source, request, loop.consumer)
    asked = time.perf_counter()
    stream.start()
    startup = time.perf_counter() - asked
    loop.take(1)
    _prime(loop, config, plan, observer)
    primed = len(loop.taken.ended)
    workers = stream.worker_pids()
    observer.begin(workers)
    cpu_before, began = cpu_seconds(workers), others.now()
    most = source.samples if plan.one_pass else None
    rounds = _measure_rounds(loop, max(1, config.num_workers), plan, most, observer)
    observer.end()
    samples = sum(loop.taken.samples)
    # A loader that restarted has other workers now, and the time of the first ones is gone with them.
    cpu_after, ended = cpu_seconds(workers) if stream.worker_pids() == workers else None, others.now()
    ours = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    if plan.pause_seconds is not None:
        _pause(loop, config, plan.pause_seconds, observer)
    return _Windows(
        startup_seconds=startup,
        first_batch_seconds=loop.taken.ended[0] - asked,
        primed=primed,
        rounds=steady.as_made(rounds),
        taken_samples=sum(one.samples for one in rounds),
        samples=samples,
        cached=cached,
        cpu_seconds=ours,
        others_cpu_seconds=others.busy_seconds(began, ended, ours, os.cpu_count() or 1),
    )


def _measured(loop: _Loop, windows: _Windows, plan: Measurement) -> SteadyMeasurement:
    """Return what the windows say."""
    measured = _summarise(loop.taken, windows.rounds, plan, windows.primed)
    since = windows.samples - sum(loop.taken.samples[: windows.primed])
    in_rounds = since - (windows.taken_samples - windows.made_samples)
    return replace(
        measured,
        startup_seconds=windows.startup_seconds,
        first_batch_seconds=windows.first_batch_seconds,
        cpu_seconds=_share(windows.cpu_seconds, measured.samples_measured, in_rounds),
        others_cpu_seconds=_share(windows.others_cpu_seconds, measured.samples_measured, in_rounds),
        backlog_samples=round(windows.taken_samples - windows.made_samples),
    )


def _tell(error: Exception, observer: Observer, iterator: Any, consumer: Consumer) -> None:
    """Tell the observer what is to be seen after an error.

    Raises:
        WorkerEndedError: Workers ended by themselves, which is what is to be said of it.
    """
    seen, suspects = aftermath.read(error, iterator, consumer)
    observer.failed(seen, suspects)
    if seen.workers:
        raise WorkerEndedError(", ".join(map(str, seen.workers))) from error


def _prime(loop: _Loop, config: LoaderConfig, plan: Measurement, observer: Observer) -> None:
    """Take what comes before the windows: a round at least, that every worker begins cold, 2·P·W batches at most.

    The first P·W batches are all asked for at once, the next P·W refill behind them. Where batches are slow one round
    is enough: nothing piles up behind a loader that is waited for, and a transient that shows in a window is cut off.
    The time counts from the first batch on: while the last of many workers start, the first fill their queues.
    """
    size, ended = max(1, config.num_workers), loop.taken.ended
    loop.take(size - len(ended))
    while len(ended) < 2 * config.batches_in_flight and ended[-1] - ended[0] < plan.priming_seconds:
        loop.take(size)
    if plan.look_early:
        _look_while(loop, size, observer)


def _look_while(loop: _Loop, size: int, observer: Observer) -> None:
    """Have the memory looked at while batches go on."""
    heap.note()
    observer.look(len(loop.taken.ended))
    while not observer.has_looked():
        loop.take(size)


def _look_between(loop: _Loop, size: int, observer: Observer) -> int:
    """Have the memory looked at between two windows; return the samples that were taken meanwhile."""
    batches, waits = len(loop.taken.ended), len(loop.taken.waits)
    _look_while(loop, size, observer)
    del loop.taken.waits[waits:]  # whoever looks holds the processes up a little
    return sum(loop.taken.samples[batches:])


def _measure_rounds(
    loop: _Loop, size: int, plan: Measurement, most_samples: int | None, observer: Observer
) -> list[Round]:
    """Take rounds until the trial may stop; the work between two rounds is a few additions.

    What is ready is counted at the ends of windows, so that it is known what was made in them. Halfway the memory is
    looked at, where it is to be, between two windows and in the time of neither.

    Args:
        loop: Takes the batches.
        size: Batches a round.
        plan: When to stop.
        most_samples: Samples of the first pass, where a second one is not to be begun after a window; else None.
        observer: Looks at the memory.
    """
    looks = plan.look_early
    left = math.inf if most_samples is None else most_samples - sum(loop.taken.samples)
    rounds: list[Round] = []
    rates: list[float] = []
    seconds, samples, elapsed = 0.0, 0.0, 0.0
    ready = loop.stream.ready_batches()
    while True:
        one = loop.round(size)
        rounds.append(one)
        seconds, samples, left = seconds + one.seconds, samples + one.samples, left - one.samples
        if left < one.samples and rates:
            return rounds
        if seconds < plan.window_seconds:
            continue
        late = loop.settle()
        before, ready = ready, loop.stream.ready_batches()
        fall = before - ready if before is not None and ready is not None else None
        rounds[-1] = replace(one, seconds=one.seconds + late, fall=fall)
        rates.append(samples / (seconds + late))
        elapsed += seconds + late
        seconds, samples = 0.0, 0.0
        if left < one.samples or _may_stop(rates, elapsed, plan):
            return rounds
        if looks and elapsed >= plan.max_seconds / 2:
            left, looks = left - _look_between(loop, size, observer), False
            ready = loop.stream.ready_batches()


def _may_stop(rates: Sequence[float], elapsed: float, plan: Measurement) -> bool:
    is_steady = steady.is_steady(rates)
    if elapsed >= plan.max_seconds:
        return is_steady or elapsed >= plan.max_seconds * (1 + plan.extensions / 2)
    return len(rates) >= plan.min_windows and is_steady and steady.half_width_share(rates) <= plan.precision


def _pause(loop: _Loop, config: LoaderConfig, longest: float, observer: Observer) -> None:
    """Hold the last batch until the workers have filled the queue behind it, and have the memory looked at.

    A full queue is what a training step slower than the loader sees all the time: P·W batches ready and one in use.
    """
    ended = loop.taken.ended
    behind = min(config.batches_in_flight, len(ended) - 1)
    time.sleep(min(QUEUE_FILL_MARGIN * (ended[-1] - ended[-1 - behind]) if behind else 0.0, longest))
    heap.note()
    observer.look(len(ended))
    observer.wait()


def _ladder(request: TrialRequest, loop: _Loop, windows: _Windows, observer: Observer) -> Iterator[Rung]:
    """Yield what the same workers do with smaller batches, the largest first.

    What goes wrong there is no fault of the trial's own batch size, which has been measured: it ends the ladder, and is
    kept. So does a rung that would take long, since the batches ahead are still of the size before.
    """
    plan, before = request.measurement, request.config.batch_size or 1
    rate = windows.made_samples / sum(one.seconds for one in windows.rounds)
    for size in sorted(request.ladder, reverse=True):
        if request.config.batches_in_flight * before > rate * plan.rung_wait_seconds or not loop.stream.resize(size):
            return
        began = time.perf_counter()
        try:
            found = settled(partial(_rung, size, request, loop, observer))
        except Exception as error:  # noqa: BLE001 - whatever a data set raises
            yield Rung(batch_size=size, seconds=time.perf_counter() - began, failure_reason=_reason(error))
            return
        yield replace(found, seconds=time.perf_counter() - began)
        before, rate = size, statistics.fmean(found.window_samples_per_second)


def _reason(error: Exception) -> str:
    """Return what was raised, in a line; what a worker raised, torch puts behind its traceback."""
    name, lines = type(error).__name__, words_of(error, most=LONGEST_TRACEBACK).strip().splitlines() or [""]
    return (lines[-1] if lines[-1].startswith(name) else f"{name}: {lines[-1]}")[:LONGEST_REASON]


def _rung(size: int, request: TrialRequest, before: _Loop, observer: Observer) -> Rung:
    """Take what was asked for before, prime, and measure as the trial was measured; its memory is not looked at."""
    config, plan = request.config, replace(request.measurement, look_early=False)
    before.anew().take(config.batches_in_flight)
    loop = before.anew()
    loop.take(1)
    _prime(loop, config, plan, observer)
    primed, workers = len(loop.taken.ended), loop.stream.worker_pids()
    cpu_before = cpu_seconds(workers)
    rounds = steady.as_made(_measure_rounds(loop, max(1, config.num_workers), plan, None, observer))
    cpu_after = cpu_seconds(workers)
    measured = _summarise(loop.taken, rounds, plan, primed)
    ours = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return Rung(
        batch_size=size,
        seconds=0.0,
        window_samples_per_second=measured.window_samples_per_second,
        samples_measured=measured.samples_measured,
        cpu_seconds=_share(ours, measured.samples_measured, sum(one.samples for one in rounds)),
    )


def _summarise(taken: _Taken, rounds: Sequence[Round], plan: Measurement, primed: int) -> SteadyMeasurement:
    kept = rounds[steady.truncation(rounds) :]
    least = min(plan.window_seconds, sum(one.seconds for one in kept) * 0.999)
    windows = steady.windows(kept, least)
    rates = tuple(window.samples_per_second for window in windows)
    measured = sum(window.seconds for window in windows)
    p50, p95, p99 = _percentiles(taken.waits[primed:])
    return SteadyMeasurement(
        startup_seconds=0.0,
        first_batch_seconds=0.0,
        window_samples_per_second=rates,
        batches_measured=sum(window.batches for window in windows),
        samples_measured=round(sum(window.samples for window in windows)),
        measured_seconds=measured,
        discarded_seconds=sum(one.seconds for one in rounds) - measured,
        steady=steady.is_steady(rates),
        batch_wait_p50_seconds=p50,
        batch_wait_p95_seconds=p95,
        batch_wait_p99_seconds=p99,
        batch_wait_quantiles_seconds=_quantiles(taken.waits[primed:]),
        cpu_seconds=None,
        bytes_per_batch=0.0,
        samples_per_batch=float(np.mean(taken.samples[primed:])),
    )


def _percentiles(waits: Sequence[float]) -> tuple[float, float, float]:
    """Return the 50th, 95th and 99th percentile, interpolated between neighbours.

    Not numpy's: its first call in a process imports numpy.ma, which would cost each trial more than its fork.
    """
    if len(waits) == 1:
        return waits[0], waits[0], waits[0]
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]


def _quantiles(waits: Sequence[float]) -> tuple[float, ...]:
    """Return the waits at the shares of ``WAIT_SHARES``, interpolated likewise."""
    ordered = sorted(waits)
    last = len(ordered) - 1
    places = [share * last for share in WAIT_SHARES]
    return tuple(
        ordered[int(at)] + (at - int(at)) * (ordered[min(int(at) + 1, last)] - ordered[int(at)]) for at in places
    )


def _share(seconds: float | None, samples: float, of_samples: float) -> float | None:
    """Return the part of a time that belongs to the windows: their share, by samples, of all rounds."""
    return None if seconds is None or of_samples <= 0 else seconds * samples / of_samples


def cpu_seconds(pids: Sequence[int]) -> float | None:
    """Return the processor time that this process and others have used; None where it cannot be read.

    Linux keeps a clock for each process, to the nanosecond, where /proc counts in ticks of 10 ms; its number follows
    from the process id (clock_getcpuclockid(3)).
    """
    try:
        return time.process_time() + sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)
    except (OSError, AttributeError, OverflowError):
        return None


def _start_method(stream: Stream, config: LoaderConfig) -> str | None:
    if not config.num_workers:
        return None
    context = getattr(stream.loader, "multiprocessing_context", None)
    return str(context.get_start_method()) if context is not None else multiprocessing.get_start_method()


def _short_epochs(
    source: Source,
    request: TrialRequest,
    measured: SteadyMeasurement,
    stream: Stream,
    *,
    consumer: Consumer,
    beats: Beats,
) -> tuple[EpochMeasurement, ...]:
    """Run the whole epoch for each value of ``drop_last`` that is asked for, where it is expected to be short."""
    samples = source.samples
    if samples is None or not measured.window_samples_per_second:
        return ()
    expected = measured.first_batch_seconds + samples * measured.measured_seconds / measured.samples_measured
    if expected > request.measurement.real_epoch_seconds:
        return ()
    stream.wait()
    epochs: list[EpochMeasurement] = []
    size = request.config.batch_size
    for drop_last in request.drop_last:
        if drop_last and (size is None or samples < size):
            continue
        if epochs and size is not None and samples % size == 0:
            epochs.append(replace(epochs[0], drop_last=drop_last))  # nothing is left over: the two are one epoch
            continue
        epoch = _run_epoch(
            source, replace(request.config, drop_last=drop_last), request.seed, samples, consumer=consumer, beats=beats
        )
        if epoch is None:
            return ()
        epochs.append(epoch)
    return tuple(epochs)


def _run_epoch(
    source: Source, config: LoaderConfig, seed: int, expected: int, *, consumer: Consumer, beats: Beats
) -> EpochMeasurement | None:
    """Run an epoch from asking for its first batch to its end; with persistent workers the second, which finds them.

    None where it does not end: the data set has more samples than the ``expected`` that it claims, even if each worker
    delivers all of them.
    """
    loader = epoch_loader(source, config, seed)
    iterable = source.dataset_kind == "iterable"
    most = max(1, config.num_workers) * (expected + (config.batch_size or 1)) if iterable else math.inf
    if config.persistent_workers and _take_epoch(loader, config, most, beats, None) is None:
        return None
    started = time.perf_counter()
    taken = _take_epoch(loader, config, most, beats, consumer)
    if taken is None:
        return None
    samples, batches = taken
    consumer.synchronise()
    seconds = time.perf_counter() - started
    return EpochMeasurement(drop_last=config.drop_last, seconds=seconds, samples=samples, batches=batches)


def _take_epoch(
    loader: Iterable[Any], config: LoaderConfig, most: float, beats: Beats, consumer: Consumer | None
) -> tuple[int, int] | None:
    """Return the samples and the batches of an epoch; None as soon as there are more than ``most`` samples."""
    samples = batches = 0
    iterator = iter(loader)
    while (batch := next_batch(iterator)) is not END:
        samples += count_samples(batch, config.batch_size)
        batches += 1
        if consumer is not None:
            consumer.take(batch)
        beats[0] += 1
        if samples > most:
            return None
    return samples, batches
