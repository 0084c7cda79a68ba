"""The sentence that says why a configuration is pointed out, and the one that says why none is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtune.describe.config import DEFAULT_PREFETCH_FACTOR, LoaderConfig
from loadtune.judge.choose import Choice, judged_rate
from loadtune.judge.lack import Lack
from loadtune.record.results import Interval, MemoryLimits, TrialResult
from loadtune.units import format_bytes, format_estimate, format_rate, format_ratio

TELLING_EPOCH_LOSS = 0.9
"""An epoch slower than this share of the steady rate is mentioned."""


def label(config: LoaderConfig) -> str:
    """Return ``8 workers, batch 256``, with each further setting that is not torch's default."""
    return ", ".join(_parts(config).values())


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 trial`` or ``1,204 trials``: a count with its noun, whose plural takes an s unless it is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _parts(config: LoaderConfig) -> dict[str, str]:
    """Return the words for each setting that is worth a word."""
    own = config.batch_size is None
    parts = {
        "num_workers": _workers(config.num_workers),
        "batch_size": "batches of its own" if own else f"batch {config.batch_size}",
    }
    if config.pin_memory:
        parts["pin_memory"] = "pinned"
    if config.drop_last:
        parts["drop_last"] = "drop_last"
    if config.num_workers and config.prefetch_factor != DEFAULT_PREFETCH_FACTOR:
        parts["prefetch_factor"] = f"prefetch {config.prefetch_factor}"
    if config.persistent_workers:
        parts["persistent_workers"] = "workers kept"
    if not config.in_order:
        parts["in_order"] = "any order"
    if config.multiprocessing_context:
        parts["multiprocessing_context"] = config.multiprocessing_context
    return parts


def _workers(count: int) -> str:
    return counted(count, "worker")


def apart(config: LoaderConfig, other: LoaderConfig) -> str:
    """Return what sets ``config`` apart from ``other``: ``12 workers``, ``batch 512``, or several."""
    ours, theirs = _parts(config), _parts(other)
    differing = [text for name, text in ours.items() if theirs.get(name) != text]
    missing = {"pin_memory": "no pinning", "drop_last": "the last batch kept", "persistent_workers": "workers not kept"}
    differing += [text for name, text in missing.items() if name in theirs and name not in ours]
    return ", ".join(differing) or label(config)


def rate_text(row: TrialResult) -> str:
    """Return ``5,310 ± 60 samples/s``, with the rate over an epoch where that tells another story."""
    steady = row.samples_per_second
    if steady is None:
        return "not measured"
    text = format_estimate(steady, row.samples_per_second_low, row.samples_per_second_high)
    epoch = row.epoch_samples_per_second
    if epoch is not None and epoch < TELLING_EPOCH_LOSS * steady:
        text += f" ({format_rate(epoch)} over a whole epoch)"
    return text


def chosen_reason(choice: Choice) -> str:
    """Return why the chosen configuration is the one: its rate, the gain, and what was left for what."""
    rows = {row.config_id: row for row in choice.rows}
    if choice.chosen is None or choice.fastest is None:
        return ""
    chosen, fastest = rows[choice.chosen], rows[choice.fastest]
    first = f"{label(chosen.config)}: {rate_text(chosen)}{_gain(choice)}"
    if fastest.config_id != chosen.config_id:
        return f"{first}; {_no_faster(choice, chosen, fastest)}"
    return f"{first}; {_why_fastest(choice)}"


def _gain(choice: Choice) -> str:
    if choice.chosen == choice.baseline:
        return f", {baseline_name(choice)}"
    return f", {format_ratio(choice.gain.estimate)} {baseline_name(choice)}" if choice.gain else ""


def baseline_name(choice: Choice) -> str:
    """Return whose settings the baseline is: torch's own, or the user's."""
    row = next((row for row in choice.rows if row.config_id == choice.baseline), None)
    defaults = row is not None and row.config == LoaderConfig(batch_size=row.batch_size)
    return f"torch's defaults with batch {row.batch_size}" if row and defaults else "your current settings"


def _no_faster(choice: Choice, chosen: TrialResult, fastest: TrialResult) -> str:
    words = apart(fastest.config, chosen.config)
    verb = "are" if words.split(",", maxsplit=1)[0].endswith("workers") else "is"
    ahead = choice.behind_chosen
    share = math.expm1(ahead.log_ratio) if ahead else 0.0
    noise = "within noise" if ahead and ahead.log_ratio < ahead.upper(0.975) - ahead.log_ratio else "within the tie"
    text = f"{words} {verb} no faster ({100 * share:+.1f} %, {noise})"
    price = _price(chosen, fastest)
    take = "take" if verb == "are" else "takes"
    return f"{text} and {take} {price}" if price else text


