"""The sentence that says why a configuration is pointed out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from loadtune.describe.config import ARTICLE_BATCH_SIZE, DEFAULT_PREFETCH_FACTOR, LoaderConfig
from loadtune.judge.choose import Choice, is_open
from loadtune.judge.epoch import epoch_is_telling
from loadtune.judge.evidence import MIN_FRESH
from loadtune.judge.gain import gain_words, is_known, is_told, unknown_words
from loadtune.judge.memory import needed_bytes
from loadtune.judge.statistics import Difference
from loadtune.record.results import Finding, Interval, TrialResult
from loadtune.units import format_bytes, format_estimate, format_rate, format_ratio

AGAIN = ("not measured again", "measured again only once")
"""Of a row with fewer fresh trials than stand alone, by their number."""
MOST_PERCENT = 3.0
"""A ratio above this is given as a multiple."""


def label(config: LoaderConfig) -> str:
    """Return ``8 workers, batch 256``, with each further setting that is not torch's default."""
    return ", ".join(_parts(config).values())


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 trial`` or ``1,204 trials``: a count with its noun, whose plural takes an s unless it is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _parts(config: LoaderConfig) -> dict[str, str]:
    """Return the words for each setting that is worth a word."""
    parts = {
        "num_workers": _workers(config.num_workers),
        "batch_size": _batches(config),
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


def _batches(config: LoaderConfig) -> str:
    return "batches of its own" if config.batch_size is None else f"batch {config.batch_size}"


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
    if epoch_is_telling(row):
        text += f" ({format_rate(row.epoch_samples_per_second)} over a whole epoch)"
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
    return f"{first}; {_why_fastest(choice, chosen)}"


def with_warnings(reason: str, found: Sequence[Finding]) -> str:
    """Return a reason with the codes of the warnings on the run behind it."""
    codes = [finding.code for finding in found if finding.severity != "info"]
    return f"{reason}; see {', '.join(codes)}" if reason and codes else reason


def _gain(choice: Choice) -> str:
    name = baseline_name(choice)
    if choice.chosen == choice.baseline:
        return f", {name}"
    if choice.gain is None:
        return ""
    if not is_known(choice.gain):
        return f", the gain over {name} is {unknown_words(choice.gain)}"
    change = "" if is_told(choice.gain) else ", no change beyond the noise"
    return f", {gain_words(choice.gain)} {name}{change}"


def baseline_name(choice: Choice) -> str:
    """Return whose settings the baseline is: torch's own, or the user's."""
    row = next((row for row in choice.rows if row.config_id == choice.baseline), None)
    if row is None or not is_torchs_own(row.config, is_given=choice.baseline_is_given):
        return "your current settings"
    return f"torch's defaults with {_batches(row.config)}"


def is_torchs_own(config: LoaderConfig, *, is_given: bool) -> bool:
    """Return whether a baseline is torch's defaults, and not the settings of a loader of the user's.

    torch's defaults have the article's batch size here, or none where the user's batch sampler forms the batches. A
    loader that was given is the user's own even where its settings are these.
    """
    size = None if config.batch_size is None else ARTICLE_BATCH_SIZE
    return not is_given and config == LoaderConfig(batch_size=size)


def _no_faster(choice: Choice, chosen: TrialResult, fastest: TrialResult) -> str:
    words = apart(fastest.config, chosen.config)
    several = words.split(",", maxsplit=1)[0].endswith("workers")
    ahead = choice.behind_chosen
    price = _price(chosen, fastest)
    if ahead is not None and not _is_no_faster(ahead, choice.tie):
        verb, take = ("are", "take") if several else ("is", "takes")
        what = (
            "not told apart at this noise" if ahead.ratio().low <= 1 else "faster by what may be no more than the tie"
        )
        text = f"{words} {verb} {what} ({difference_words(ahead)})"
    else:
        share = math.expm1(ahead.log_ratio) if ahead else 0.0
        noise = "within noise" if ahead and ahead.log_ratio < ahead.upper(0.975) - ahead.log_ratio else "within the tie"
        verb, take = ("are", "take") if several else ("is", "takes")
        text = f"{words} {verb} no faster ({100 * share:+.1f} %, {noise})"
    text += f" and {take} {price}" if price else ""
    higher = {key: ahead for key, ahead in _not_told_apart(choice).items() if key != fastest.config.steady}
    seen = _seen_faster(choice, chosen, higher)
    return f"{text}; {seen}" if seen else text


def difference_words(ahead: Difference) -> str:
    """Return ``+3.1 %, −10 % to +18 %``: a difference with its 95 % interval."""
    ends = ahead.ratio()
    middle = f"{100 * (ends.estimate - 1):+.1f} %" if ends.estimate < MOST_PERCENT else _percent(ends.estimate)
    return f"{middle}, {_percent(ends.low)} to {_percent(ends.high)}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %" if ratio < MOST_PERCENT else format_ratio(ratio)


def _is_no_faster(ahead: Difference, tie: float) -> bool:
    """Return whether it is told that one is not faster than another by more than the tie."""
    return ahead.upper(0.975) <= math.log1p(tie)


def _not_told_apart(choice: Choice) -> dict[LoaderConfig, Difference]:
    """Return what may be faster than the chosen one by more than the tie, as far as the evidence goes."""
    return {key: ahead for key, ahead in others(choice).items() if not _is_no_faster(ahead, choice.tie)}


def _not_told_slower(choice: Choice) -> int:
    """Return how many others are not told to be slower than the chosen one by more than the tie."""
    return sum(is_open(ahead.ratio(), choice.tie) for ahead in others(choice).values())


def others(choice: Choice) -> dict[LoaderConfig, Difference]:
    """Return how far every other loader within the limits is ahead of the chosen one.

    Rows that differ in ``drop_last`` alone are one loader at another setting of an epoch: each pair counts once, by the
    one further ahead.
    """
    configs = {row.config_id: row.config.steady for row in choice.rows}
    found: dict[LoaderConfig, Difference] = {}
    for key, ahead in sorted(choice.ahead_of_chosen.items(), key=lambda item: -item[1].log_ratio):
        if configs[key] != configs.get(choice.chosen or ""):
            found.setdefault(configs[key], ahead)
    return found


def _seen_faster(choice: Choice, chosen: TrialResult, others: Mapping[LoaderConfig, Difference]) -> str:
    """Return what was seen faster than the chosen one and is not told apart; empty where nothing was."""
    higher = {config: ahead for config, ahead in others.items() if ahead.log_ratio > 0}
    if not higher:
        return ""
    config, ahead = max(higher.items(), key=lambda item: item[1].log_ratio)
    is_told = ahead.ratio().low > 1 + choice.tie
    if is_told and all(row.config_id in choice.unasked for row in choice.rows if row.config.steady == config):
        return f"faster, but not asked for: {apart(config, chosen.config)} ({difference_words(ahead)})"
    fresh = max((row.fresh_trials for row in choice.rows if row.config.steady == config), default=0)
    again = f", {AGAIN[fresh]}" if choice.verified and fresh < MIN_FRESH else ""
    more = f" and {_more_words(higher, config, chosen)}" if len(higher) > 1 else ""
    doubt = "the best of so many rows may do by chance" if is_told else "this noise does not tell from chance"
    return f"{apart(config, chosen.config)}{more} looked faster ({difference_words(ahead)}{again}), which {doubt}"


def _more_words(higher: Mapping[LoaderConfig, Difference], first: LoaderConfig, chosen: TrialResult) -> str:
    """Return the one other that was seen faster by its name, or how many there are."""
    others = [config for config in higher if config != first]
    return apart(others[0], chosen.config) if len(others) == 1 else counted(len(others), "other")


def _price(chosen: TrialResult, fastest: TrialResult) -> str:
    ours, theirs = needed_bytes(chosen), needed_bytes(fastest)
    if ours is not None and theirs is not None:
        more = theirs - ours
        if more >= 2**20:
            return f"{format_bytes(more)} more"
    more_workers = fastest.num_workers - chosen.num_workers
    if more_workers > 0:
        return f"{more_workers} more {'workers' if more_workers > 1 else 'worker'}"
    return ""


def _why_fastest(choice: Choice, chosen: TrialResult) -> str:
    if not others(choice):
        return "nothing else that can be chosen was measured"
    rivals = _not_told_apart(choice)
    seen = _seen_faster(choice, chosen, rivals)
    if seen:
        return seen
    fastest = f"the fastest{_over_an_epoch(choice, chosen)}"
    if rivals:
        count = _not_told_slower(choice)
        verb = "is" if count == 1 else "are"
        return f"{fastest} by estimate; {counted(count, 'other')} {verb} not told apart from it at this noise"
    configs = {row.config_id: row.config.steady for row in choice.rows}
    place = choice.tied.index(choice.chosen) if choice.chosen in choice.tied else 0
    # Rows that differ in drop_last alone are one loader at another setting of an epoch: each pair counts once.
    upto = {configs[key] for key in choice.tied[: place + 1]}
    dearer = len({configs[key] for key in choice.tied[place + 1 :]} - upto)
    if dearer == 1:
        return f"{fastest}; 1 other that costs more is no faster"
    if dearer:
        return f"{fastest}; {dearer} others that cost more are no faster"
    return f"{fastest}, and none that costs less comes near enough"


def _over_an_epoch(choice: Choice, chosen: TrialResult) -> str:
    """Return that a whole epoch is meant, where the steady rate of another is higher."""
    if chosen.epoch_samples_per_second is None:
        return ""
    higher = any(
        row.within_limits and (row.samples_per_second or 0.0) > (chosen.samples_per_second or 0.0)
        for row in choice.rows
    )
    return " over a whole epoch" if higher else ""


def none_faster(choice: Choice) -> bool:
    """Return whether it is told of every other that it is not faster than the chosen one by more than the tie."""
    return choice.chosen is not None and not _not_told_apart(choice)


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


def row_interval(row: TrialResult) -> Interval:
    """Return the steady rate of a measured row with its interval."""
    rate = row.samples_per_second or 0.0
    low, high = row.samples_per_second_low, row.samples_per_second_high
    return Interval(estimate=rate, low=rate if low is None else low, high=rate if high is None else high)
