"""What there is to say about a run, worded once for every output: terminal, Markdown, page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtune.describe.config import LoaderConfig
from loadtune.judge import page_cache
from loadtune.judge.lack import lack
from loadtune.judge.reasons import TELLING_EPOCH_LOSS, counted
from loadtune.judge.throttle import is_telling
from loadtune.judge.unique import is_repeating
from loadtune.record.results import Pick, RunResult, TrialResult
from loadtune.show.words import config_words, plain, worker_words
from loadtune.units import (
    format_bytes,
    format_count,
    format_cpus,
    format_decimal,
    format_estimate,
    format_rate,
    format_seconds,
    format_share,
)

LEADERS = 8
"""Rows of the table of leaders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One of the document's three models for one configuration, beside what was seen."""

    name: str
    """The model: ``batches N/B``, ``time KBT``, ``bytes KBM``."""
    stated: str
    """What the model gives, with its figures."""
    seen: str
    """What was measured."""


def headline(result: RunResult) -> str:
    """Return the pick with its rate and interval, or that there is none."""
    if result.best is None:
        message = plain(lack(result.trials, result.plan, result.probe).message)
        return message[:1].upper() + message[1:]
    return f"{config_words(result.best.config)}: {pick_rate(result.best)}"


def pick_rate(pick: Pick) -> str:
    """Return ``3,032 ± 33 samples/s (95 %)``."""
    rate = pick.samples_per_second
    return f"{format_estimate(rate.estimate, rate.low, rate.high)} (95 %)"


def trial_rate(trial: TrialResult, unit: str = "") -> str:
    """Return ``3,032 ± 33``, or a dash where nothing was measured."""
    if trial.samples_per_second is None:
        return "–"
    return format_estimate(
        trial.samples_per_second, trial.samples_per_second_low, trial.samples_per_second_high, unit=unit
    )


def reason_sentence(pick: Pick) -> str:
    """Return why this configuration, beginning with a capital and ending with a full stop.

    A reason that begins with the configuration and its rate goes on behind them: the headline says those.
    """
    reason = plain(pick.reason)
    if reason.startswith(f"{config_words(pick.config)}: "):
        reason = reason.partition("; ")[2] or reason
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", ":")) or not reason else ".")


def baseline_words(config: LoaderConfig) -> str:
    """Return how the baseline is called: torch's defaults, or the settings of the loader that was given."""
    whose = "torch's defaults" if config == LoaderConfig(batch_size=64) else "your current settings"
    return f"{whose} ({config_words(config)})"


def gain_number(result: RunResult) -> str | None:
    """Return ``1.91 ± 0.05 ×``, or None where there is nothing to compare."""
    gain = result.gain
    if gain is None or _picked_baseline(result):
        return None
    return format_estimate(gain.estimate, gain.low, gain.high, unit="×", digits=1)


def gain_sentence(result: RunResult) -> str | None:
    """Return the rate of the pick over the baseline's, with its interval and what it means."""
    if result.best is None or result.baseline is None:
        return None
    name = baseline_words(result.baseline.config)
    if _picked_baseline(result):
        return f"That is {name}: nothing measured was better."
    number = gain_number(result)
    if number is None or result.gain is None:
        return None
    over = " over an epoch" if result.probe.dataset_samples is not None else ""
    if result.gain.low <= 1 <= result.gain.high:
        return f"{number} the rate{over} of {name}: no change beyond the noise."
    return f"{number} the rate{over} of {name}; the steady rate there is {estimate_words(result.baseline)}."


def estimate_words(pick: Pick) -> str:
    """Return ``1,583 ± 17 samples/s``."""
    rate = pick.samples_per_second
    return format_estimate(rate.estimate, rate.low, rate.high)


def _picked_baseline(result: RunResult) -> bool:
    best, baseline = result.best, result.baseline
    return best is not None and baseline is not None and best.config_id == baseline.config_id


def fastest_sentence(result: RunResult) -> str | None:
    """Return the fastest configuration beside the pick, or that the pick is the fastest."""
    fastest, best = result.fastest, result.best
    if fastest is None:
        return None
    if best is not None and best.config_id == fastest.config_id:
        return "It is also the fastest within the limits."
    memory = f" with {format_bytes(fastest.host_peak_bytes)} of host memory" if fastest.host_peak_bytes else ""
    return f"Fastest: {config_words(fastest.config)}, {estimate_words(fastest)}{memory}."


def epoch_sentence(result: RunResult) -> str | None:
    """Return the pick's rate over a whole epoch where that is telling: well below the steady rate."""
    trial = result.trial(result.best.config_id) if result.best is not None else None
    if trial is None or trial.samples_per_second is None or trial.epoch_samples_per_second is None:
        return None
    if trial.epoch_samples_per_second >= TELLING_EPOCH_LOSS * trial.samples_per_second:
        return None
    took = f" ({format_seconds(trial.epoch_seconds)})" if trial.epoch_seconds is not None else ""
    return f"Over a whole epoch, start-up and tail included: {format_rate(trial.epoch_samples_per_second)}{took}."