def _price(chosen: TrialResult, fastest: TrialResult) -> str:
    if chosen.host_peak_bytes is not None and fastest.host_peak_bytes is not None:
        more = fastest.host_peak_bytes - chosen.host_peak_bytes
        if more >= 2**20:
            return f"{format_bytes(more)} more"
    more_workers = fastest.num_workers - chosen.num_workers
    if more_workers > 0:
        return f"{more_workers} more {'workers' if more_workers > 1 else 'worker'}"
    return ""


def _why_fastest(choice: Choice) -> str:
    configs = {row.config_id: row.config.steady for row in choice.rows}
    place = choice.tied.index(choice.chosen) if choice.chosen in choice.tied else 0
    # Rows that differ in drop_last alone are one loader at another setting of an epoch: each pair counts once.
    upto = {configs[key] for key in choice.tied[: place + 1]}
    dearer = len({configs[key] for key in choice.tied[place + 1 :]} - upto)
    if dearer == 1:
        return "the fastest; 1 other that costs more is no faster"
    if dearer:
        return f"the fastest; {dearer} others that cost more are no faster"
    return "the fastest, and none that costs less comes near enough"


def fastest_reason(choice: Choice) -> str:
    """Return what the fastest is beside the chosen one."""
    if choice.fastest == choice.chosen:
        return "the fastest is the one chosen"
    ahead = choice.behind_chosen
    share = math.expm1(ahead.log_ratio) if ahead else 0.0
    return f"the fastest by estimate, {100 * share:+.1f} % against the one chosen"


def baseline_reason(choice: Choice) -> str:
    """Return what the baseline is."""
    name = baseline_name(choice)
    return name if choice.chosen != choice.baseline else f"{name}, and the choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What would fit where nothing does."""

    message: str
    advice: str
    least_bytes: int | None
    """The lowest host peak of any configuration."""
    best_bytes: int | None
    """The host peak of the fastest."""


_ADVICE = {
    "memory": "try smaller batches and fewer workers, or give the run more memory",
    "unknown": "a peak that is limited could not be measured: sweep without that limit, and watch the memory otherwise",
    "time": "give it more time with --time-budget, or fewer values on the axes",
    "failed": "see failure_reason of each trial, and run the first of them alone with --batch-size and --num-workers",
}


def shortfall(missing: Lack, limits: MemoryLimits, max_batch_size: int | None = None) -> Shortfall:
    """Return why nothing is chosen, and what would fit where the limits are the cause."""
    ran = [row for row in missing.over if judged_rate(row) is not None]
    if not ran:
        return Shortfall(
            message=missing.message, advice=_ADVICE.get(missing.cause, ""), least_bytes=None, best_bytes=None
        )
    least = min(ran, key=lambda row: (row.host_peak_bytes or 0, row.gpu_peak_bytes or 0))
    best = max(ran, key=lambda row: judged_rate(row) or 0.0)
    asked = [
        f"{format_bytes(limit)} of {name}"
        for limit, name in ((limits.host_memory_bytes, "host memory"), (limits.gpu_memory_bytes, "device memory"))
        if limit is not None
    ]
    if max_batch_size is not None:
        asked.append(f"batch {max_batch_size}")
    message = (
        f"no configuration that was measured meets the limit{'s' if len(asked) > 1 else ''} of "
        f"{' and '.join(asked) or 'the sweep'}: the smallest of them, {label(least.config)}, needs {_need(least)}"
    )
    return Shortfall(
        message=message,
        advice=f"the fastest, {label(best.config)} at {rate_text(best)}, needs {_need(best)}: raise the limit to that, "
        "or try smaller batches and fewer workers",
        least_bytes=least.host_peak_bytes,
        best_bytes=best.host_peak_bytes,
    )


def _need(row: TrialResult) -> str:
    needs = [f"{format_bytes(row.host_peak_bytes)} of host memory"] if row.host_peak_bytes is not None else []
    if row.gpu_peak_bytes is not None:
        needs.append(f"{format_bytes(row.gpu_peak_bytes)} of device memory")
    return " and ".join(needs) or "an amount that was not measured"


def row_interval(row: TrialResult) -> Interval:
    """Return the steady rate of a measured row with its interval."""
    rate = row.samples_per_second or 0.0
    low, high = row.samples_per_second_low, row.samples_per_second_high
    return Interval(estimate=rate, low=rate if low is None else low, high=rate if high is None else high)
