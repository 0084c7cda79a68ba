"""What there is to say about a run, worded once for every output: terminal, Markdown, page."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from loadtune.describe.config import LoaderConfig
from loadtune.judge import page_cache
from loadtune.judge.epoch import epoch_is_telling
from loadtune.judge.gain import gain_words, is_known, is_told, unknown_words
from loadtune.judge.lack import lack
from loadtune.judge.memory import limited, needed_bytes
from loadtune.judge.reasons import AGAIN, counted, is_torchs_own
from loadtune.judge.step_findings import FED, wait_share
from loadtune.record.results import Environment, MemoryLimits, Pick, RunResult, Status, TrialResult
from loadtune.show.epochs import epoch_rate, epoch_time
from loadtune.show.leaders import higher_rated, measured_trials
from loadtune.show.words import config_words, plain
from loadtune.units import (
    UNKNOWN,
    format_bytes,
    format_count,
    format_cpus,
    format_estimate,
    format_seconds,
    format_share,
)

OUTCOMES: dict[Status, str] = {
    "ok": "measured",
    "failed": "failed",
    "hung": "hung",
    "refused": "refused",
    "interrupted": "not measured",
}


def standing(result: RunResult) -> Literal["none", "kept", "told", "unconfirmed", "guess"]:
    """Return how the pick stands: none, the baseline itself, told to be better, or a guess.

    The gain of a guess is within the noise; one beyond it is unconfirmed where fresh trials of both are too few.
    """
    if result.best is None:
        return "none"
    if _picked_baseline(result):
        return "kept"
    if result.gain is not None and not is_told(result.gain):
        return "guess"
    return "told" if result.gain is None or not _not_measured_again(result) else "unconfirmed"


def headline(result: RunResult) -> str:
    """Return the pick with its rate and interval, or that there is none."""
    if result.best is None:
        message = plain(lack(result.trials, result.plan, result.probe).message)
        return message[:1].upper() + message[1:]
    return f"{config_words(result.best.config)}: {pick_rate(result.best)}{again_words(result)}"


def again_words(result: RunResult) -> str:
    """Return that the pick was not measured again, or only once, to stand behind its rate; else nothing."""
    row = result.trial(result.best.config_id) if result.best is not None else None
    return "" if row is None or row.measured_again else f", {AGAIN[min(row.fresh_trials, 1)]}"


def pick_rate(pick: Pick) -> str:
    """Return ``3,032 ± 33 samples/s (95 %)``."""
    words = estimate_words(pick)
    return words if words.endswith(UNKNOWN) else f"{words} (95 %)"


def reason_sentence(pick: Pick) -> str:
    """Return why this configuration, beginning with a capital and ending with a full stop.

    A reason that begins with the configuration and its rate goes on behind them: the headline says those.
    """
    reason = plain(pick.reason)
    if reason.startswith(f"{config_words(pick.config)}: "):
        reason = reason.partition("; ")[2] or reason
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", ":")) or not reason else ".")


def baseline_words(config: LoaderConfig, *, is_given: bool) -> str:
    """Return how the baseline is called: torch's defaults, or the settings of the loader that was given."""
    whose = "torch's defaults" if is_torchs_own(config, is_given=is_given) else "your current settings"
    return f"{whose} ({config_words(config)})"


def gain_number(result: RunResult) -> str | None:
    """Return ``1.91 ± 0.05 ×``, ``at least 7.9 ×``, ``not known``, or None where there is nothing to compare."""
    return None if result.gain is None or _picked_baseline(result) else gain_words(result.gain)


def gain_sentence(result: RunResult) -> str | None:
    """Return the rate of the pick over the baseline's, with its interval and what it means."""
    if result.best is None or result.baseline is None:
        return None
    name = baseline_words(result.baseline.config, is_given=result.probe.baseline_is_given)
    if _picked_baseline(result):
        return _kept_sentence(result, name)
    number, gain = gain_number(result), result.gain
    if number is None or gain is None:
        return None
    over, there = over_an_epoch(result), _there_words(result, result.baseline)
    if not is_known(gain):
        return f"The gain{over} against {name} is {unknown_words(gain)}; {there}."
    lacking = _not_measured_again(result)
    whose = "both" if len(lacking) > 1 else f"the {''.join(lacking)}"
    first = f", not confirmed: too few fresh trials of {whose}" if lacking else ""
    sure = first if is_told(gain) else ": no change beyond the noise"
    return f"{number} the rate{over} of {name}{sure}; {there}."