def limit_sentences(result: RunResult) -> tuple[str, ...]:
    """Return, for each memory, what the pick takes of what it may take."""
    best = result.best
    if best is None:
        return tuple(_unmet(result))
    pairs = (
        ("Host memory", best.host_peak_bytes, result.limits.host_memory_bytes),
        ("Device memory", best.gpu_peak_bytes, result.limits.gpu_memory_bytes),
    )
    return tuple(_use_sentence(name, used, limit) for name, used, limit in pairs if used is not None)


def _use_sentence(name: str, used: int, limit: int | None) -> str:
    if limit is None:
        return f"{name}: {format_bytes(used)} at the peak."
    share = f"{format_share(used / limit, 0)} of the {format_bytes(limit)} allowed"
    return f"{name}: {format_bytes(used)} at the peak, {share}."


def _unmet(result: RunResult) -> list[str]:
    """Return what would fit where the limits are the cause: the least memory that was measured, beside the limit."""
    over = lack(result.trials, result.plan, result.probe).over
    pairs = (
        ("host", "host_peak_bytes", result.limits.host_memory_bytes),
        ("device", "gpu_peak_bytes", result.limits.gpu_memory_bytes),
    )
    sentences = []
    for name, column, limit in pairs:
        measured = [trial for trial in over if getattr(trial, column) is not None]
        if limit is None or not measured:
            continue
        least = min(measured, key=lambda trial: int(getattr(trial, column)))
        took = format_bytes(getattr(least, column))
        sentences.append(
            f"The least {name} memory measured was {took}, with {config_words(least.config)}; "
            f"the limit is {format_bytes(limit)}."
        )
    return sentences


def cost_sentence(result: RunResult) -> str:
    """Return what the sweep took, and how many configurations gave no number."""
    took = f"{counted(result.cost.trials, 'trial')} in {format_seconds(result.cost.seconds)}"
    total, failed = len(result.trials), sum(trial.status != "ok" for trial in result.trials)
    without = f", {format_count(failed)} of them without a number" if failed else ""
    return f"{took}; {counted(total, 'configuration')}{without}."


def cache_words(result: RunResult) -> str:
    """Return what was done to the page cache, and for cold files what came of it."""
    told = next((finding.message for finding in result.findings if finding.code == page_cache.CODE), None)
    if told is None or plain(told).startswith(result.plan.cache):
        return plain(told or result.plan.cache)
    return f"{result.plan.cache}: {plain(told)}"


def workload_sentence(result: RunResult) -> str:
    """Return what was loaded, and on what machine."""
    probe, machine = result.probe, result.environment
    name = plain(probe.name or result.target)
    samples = f", {counted(probe.dataset_samples, 'sample')}" if probe.dataset_samples is not None else ""
    cores = f"{format_cpus(machine.usable_cpus)} usable core{'' if machine.usable_cpus == 1 else 's'}"
    device = f", {plain(probe.accelerator)}" if probe.accelerator else ""
    return f"{name}{samples} · {cores}, {format_bytes(machine.host_memory_limit_bytes)} of memory{device}"


def leaders(result: RunResult, count: int = LEADERS) -> tuple[TrialResult, ...]:
    """Return the rows worth comparing: the pick, then by rate; the fastest and the baseline are always among them.

    Rows that differ in ``drop_last`` alone share their steady rate: one of them stands for both.
    """
    named = _named(result)
    picked = result.best.config_id if result.best is not None else None
    rows = sorted(standing_trials(result), key=lambda row: (row.config_id != picked, -(row.samples_per_second or 0.0)))
    within = [row for row in rows if row.within_limits is not False or row.config_id in named]
    kept = {row.config_id for row in (within or rows)[:count]} | named
    return tuple(row for row in rows if row.config_id in kept)


def earlier_sentence(result: RunResult) -> str | None:
    """Return what to know of rates that look higher than the pick's and were not measured again, if there are any."""
    best = result.best
    if best is None or not any(row.measured_again for row in result.trials):
        return None
    higher = [
        row
        for row in measured_trials(result)
        if not row.measured_again and (row.samples_per_second or 0.0) > best.samples_per_second.estimate
    ]
    if not higher:
        return None
    return (
        f"{_measured_again(result)} measured again at the end. Other rates are from earlier in the run, where one may "
        "look higher: what decides are comparisons within the same blocks of trials."
    )


def _measured_again(result: RunResult) -> str:
    """Return ``The pick and the baseline were``: the rows pointed out that were measured again."""
    again = {row.config_id for row in result.trials if row.measured_again}
    roles = {"pick": result.best, "fastest": result.fastest, "baseline": result.baseline}
    names = [f"the {role}" for role, pick in roles.items() if pick is not None and pick.config_id in again]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "some rows"
    return f"{listed[:1].upper()}{listed[1:]} {'was' if len(names) == 1 else 'were'}"


def measured_trials(result: RunResult) -> tuple[TrialResult, ...]:
    """Return the rows that have a rate."""
    return tuple(trial for trial in result.trials if trial.status == "ok" and trial.samples_per_second is not None)


