"""What a noisy sweep says: table, gain and sentence agree, nothing is claimed that the evidence does not tell."""

# ruff: noqa: S311 - simulated noise is no secret
from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from scripted_machine import MIB, Machine, a_probe, a_record

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Search, SweepPlan
from loadtune.judge.choose import Choice, choose, judged_rate
from loadtune.judge.contest import contest
from loadtune.judge.gain import gain_words, is_known, is_told, range_words, unknown_words
from loadtune.judge.lean import need_bytes
from loadtune.judge.reasons import chosen_reason
from loadtune.judge.step_findings import wait_share
from loadtune.judge.strategy import next_step
from loadtune.judge.summary import summarise
from loadtune.record.results import EpochMeasurement, Interval, MemoryLimits, TrialRecord

BASE = LoaderConfig(batch_size=64)
GRID = tuple(LoaderConfig(batch_size=size, num_workers=count) for count in (0, 1, 2) for size in (64, 128))


def noisy_sweep(
    source: random.Random, *, trial_sd: float, block_sd: float, rate: Callable[[LoaderConfig], float]
) -> list[TrialRecord]:
    """A screen of six, three blocks of the best three by then and the baseline, three of the best and the baseline."""
    records: list[TrialRecord] = []

    def block(number: int, configs: list[LoaderConfig], phase: str) -> None:
        mood = source.gauss(0, block_sd)
        for config in configs:
            level = rate(config) * math.exp(mood + source.gauss(0, trial_sd))
            windows = [level * math.exp(source.gauss(0, 0.05)) for _ in range(2)]
            order = len(records)
            records.append(a_record(config, windows, order=order, block=number, phase=phase))  # type: ignore[arg-type]

    def leaders(count: int) -> list[LoaderConfig]:
        game = contest(summarise(records, GRID, a_probe()), records, a_probe())
        by_id = {config.config_id: config for config in GRID}
        best = sorted(game.levels, key=lambda key: -game.levels[key])[:count]
        return list(dict.fromkeys([*(by_id[key] for key in best), BASE]))

    block(0, list(GRID), "screen")
    for number in (1, 2, 3):
        block(number, leaders(3), "race")
    again = leaders(1)
    for number in (4, 5, 6):
        block(number, again, "verify")
    return records


def chosen_of(records: list[TrialRecord], configs: tuple[LoaderConfig, ...] = GRID, **probe: object) -> Choice:
    seen = a_probe(**probe)
    return choose(summarise(records, configs, seen), records, limits=MemoryLimits(), tie=0.02, probe=seen)


def contradictions(choice: Choice) -> list[str]:
    """What the sentence and the gain say against the table."""
    rows = {row.config_id: row for row in choice.rows}
    found = []
    assert choice.chosen is not None
    assert choice.fastest is not None
    assert choice.baseline is not None
    assert choice.gain is not None
    best, baseline = judged_rate(rows[choice.chosen]), judged_rate(rows[choice.baseline])
    assert best
    assert baseline
    if not math.isclose(choice.gain.estimate, best / baseline, rel_tol=1e-9):
        found.append("the gain is not the ratio of the rates")
    reason = chosen_reason(choice)
    higher = [row for row in choice.rows if (judged_rate(row) or 0.0) > best * (1 + 1e-9)]
    if higher and re.search(r"; the fastest\b", reason):
        found.append("called the fastest beside a row that is faster")
    if higher and not re.search(r"looked faster|no faster|not told apart", reason):
        found.append("a faster row is passed over in silence")
    if "no faster" in reason and "others that cost more are no faster" not in reason:
        ahead = choice.behind_chosen
        if ahead is not None and ahead.upper(0.975) > math.log1p(0.02) + 1e-9 and choice.fastest != choice.chosen:
            found.append("called no faster where the noise does not tell")
    if not is_known(choice.gain) and "not known at this noise" not in reason and choice.chosen != choice.baseline:
        found.append("an unknown gain is given")
    return found


def test_three_hundred_noisy_sweeps_contradict_themselves_nowhere() -> None:
    """In 300 sweeps of equal and unequal loaders on machines of any noise, sentence, gain and table agree.

    Where all are equal a gain is claimed in at most 5 % of them.
    """
    source, claims, equal, said = random.Random(17), 0, 0, []
    for number in range(300):
        trial_sd, block_sd = ((0.02, 0.05), (0.06, 0.1), (0.15, 0.2), (0.3, 0.3))[number % 4]
        same = number % 2 == 0 or number % 5 == 0
        rate = (lambda _: 1000.0) if same else (lambda config: 1000.0 * (1 + config.num_workers / 10))
        choice = chosen_of(noisy_sweep(source, trial_sd=trial_sd, block_sd=block_sd, rate=rate))
        said += contradictions(choice)
        equal += same
        claims += same and choice.gain is not None and choice.gain.low > 1
    assert said == []
    assert equal >= 150
    assert claims <= 0.05 * equal