def _kept_sentence(result: RunResult, name: str) -> str:
    """Return why the baseline is the pick."""
    if len({row.config.steady for row in measured_trials(result)}) == 1:
        return f"That is {name}: nothing else was measured."
    out = any(row.status == "ok" and row.within_limits is False for row in result.trials)
    return f"That is {name}: nothing measured{' within the limits' if out else ''} is told to be better."


def _there_words(result: RunResult, baseline: Pick) -> str:
    """Return the baseline's rate that the gain is over."""
    row = epoch_baseline(result)
    if row is None:
        return f"the steady rate there is {estimate_words(baseline)}"
    return f"the rate over an epoch there is {epoch_rate(row)}"


def epoch_baseline(result: RunResult) -> TrialResult | None:
    """Return the baseline's row where the gain is over an epoch: both it and the pick have such a rate."""
    rows = [result.trial(pick.config_id) for pick in (result.baseline, result.best) if pick is not None]
    known = [row for row in rows if row is not None and row.epoch_samples_per_second is not None]
    return known[0] if len(known) == 2 else None  # noqa: PLR2004 - both


def over_an_epoch(result: RunResult) -> str:
    """Return ``over an epoch`` behind a blank where that is what gains are of; nothing where N is not known."""
    return " over an epoch" if result.probe.dataset_samples is not None else ""


def _not_measured_again(result: RunResult) -> tuple[str, ...]:
    """Return which of pick and baseline have too few fresh trials to stand alone."""
    roles = {"pick": result.best, "baseline": result.baseline}
    rows = {name: result.trial(pick.config_id) for name, pick in roles.items() if pick is not None}
    return tuple(name for name, row in rows.items() if row is not None and not row.measured_again)


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
        return None  # the reason says it, as far as the noise lets it be said
    row = result.trial(fastest.config_id)
    needed = needed_bytes(row) if row is not None else fastest.host_peak_bytes
    memory = f" with {format_bytes(needed)} of host memory" if needed else ""
    name = "Fastest" if not higher_rated(result) else "Fastest of those measured again"
    return f"{name}: {config_words(fastest.config)}, {estimate_words(fastest)}{memory}."


def training_sentence(result: RunResult) -> str | None:
    """Return that another batch size changes the training too, where the pick's is not the baseline's."""
    if result.best is None or result.baseline is None:
        return None
    size, usual = result.best.config.batch_size, result.baseline.config.batch_size
    if size is None or usual is None or size == usual:
        return None
    if is_torchs_own(result.baseline.config, is_given=result.probe.baseline_is_given):
        return (
            f"The batch size is part of training, not of loading alone: where yours is not {size:,}, --batch-size with "
            "yours finds the best settings for it."
        )
    return (
        f"Batch {size:,} in place of your {usual:,} changes training, not loading alone: the learning rate has to be "
        f"looked at again. --batch-size {usual} finds the best settings for {usual:,}."
    )


def step_sentence(result: RunResult) -> str | None:
    """Return whether the pick keeps a step of a fixed time fed; None without a step."""
    row = result.trial(result.best.config_id) if result.best is not None else None
    seconds = result.plan.consumer.step_seconds
    share = wait_share(row, seconds) if row is not None else None
    if share is None:
        return None
    step = f"a step of {format_seconds(seconds)} for each batch"
    if share <= FED:
        return f"It keeps {step} fed: the step waits {format_share(share)} of the time, start-up left out."
    return f"It does not keep {step} fed: the step waits {format_share(share, 0)} of the time for batches."


def verdict_sentences(result: RunResult, *, with_epoch: bool = True) -> tuple[str, ...]:
    """Return what is said of the pick below its name, each a sentence; nothing where there is none.

    Without ``with_epoch`` its rate over an epoch is left out, where that stands elsewhere.
    """
    sentences = (
        reason_sentence(result.best) if result.best is not None else None,
        epoch_sentence(result) if with_epoch else None,
        start_sentence(result),
        gain_sentence(result),
        step_sentence(result),
        fastest_sentence(result),
        training_sentence(result),
    )
    return tuple(sentence for sentence in sentences if sentence)


def host_bytes(result: RunResult) -> int | None:
    """Return the host memory that the pick needs, in bytes."""
    row = result.trial(result.best.config_id) if result.best is not None else None
    if row is None:
        return result.best.host_peak_bytes if result.best is not None else None
    return needed_bytes(row)


