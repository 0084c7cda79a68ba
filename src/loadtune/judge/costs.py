"""What a trial will take: from trials of the same configuration, else from how many samples it must load."""

from __future__ import annotations

import statistics as plain
from collections.abc import Sequence
from dataclasses import replace

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Measurement, SweepPlan
from loadtune.judge.epoch import steady_rate
from loadtune.judge.evidence import measured
from loadtune.record.results import Probe, TrialRecord

UNKNOWN_OVERHEAD_SECONDS = 0.5
"""Of a trial outside its windows, where none has run."""
SAFETY = 1.1
"""A trial is taken to need this much more than the last ones did."""


def screen_measurement(plan: SweepPlan) -> Measurement:
    """Return how a configuration is measured the first time: two windows, and its memory once."""
    base = plan.measurement
    return replace(base, min_windows=2, max_seconds=min(base.max_seconds, 2 * base.window_seconds), pause_seconds=0.25)


def overhead_seconds(records: Sequence[TrialRecord]) -> float:
    """Return the median of what trials took outside their windows: start, priming, epochs, clearing away.

    What taking files out of the page cache before them took is counted with it.
    """
    spent = [
        r.seconds
        + (r.cache.seconds if r.cache else 0.0)
        - r.steady.measured_seconds
        - sum(rung.seconds for rung in r.rungs)
        for r in measured(records)
        if r.steady
    ]
    return max(0.0, plain.median(spent)) if spent else UNKNOWN_OVERHEAD_SECONDS


def rung_seconds(measurement: Measurement) -> float:
    """Return the seconds that another batch size on the same workers takes at most: its windows, and what was ahead."""
    return SAFETY * (measurement.rung_wait_seconds + measurement.priming_seconds + measurement.max_seconds)


def expected_seconds(
    config: LoaderConfig, measurement: Measurement, records: Sequence[TrialRecord], probe: Probe
) -> float:
    """Return the seconds that a trial of ``config`` is expected to take, all in all."""
    own = [record for record in measured(records) if record.config.steady == config.steady]
    if own:
        return SAFETY * (overhead_seconds(own) + _window_seconds(own, measurement))
    alike = [r for r in measured(records) if r.config.num_workers == config.num_workers]
    base = overhead_seconds(alike or records) + (0.0 if alike else _more_workers_seconds(config, records))
    return SAFETY * max(base + measurement.max_seconds, _loading_seconds(config, measurement, records, probe))


def _more_workers_seconds(config: LoaderConfig, records: Sequence[TrialRecord]) -> float:
    """Return what starting more workers than trials have had in the median takes; ending them takes about as long."""
    seen = [r for r in measured(records) if r.steady and r.config.num_workers]
    if not seen:
        return 0.0
    each = plain.median(r.steady.startup_seconds / r.config.num_workers for r in seen if r.steady)
    usual = plain.median(r.config.num_workers for r in measured(records))
    return 2 * each * max(0.0, config.num_workers - usual)


def _window_seconds(own: Sequence[TrialRecord], measurement: Measurement) -> float:
    """Return the time for windows; a configuration whose single round outlasts the limit takes what it took."""
    taken = plain.median(r.steady.measured_seconds for r in own if r.steady)
    rounds = max((_round_seconds(r) for r in own), default=0.0)
    return measurement.max_seconds if rounds < measurement.window_seconds else max(taken, measurement.max_seconds)


def _round_seconds(record: TrialRecord) -> float:
    steady = record.steady
    if steady is None or not steady.batches_measured:
        return 0.0
    return max(1, record.config.num_workers) * steady.measured_seconds / steady.batches_measured


def _loading_seconds(
    config: LoaderConfig, measurement: Measurement, records: Sequence[TrialRecord], probe: Probe
) -> float:
    """Return the time for what no trial does without: first batches, priming and windows of whole rounds, the pause."""
    one_round = max(1, config.num_workers) * (config.batch_size or 1) * _seconds_per_sample(config, records, probe)
    priming = max(one_round, measurement.priming_seconds)
    windows = max(one_round, measurement.max_seconds)
    return one_round + priming + windows + (measurement.pause_seconds or 0.0)


def unseen_seconds(config: LoaderConfig, measurement: Measurement, probe: Probe) -> float:
    """Return what a trial of ``config`` takes by what the probe saw of a sample, whatever other trials took."""
    return _loading_seconds(config, measurement, (), probe)


def _seconds_per_sample(config: LoaderConfig, records: Sequence[TrialRecord], probe: Probe) -> float:
    """Return a careful guess: T over W, but not much faster than the fastest that was seen."""
    seen = [rate for r in measured(records) if r.steady and (rate := steady_rate(r.steady))]
    single = probe.seconds_per_sample
    floor = 0.5 / max(seen) if seen else 0.0
    return floor if single is None else max(single / max(1, config.num_workers), floor)