def test_a_phase_in_which_the_machine_is_slow_moves_no_ratio() -> None:
    """Where the whole verification falls into a phase at half the speed, rows seen only before stay comparable."""
    rates = {0: 1000.0, 1: 1500.0, 2: 2000.0}
    records: list[TrialRecord] = []
    for block, (phase, speed, counts) in enumerate(
        [("screen", 1.0, (0, 1, 2)), *[("race", 1.0, (0, 1, 2))] * 2, *[("verify", 0.5, (0, 2))] * 4]
    ):
        for count in counts[:: 1 if block % 2 else -1]:
            wobble = 1 + 0.004 * ((block + count) % 3 - 1)
            config = LoaderConfig(batch_size=64, num_workers=count)
            windows = [rates[count] * speed * wobble] * 2
            records.append(a_record(config, windows, order=len(records), block=block, phase=phase))  # type: ignore[arg-type]
    configs = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in rates)
    choice = chosen_of(records, configs)
    by_id = {row.config_id: row.samples_per_second or 0.0 for row in choice.rows}
    assert (choice.chosen, choice.verified) == ("b64-w2", True)
    assert by_id["b64-w2"] / by_id["b64-w1"] == pytest.approx(2000 / 1500, rel=0.05)
    assert by_id["b64-w2"] / by_id["b64-w0"] == pytest.approx(2.0, rel=0.03)
    assert contradictions(choice) == []


def test_one_fresh_trial_does_not_stand_alone() -> None:
    """A single fresh trial that was half as fast is one trial of four, and the choice is not called verified."""
    records = [
        a_record(LoaderConfig(batch_size=64, num_workers=count), [rate] * 2, order=3 * block + count, block=block)
        for block in range(3)
        for count, rate in ((0, 1000.0 + block), (2, 2000.0 - block))
    ]
    fresh = a_record(LoaderConfig(batch_size=64, num_workers=2), [1000.0] * 2, order=20, block=5, phase="verify")
    choice = chosen_of([*records, fresh], (BASE, LoaderConfig(batch_size=64, num_workers=2)))
    row = next(row for row in choice.rows if row.config_id == "b64-w2")
    assert (row.repeats, row.measured_again, choice.verified) == (4, False, False)
    assert 1500 < (row.samples_per_second or 0) < 2000


def test_ties_under_noise_are_not_called_no_faster() -> None:
    """Two loaders that the noise does not tell apart are called that, with the interval of their difference."""
    source = random.Random(3)
    records = [
        a_record(config, [rate * math.exp(source.gauss(0, 0.15))] * 2, order=9 * block + at, block=block, phase="race")
        for block in range(4)
        for at, (config, rate) in enumerate(((BASE, 1000.0), (GRID[2], 2000.0), (GRID[4], 2040.0)))
    ]
    choice = chosen_of(records, (BASE, GRID[2], GRID[4]))
    reason = chosen_reason(choice)
    assert contradictions(choice) == []
    assert "not told apart" in reason or "looked faster" in reason
    assert re.search(r"[+−-]\d+ % to \+\d+ %|\d others? (is|are) not told apart", reason)


def test_a_baseline_outside_what_was_asked_for_is_said_to_be_faster() -> None:
    """Where it is four times as fast beyond any noise, that is not "not told from chance": it was not asked for."""
    source = random.Random(5)
    records = [
        a_record(config, [rate * math.exp(source.gauss(0, 0.01))] * 2, order=9 * block + at, block=block, phase="race")
        for block in range(4)
        for at, (config, rate) in enumerate(((BASE, 8000.0), (GRID[2], 2000.0), (GRID[4], 1000.0)))
    ]
    asked, seen = (GRID[2], GRID[4]), a_probe()
    rows = summarise(records, (BASE, *asked), seen)
    choice = choose(rows, records, limits=MemoryLimits(), tie=0.02, probe=seen, eligible=asked)
    assert choice.unasked == {"b64-w0"}
    assert re.search(r"; faster, but not asked for: 0 workers \(3\.9 ×, 3\.\d × to 4\.\d ×\)$", chosen_reason(choice))