def epoch_sentence(result: RunResult) -> str | None:
    """Return the pick's rate over a whole epoch, which it is compared by."""
    trial = result.trial(result.best.config_id) if result.best is not None else None
    if trial is None or trial.epoch_samples_per_second is None:
        return None
    took = f" ({epoch_time(trial)})" if trial.epoch_seconds is not None else ""
    return f"Over a whole epoch, start-up and tail included: {epoch_rate(trial)}{took}."


def start_sentence(result: RunResult) -> str | None:
    """Return how much of an epoch is the start of the pick's workers, and what would spare it, where it is telling."""
    trial = result.trial(result.best.config_id) if result.best is not None else None
    late = next((finding for finding in result.findings if finding.code == "LT025"), None)
    if trial is None or late is None or not trial.num_workers or not epoch_is_telling(trial):
        return None
    share = format_share(late.numbers["share"], 0)
    unknown = "" if any(row.persistent_workers for row in measured_trials(result)) else ", which was not measured,"
    return (
        f"Workers that start anew take {share} of an epoch; persistent_workers=True{unknown} spares that from the "
        f"second one on, and another configuration may be the best then ({late.code})."
    )


def limit_sentences(result: RunResult) -> tuple[str, ...]:
    """Return, for each memory, what the pick takes of what it may take."""
    best = result.best
    if best is None:
        return tuple(_unmet(result))
    pairs = (
        ("Host memory", host_bytes(result), result.limits.host_memory_bytes),
        ("Device memory", best.gpu_peak_bytes, result.limits.gpu_memory_bytes),
    )
    return tuple(_use_sentence(name, used, limit) for name, used, limit in pairs if used is not None)


def _use_sentence(name: str, used: int, limit: int | None) -> str:
    if limit is None:
        return f"{name}: {format_bytes(used)} needed."
    share = f"{format_share(used / limit, 0)} of the {format_bytes(limit)} allowed"
    return f"{name}: {format_bytes(used)} needed, {share}."


def _unmet(result: RunResult) -> list[str]:
    """Return what would fit where the limits are the cause: the least memory that is needed, beside the limit.

    A memory of which something measured needs no more than the limit is not what is short, and is left out.
    """
    over = lack(result.trials, result.plan, result.probe).over
    sentences = []
    for name, need, limit in limited(result.limits):
        known = [(size, place) for place, row in enumerate(over) if (size := need(row)) is not None]
        if not known or min(known)[0] <= limit:
            continue
        size, place = min(known)
        sentences.append(
            f"The least {name} needed was {format_bytes(size)}, with {config_words(over[place].config)}; "
            f"the limit is {format_bytes(limit)}."
        )
    return sentences


def cost_sentence(result: RunResult) -> str:
    """Return what the sweep took, and of how many configurations it has a number, or why it has none."""
    took = f"{counted(result.cost.trials, 'trial')} in {format_seconds(result.cost.seconds)}"
    statuses = Counter(OUTCOMES[trial.status] for trial in result.trials)
    parts = [f"{format_count(statuses[name])} {name}" for name in OUTCOMES.values() if statuses[name]]
    of_them = f": {', '.join(parts)}" if len(parts) > 1 or not statuses[OUTCOMES["ok"]] else ""
    return f"{took}; {counted(len(result.trials), 'configuration')}{_pairs_words(result)}{of_them}."


def _pairs_words(result: RunResult) -> str:
    """Return how many rows differ from another in ``drop_last`` alone, as trials are fewer than rows for that."""
    loaders = Counter(row.config.steady for row in result.trials)
    paired = sum(count for count in loaders.values() if count > 1)
    if not paired:
        return ""
    them = "" if paired == len(result.trials) else f"{format_count(paired)} of them "
    return f" ({them}in pairs that share their trials, with and without drop_last)"


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
    device = f", {plain(probe.accelerator)}" if probe.accelerator else ""
    return f"{name}{samples} · {cores_words(machine)}, {memory_words(machine, result.limits)}{device}"


def cores_words(machine: Environment) -> str:
    """Return ``2 usable cores``."""
    return f"{format_cpus(machine.usable_cpus)} usable core{'' if machine.usable_cpus == 1 else 's'}"


def memory_words(machine: Environment, limits: MemoryLimits) -> str:
    """Return the limit of host memory in force, and what the machine has where that is more."""
    has, limit = machine.host_memory_limit_bytes, limits.host_memory_bytes
    if limit is None or limit >= has:
        return f"{format_bytes(has)} of memory"
    return f"{format_bytes(limit)} of memory allowed, of {format_bytes(has)}"
