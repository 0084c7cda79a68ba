"""Intervals, comparisons and trends against a truth that is known."""

# ruff: noqa: S311 - simulated noise is no secret
from __future__ import annotations

import math
import random
import statistics

import pytest
from scripted_machine import a_record

from loadtune.describe.config import LoaderConfig
from loadtune.judge.evidence import steady_table
from loadtune.judge.statistics import (
    Repeat,
    Spread,
    difference,
    estimate,
    spread,
    student_t,
    trend,
    window_noise,
    without_trend,
)

WINDOWS = 4


def simulated(
    source: random.Random, *, configs: int, blocks: int, window_sd: float, trial_sd: float, block_sd: float = 0.0
) -> dict[int, list[Repeat]]:
    """Configurations of rate 1,000, each measured once in each block."""
    moods = [source.gauss(0, block_sd) for _ in range(blocks)]
    table: dict[int, list[Repeat]] = {}
    for config in range(configs):
        for block in range(blocks):
            centre = moods[block] + source.gauss(0, trial_sd)
            rates = [1000 * math.exp(centre + source.gauss(0, window_sd)) for _ in range(WINDOWS)]
            variance, worth, df = window_noise(rates)
            table.setdefault(config, []).append(
                Repeat(
                    block=block,
                    at_seconds=float(block * configs + config),
                    log_rate=math.log(sum(rates) / WINDOWS),
                    window_variance=variance,
                    windows=worth,
                    window_df=df,
                )
            )
    return table


@pytest.mark.parametrize(
    ("blocks", "window_sd", "trial_sd", "block_sd"),
    [(3, 0.05, 0.0, 0.0), (3, 0.01, 0.04, 0.0), (4, 0.03, 0.03, 0.04), (1, 0.05, 0.0, 0.0)],
    ids=["window noise alone", "each trial differs", "blocks differ too", "one trial each"],
)
def test_interval_covers_the_truth(blocks: int, window_sd: float, trial_sd: float, block_sd: float) -> None:
    """The 95 % interval of a rate holds the true rate in at least 93 % of simulated sweeps."""
    source = random.Random(1)
    covered = 0
    for _ in range(600):
        table = simulated(source, configs=4, blocks=blocks, window_sd=window_sd, trial_sd=trial_sd, block_sd=block_sd)
        interval = estimate(table[0], spread(table))
        covered += interval.low <= 1000 <= interval.high
    assert covered >= 0.93 * 600


def test_single_repeat_borrows_the_spread_of_the_others() -> None:
    """One trial of a configuration gets the spread that other configurations' repeats show, and so covers the truth."""
    source = random.Random(2)
    covered = 0
    for _ in range(400):
        table = simulated(source, configs=5, blocks=4, window_sd=0.005, trial_sd=0.05)
        once = table[0][:1]
        interval = estimate(once, spread({**table, 0: once}))
        covered += interval.low <= 1000 <= interval.high
    assert covered >= 0.93 * 400


def test_paired_ratio_covers_the_truth() -> None:
    """The interval of the ratio of two equal configurations holds 1 in at least 93 % of sweeps with moody blocks."""
    source = random.Random(3)
    covered = 0
    for _ in range(600):
        table = simulated(source, configs=3, blocks=3, window_sd=0.02, trial_sd=0.03, block_sd=0.2)
        ratio = difference(table[0], table[1], spread(table)).ratio()
        covered += ratio.low <= 1 <= ratio.high
    assert covered >= 0.93 * 600


def test_blocks_cancel_in_a_comparison_and_not_in_a_rate() -> None:
    """Where only blocks differ, a ratio is exact and a rate is as unsure as the blocks are."""
    moods = (0.0, 0.2, -0.1)
    table = {
        name: [Repeat(block=b, at_seconds=b, log_rate=math.log(rate) + mood) for b, mood in enumerate(moods)]
        for name, rate in (("one", 1000.0), ("two", 1100.0))
    }
    noise = spread(table)
    ratio = difference(table["two"], table["one"], noise).ratio()
    assert (ratio.low, ratio.high) == pytest.approx((1.1, 1.1), rel=1e-6)
    half = student_t(0.975, noise.trial_df) * statistics.stdev(moods) / math.sqrt(3)
    rate = estimate(table["one"], noise)
    assert math.log(rate.high / rate.estimate) == pytest.approx(half, rel=0.01)
    assert noise.trial_df == pytest.approx(2.0, rel=0.01)


def test_autocorrelated_windows_count_for_less() -> None:
    """Windows that resemble their neighbours are worth fewer independent ones; independent ones keep most of theirs."""
    source = random.Random(4)
    level, walk = 0.0, []
    for _ in range(40):
        level = 0.8 * level + source.gauss(0, 0.01)
        walk.append(1000 * math.exp(level))
    assert window_noise(walk)[1] < 15
    assert window_noise([1000 * math.exp(source.gauss(0, 0.01)) for _ in range(40)])[1] > 20


def test_estimate_is_never_narrower_than_its_own_windows() -> None:
    """A configuration with noisy windows has a wide interval though its repeats happen to agree."""
    quiet = {n: [Repeat(block=b, at_seconds=b, log_rate=1.0) for b in range(3)] for n in range(3)}
    noisy = [
        Repeat(block=b, at_seconds=b, log_rate=1.0, window_variance=0.04, windows=2, window_df=1) for b in range(3)
    ]
    interval = estimate(noisy, spread({**quiet, 9: noisy}))
    assert math.log(interval.high / interval.estimate) > 2 * 0.2 / math.sqrt(6)


def test_no_evidence_of_noise_gives_a_point() -> None:
    """One trial with one window has no interval to show."""
    interval = estimate([Repeat(block=0, at_seconds=0, log_rate=math.log(500))], Spread())
    assert (interval.low, interval.high) == (interval.estimate, interval.estimate)


def test_unpaired_comparison_says_so() -> None:
    """Two configurations that share no block are compared by their means, with no pairs."""
    first = [Repeat(block=0, at_seconds=0, log_rate=1.0)]
    second = [Repeat(block=1, at_seconds=1, log_rate=0.9)]
    gap = difference(first, second, Spread())
    assert gap.pairs == 0
    assert gap.log_ratio == pytest.approx(0.1)
    assert gap.standard_error > 0.05


def test_trend_is_found_and_taken_out() -> None:
    """A machine that loses 1 % a second has a clear trend of that size, and none once it is taken out."""
    records = []
    configs = [LoaderConfig(batch_size=size) for size in (16, 32, 64)]
    for block in range(4):
        for config in configs:
            rates = [config.batch_size * 1000 * 0.99 ** (3 * block + configs.index(config))] * 2
            records.append(a_record(config, rates, order=len(records), block=block, seconds=1.0))
    table = steady_table(records)
    found = trend(table)
    assert found is not None
    assert found.clear
    assert found.log_per_second == pytest.approx(math.log(0.99), rel=0.02)
    assert found.total_share == pytest.approx(0.99**11 - 1, rel=0.02)
    rest = trend(without_trend(table))
    assert rest is not None
    assert abs(rest.log_per_second) < 1e-6


def test_noise_is_not_called_a_trend() -> None:
    """On a machine without drift a trend is claimed in at most 5 % of sweeps."""
    source = random.Random(6)
    claimed = 0
    for _ in range(400):
        found = trend(simulated(source, configs=4, blocks=4, window_sd=0.03, trial_sd=0.03))
        claimed += found is not None and found.clear
    assert claimed <= 0.05 * 400