def standing_trials(result: RunResult) -> tuple[TrialResult, ...]:
    """Return one measured row for each pair that differs in ``drop_last`` alone: they share rate and memory.

    The row that is pointed out stands for its pair, else that with the faster epoch, else that which drops nothing.
    """
    named = _named(result)

    def rank(row: TrialResult) -> tuple[bool, int, bool]:
        # Epochs that differ by less than a tie count as equal.
        rate = row.epoch_samples_per_second
        steps = round(math.log(rate) / result.plan.tie) if rate and math.isfinite(rate) else 0
        return (row.config_id not in named, -steps, row.drop_last)

    standing: dict[LoaderConfig, TrialResult] = {}
    for trial in sorted(measured_trials(result), key=rank):
        standing.setdefault(trial.config.steady, trial)
    return tuple(trial for trial in result.trials if standing.get(trial.config.steady) is trial)


def _named(result: RunResult) -> set[str]:
    return {pick.config_id for pick in (result.best, result.fastest, result.baseline) if pick is not None}


def marks(result: RunResult, trial: TrialResult) -> tuple[str, ...]:
    """Return what a row is: ``pick``, ``fastest``, ``baseline``, ``tied``, or what is the matter with it."""
    picks = (("pick", result.best), ("fastest", result.fastest), ("baseline", result.baseline))
    names = [name for name, pick in picks if pick is not None and pick.config_id == trial.config_id]
    if trial.tied_with_best and "pick" not in names:
        names.append("tied")
    if trial.within_limits is False:
        names.append("over the limit")
    if is_telling(trial.throttled_share):
        names.append("throttled")
    if is_repeating(trial.unique_share):
        names.append("duplicates")
    return tuple(names)


def document_rows(result: RunResult, trial: TrialResult) -> tuple[ModelRow, ...]:
    """Return the document's N/B, KBT and KBM for one configuration, with T and M measured, beside what was seen."""
    if trial.batch_size is None or trial.batches_per_epoch is None:
        return ()
    rows = (_batches_row(result, trial), _time_row(result, trial), _bytes_row(result, trial))
    return tuple(row for row in rows if row is not None)


def _batches_row(result: RunResult, trial: TrialResult) -> ModelRow | None:
    samples, batch = result.probe.dataset_samples, trial.batch_size
    if samples is None or batch is None or trial.batches_per_epoch is None:
        return None
    batches = counted(trial.batches_per_epoch, "batch", "batches")
    last = samples % batch
    if last == 0:
        seen = f"{batches}, {'a full one' if trial.batches_per_epoch == 1 else 'all of them full'}"
    elif trial.drop_last:
        seen = f"{batches}; {counted(last, 'sample')} {'is' if last == 1 else 'are'} left out"
    elif trial.batches_per_epoch == 1:
        seen = f"{batches}, of {counted(last, 'sample')}"
    else:
        seen = f"{batches}, the last of {counted(last, 'sample')}"
    return ModelRow(
        name="batches N/B",
        stated=f"{format_count(samples)} / {format_count(batch)} = {format_decimal(samples / batch, 1 if last else 0)}",
        seen=seen,
    )


def _time_row(result: RunResult, trial: TrialResult) -> ModelRow | None:
    if trial.kbt_epoch_seconds is None:
        return None
    seen = "no epoch was measured"
    if trial.epoch_seconds:
        how = "an epoch took" if trial.epoch_was_run else "an epoch takes"
        took = f"{how} {format_seconds(trial.epoch_seconds)}"
        if trial.num_workers:
            efficiency = trial.kbt_epoch_seconds / (trial.num_workers * trial.epoch_seconds)
            seen = f"{took}: {worker_words(trial.num_workers)} at {format_share(efficiency, 0)} of KBT/W"
        elif trial.kbt_epoch_seconds:
            share = format_share(trial.epoch_seconds / trial.kbt_epoch_seconds, 0)
            seen = f"{took} in the main process, {share} of KBT"
        else:
            seen = f"{took} in the main process"
    product = _product(trial, format_seconds(result.probe.seconds_per_sample))
    return ModelRow(
        name="time KBT",
        stated=f"{product} = {format_seconds(trial.kbt_epoch_seconds)} of work in series",
        seen=seen,
    )


def _bytes_row(result: RunResult, trial: TrialResult) -> ModelRow | None:
    if trial.kbm_epoch_bytes is None:
        return None
    seen = f"{format_bytes(trial.host_peak_bytes)} in use at the peak"
    if trial.bytes_per_batch is not None:
        ahead = trial.config.batches_in_flight
        verb = "is" if ahead == 1 else "are"
        seen += f"; a batch is {format_bytes(trial.bytes_per_batch)}, {format_count(ahead)} {verb} loaded ahead"
    product = _product(trial, format_bytes(result.probe.bytes_per_sample))
    return ModelRow(
        name="bytes KBM",
        stated=f"{product} = {format_bytes(trial.kbm_epoch_bytes)} pass through in an epoch",
        seen=seen,
    )


def _product(trial: TrialResult, each: str) -> str:
    return f"{format_count(trial.batches_per_epoch)} × {format_count(trial.batch_size)} × {each}"