def short_epochs(gains: tuple[float, ...], baseline_drops: bool) -> Choice:  # noqa: FBT001
    """Runs of a short epoch without and with the last batch dropped, the latter faster by these factors."""
    records = [
        replace(
            a_record(
                BASE,
                order=at,
                block=at,
                epochs=(
                    EpochMeasurement(drop_last=False, seconds=0.2, samples=100, batches=2),
                    EpochMeasurement(drop_last=True, seconds=0.2 * 0.64 / factor, samples=64, batches=1),
                ),
            ),
            drop_last=(False, True),
        )
        for at, factor in enumerate(gains)
    ]
    dropping = replace(BASE, drop_last=True)
    return chosen_of(records, (BASE, dropping), dataset_samples=100, baseline=dropping if baseline_drops else BASE)


@pytest.mark.parametrize(
    ("gains", "baseline_drops", "drops"),
    [
        ((1.12, 0.98, 1.14, 0.99), False, False),
        ((1.20,), False, True),
        ((1.05,), False, False),
        ((1.50, 1.52, 1.49), False, True),
        ((1.01, 0.99, 1.00), True, True),
        ((0.60, 0.61, 0.59), True, False),
    ],
)
def test_the_last_batch_is_dropped_only_for_a_reason(
    gains: tuple[float, ...],
    baseline_drops: bool,  # noqa: FBT001
    drops: bool,  # noqa: FBT001
) -> None:
    """drop_last is chosen where an epoch is better beyond its noise; else it stays as the baseline has it."""
    chosen = short_epochs(gains, baseline_drops).chosen
    assert (chosen == "b64-w0-drop") is drops


@pytest.mark.parametrize("search", ["adaptive", "grid"])
def test_the_leanest_comes_next_where_all_was_over_the_limit(search: Search) -> None:
    """Once everything measured is over the limit, the next trial is the one that needs least."""
    peaks = {0: 400 * MIB, 1: 700 * MIB, 2: 900 * MIB}
    limits, plan = (
        MemoryLimits(host_memory_bytes=500 * MIB),
        SweepPlan(target="x", time_budget_seconds=40.0, search=search),
    )
    big = tuple(LoaderConfig(batch_size=size, num_workers=count) for count in (1, 2) for size in (64, 128, 256, 512))
    probe = a_probe(baseline=big[0])
    first = [a_record(big[at], order=at, peak=peaks[big[at].num_workers]) for at in (0, 5, 2)]
    grid = (*big, LoaderConfig(batch_size=256), LoaderConfig(batch_size=32))
    step = next_step(plan, grid, first, 4.0, probe=probe, limits=limits)
    assert step is not None
    assert step.config == LoaderConfig(batch_size=32)
    fitting = [*first, a_record(step.config, order=3, peak=peaks[0])]
    plan = replace(plan, search="grid")
    orders = {next_step(replace(plan, seed=seed), grid, fitting, 5.0, probe=probe, limits=limits) for seed in range(8)}
    assert len({after.config for after in orders if after}) > 1  # at random again
    assert need_bytes(big[0], 1.0) < need_bytes(big[4], 1.0)


@pytest.mark.parametrize(
    ("low", "high", "known", "told"),
    [(1.9, 2.3, True, True), (0.9, 2.3, False, False), (0.03, 320.0, False, False), (1.2, 3.9, True, True)],
)
def test_what_a_gain_says(low: float, high: float, known: bool, told: bool) -> None:  # noqa: FBT001
    """A gain of 2 is known where its interval ends within a factor of two, and is one where that leaves out 1."""
    gain = Interval(estimate=2.0, low=low, high=high)
    assert (is_known(gain), is_told(gain)) == (known, told)


def test_the_ends_of_a_gain_have_two_digits() -> None:
    """An interval that says little is not given with more digits than it has."""
    assert range_words(Interval(estimate=2.87, low=0.0312, high=321.4)) == "0.031 to 320"


def test_an_end_of_a_gain_near_1_shows_its_side() -> None:
    """What is told from no gain is not printed as if it held 1, and a narrow interval as one half-width."""
    assert gain_words(Interval(estimate=2.0, low=1.04, high=3.1)) == "2 × (1.04 to 3.1)"
    assert gain_words(Interval(estimate=1.5, low=0.998, high=2.3)) == "1.5 × (0.998 to 2.3)"
    assert gain_words(Interval(estimate=2.1, low=2.0, high=2.2)) == "2.1 ± 0.1 ×"
    assert gain_words(Interval(estimate=1.54, low=1.17, high=2.01)) == "1.5 × (1.2 to 2)"


def test_a_gain_without_a_size_is_told_by_its_lower_end_where_that_is_one() -> None:
    """Between 7.9 and 62 times it is at least 7.9 ×; where the interval holds 1 nothing is known."""
    wide, open_ended = Interval(estimate=21.7, low=7.9, high=62.0), Interval(estimate=2.0, low=0.1, high=40.0)
    assert gain_words(wide) == "at least 7.9 ×"
    assert unknown_words(wide) == "at least 7.9 ×, how much is not known at this noise"
    assert (gain_words(open_ended), unknown_words(open_ended)) == ("not known", "not known at this noise: 0.1 to 40 ×")


@pytest.mark.parametrize("seed", range(5))
def test_the_fewest_workers_that_keep_a_step_fed_are_chosen(seed: int) -> None:
    """A step of 40 ms takes 1,600 samples/s in batches of 64: of workers with 700/s each the three that feed it win."""
    grid = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in range(7))
    machine = Machine(
        rate=lambda config: min(1600.0, 700.0 * max(1, config.num_workers)), seed=seed, window_sd=0.01, trial_sd=0.01
    )
    plan = SweepPlan(target="x", consumer=Consumer(step_seconds=0.04))
    choice = chosen_of(machine.sweep(plan, grid), grid)
    chosen = next(row for row in choice.rows if row.chosen)
    assert chosen.num_workers == 3
    share = wait_share(chosen, 0.04)
    assert share is not None
    assert share < 0.05


def test_the_printed_rate_is_what_the_fresh_trials_gave() -> None:
    """However slow the machine was before, the rates of what was measured again lie at their fresh trials' mean."""
    two = LoaderConfig(batch_size=64, num_workers=2)
    records = [
        a_record(config, [rate * speed] * 2, order=2 * block + at, block=block, phase=phase)  # type: ignore[arg-type]
        for block, (speed, phase) in enumerate(
            ((0.5, "screen"), (1.5, "race"), (0.4, "race"), (1.2, "verify"), (0.9, "verify"), (1.0, "verify"))
        )
        for at, (config, rate) in enumerate(((BASE, 1000.0 + 3 * (block % 2)), (two, 2000.0 - 5 * (block % 3))))
    ]
    choice = chosen_of(records, (BASE, two))
    rates = {row.config_id: row.samples_per_second or 0.0 for row in choice.rows}
    fresh = [math.log(r.steady.window_samples_per_second[0]) for r in records if r.phase == "verify" and r.steady]
    assert math.log(rates["b64-w0"]) + math.log(rates["b64-w2"]) == pytest.approx(2 * sum(fresh) / len(fresh), abs=1e-3)
    assert choice.verified


def test_few_trials_that_differ_much_give_no_narrow_gain() -> None:
    """One trial of the pick and two of the baseline that differ by 1.7 times: the gain's interval holds both ratios."""
    two = LoaderConfig(batch_size=32, num_workers=2)
    records = [
        a_record(BASE, [142.0, 135.0], order=0, block=0),
        a_record(two, [1453.0, 1316.0], order=1, block=0),
        a_record(BASE, [80.0, 81.0], order=2, block=1, phase="race"),
    ]
    gain = chosen_of(records, (BASE, two)).gain
    assert gain is not None
    assert gain.low < 1384 / 138
    assert gain.high > 1384 / 80.5
    assert not is_known(gain)


def test_what_looked_faster_and_has_one_fresh_trial_is_said_so() -> None:
    """The sentence says that it was measured again only once, not that it was not."""
    fast, slow = LoaderConfig(batch_size=512, num_workers=2), LoaderConfig(batch_size=512, num_workers=1)
    rows = (
        (0, "screen", BASE, 1960.0), (0, "screen", slow, 2820.0), (0, "screen", fast, 2725.0),
        (1, "race", fast, 3280.0), (1, "race", BASE, 2260.0), (2, "verify", fast, 4970.0), (2, "verify", BASE, 2470.0),
        (2, "verify", slow, 3210.0), (3, "verify", slow, 2720.0), (3, "verify", BASE, 2715.0),
    )  # fmt: skip
    records = [
        a_record(config, [rate, rate * 1.1], order=order, block=block, phase=phase)  # type: ignore[arg-type]
        for order, (block, phase, config, rate) in enumerate(rows)
    ]
    choice = chosen_of(records, (BASE, slow, fast))
    reason = chosen_reason(choice)
    assert choice.chosen == "b512-w1"
    assert "measured again only once" in reason
    assert "not measured again" not in reason
