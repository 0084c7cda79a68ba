"""Loaders whose rate is hard to measure, each with the rate that arithmetic gives."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hard_targets import LAZY_SECONDS, STRAGGLER_EVERY, STRAGGLER_SECONDS
from single_trials import HARD, asked, best_rate, rate_of, steady_of, trial_host

import loadtune
from loadtune.describe.plan import Measurement
from loadtune.judge.noise_findings import _changing
from loadtune.run.supervisor import Supervisor

pytestmark = pytest.mark.sleeps


@pytest.fixture(scope="module")
def constant() -> Iterator[Supervisor]:
    """160 samples of 10 ms."""
    with trial_host("constant") as running:
        yield running


@pytest.mark.parametrize(("window", "step"), [(0.25, 0.0), (0.5, 0.02), (1.0, 0.0)])
def test_constant_samples_give_their_rate_whatever_the_window_or_consumer(
    constant: Supervisor, window: float, step: float
) -> None:
    """10 ms a sample, B=16, W=4 are 400 samples/s ± 3 %: in short windows and long, awaited or beside a step."""
    plan = Measurement(window_seconds=window, max_seconds=2 * window, real_epoch_seconds=0.0)
    wanted = asked(batch_size=16, num_workers=4, step=step, measurement=plan)
    assert 0.97 <= best_rate(constant, wanted, enough=388) / 400 <= 1.03


@pytest.mark.parametrize("num_workers", [7, 16])
def test_more_workers_than_batches_in_an_epoch(constant: Supervisor, num_workers: int) -> None:
    """160 samples are 10 batches: the steady rate is W·100/s all the same, and a whole epoch has those 10 batches."""
    wanted = asked(batch_size=16, num_workers=num_workers, measurement=Measurement(real_epoch_seconds=3.0))
    record = constant.run(wanted)
    epochs = steady_of(record).epochs
    assert [(one.batches, one.samples) for one in epochs] == [(10, 160), (10, 160)]
    # An epoch takes as many batches of 160 ms as the busiest worker has, and the start of the workers.
    least = 0.16 * math.ceil(10 / num_workers)
    assert all(0.95 * least <= one.seconds <= least + 2.0 for one in epochs)
    rate = max(rate_of(record), best_rate(constant, wanted, enough=95 * num_workers))
    assert 0.94 <= rate / (100 * num_workers) <= 1.03


def test_a_last_batch_of_one_is_counted_and_dropped() -> None:
    """100 samples in batches of 33 are 4 batches, the last of 1; with drop_last 3 batches and 99 samples."""
    with trial_host("hundred") as running:
        epochs = steady_of(running.run(asked(batch_size=33, num_workers=0, measurement=Measurement()))).epochs
    assert [(one.drop_last, one.batches, one.samples) for one in epochs] == [(False, 4, 100), (True, 3, 99)]


def test_stragglers_are_no_lack_of_a_steady_state_and_order_costs_what_it_does() -> None:
    """One sample in 160 takes 400 ms: without order 4 workers give 4 / mean cost, in order clearly less.

    Where it falls is chance, so rates are those of several trials together: some 12 stragglers are within 30 %, and
    halves that differ one way and the other do not make a finding.
    """
    mean = STRAGGLER_SECONDS / STRAGGLER_EVERY + 0.005 * (1 - 1 / STRAGGLER_EVERY)
    plan = Measurement(max_seconds=2.0, extensions=1, real_epoch_seconds=0.0)
    rates = {}
    with trial_host("stragglers") as running:
        for in_order in (True, False):
            wanted = [
                asked(batch_size=4, num_workers=4, in_order=in_order, seed=seed, measurement=plan) for seed in range(3)
            ]
            records = [running.run(one) for one in wanted]
            trials = [steady_of(record) for record in records]
            rates[in_order] = sum(t.samples_measured for t in trials) / sum(t.measured_seconds for t in trials)
            assert _changing(records) < len(records), "chance is not taken for change"
    assert rates[False] == pytest.approx(4 / mean, rel=0.3)
    assert rates[False] > 1.3 * rates[True]


def test_a_cost_that_grows_with_the_index_is_steady_where_it_is_shuffled() -> None:
    """1 to 9 ms along the data set: 2 workers give 400/s ± 8 % from permutations, steadily."""
    with trial_host("growing") as running:
        trials = [steady_of(running.run(asked(batch_size=16, num_workers=2, seed=seed))) for seed in range(2)]
    rates = [trial.samples_measured / trial.measured_seconds for trial in trials]
    assert max(rates) == pytest.approx(400, rel=0.08)
    assert any(trial.steady for trial in trials)


def test_a_cost_that_grows_under_a_sampler_in_order_is_no_steady_state() -> None:
    """The same read from its cheap end on: LT003 names it, and the rate is not the 400/s of an epoch."""
    run = loadtune.sweep(f"{HARD}:sorted_by_cost", batch_size=16, num_workers=2, time_budget="8s")
    assert "LT003" in {finding.code for finding in run.findings}
    assert (run.best.samples_per_second.estimate) > 480


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_a_rate_that_halves_in_mid_trial_is_not_averaged(slowing: Supervisor, seconds: float) -> None:
    """500/s for 0.8 s, then 250/s: either no steady state, or the rate that lasts; never one in between, as steady."""
    plan = Measurement(max_seconds=seconds, extensions=1, real_epoch_seconds=0.0)
    record = slowing.run(asked(batch_size=8, num_workers=2, measurement=plan))
    assert not steady_of(record).steady or rate_of(record) == pytest.approx(250, rel=0.08)


@pytest.fixture(scope="module")
def slowing() -> Iterator[Supervisor]:
    """4 ms a sample, 8 ms after 200 samples of a worker."""
    with trial_host("slowing") as running:
        yield running


def test_lazy_set_up_is_start_and_not_rate_and_persistent_workers_are_priced() -> None:
    """A second before the first sample of each worker is in the first batch, not in the rate of 400/s.

    An epoch of 0.8 s takes 1.8 s with it, and a later one with persistent workers does without.
    """
    plan = Measurement(real_epoch_seconds=10.0)
    seconds = {}
    with trial_host("lazy") as running:
        for persistent in (False, True):
            wanted = asked(batch_size=16, num_workers=2, persistent_workers=persistent, measurement=plan)
            record = running.run(wanted)
            steady = steady_of(record)
            assert LAZY_SECONDS < steady.first_batch_seconds < 2 * LAZY_SECONDS
            seconds[persistent] = steady.epochs[0].seconds
        assert 0.94 <= max(rate_of(record), best_rate(running, wanted, enough=376)) / 400 <= 1.03
    assert seconds[False] - seconds[True] == pytest.approx(LAZY_SECONDS, abs=0.5)


def test_batches_of_a_token_budget_are_counted_as_they_come() -> None:
    """Batches of 3, 5 and 7 samples of 4 ms, of a data set and a sampler that lie about their length: 500/s."""
    with trial_host("packs") as running:
        assert running.probe.batch_size_is_swept is False
        assert running.probe.dataset_samples is None, "a length that counts batches is not taken for N"
        rate = best_rate(running, asked(batch_size=None, num_workers=2), enough=460)
        steady = steady_of(running.run(asked(batch_size=None, num_workers=2)))
    assert 0.92 <= rate / 500 <= 1.03
    assert steady.samples_per_batch == pytest.approx(5, rel=0.06)


@pytest.mark.alone
def test_tiny_tensors_cost_in_hand_over_and_packed_they_do_not() -> None:
    """112 tensors a batch of 16 are counted as 7 a sample; packed into 1 they come more than 3 times as fast."""
    rates = {}
    for name in ("tiny", "packed"):
        with trial_host(name) as running:
            tensors = running.probe.tensors_per_batch, running.probe.tensors_per_sample
            assert tensors == ((0.0, 7.0) if name == "tiny" else (1.0, 0.0))
            rates[name] = rate_of(running.run(asked(batch_size=16, num_workers=2)))
    assert rates["packed"] > 3 * rates["tiny"]


@pytest.mark.alone
def test_a_data_set_in_memory_needs_no_workers() -> None:
    """A TensorDataset: no workers are picked, and the finding says that there is nothing to gain."""
    run = loadtune.sweep(f"{HARD}:in_memory", batch_size=64, num_workers=[0, 2], drop_last=False, time_budget="6s")
    assert run.best.config.num_workers == 0
    assert run.baseline is not None
    assert run.best.config == run.baseline.config
    finding = next(finding for finding in run.findings if finding.code == "LT007")
    assert finding.severity == "info"


def test_the_fewest_workers_that_feed_a_step_are_picked() -> None:
    """A step of 50 ms and a batch of 25 ms: 1 worker feeds it, 0 do not (75 ms), 2 are no faster."""
    run = loadtune.sweep(
        f"{HARD}:constant_quick", batch_size=8, num_workers=[0, 1, 2], drop_last=False, step_time="50ms",
        time_budget="8s",
    )  # fmt: skip
    assert run.best.config.num_workers == 1
    rates = {row.num_workers: row.samples_per_second or 0.0 for row in run.trials if row.batch_size == 8}
    assert rates[1] == pytest.approx(160, rel=0.1)
    assert rates[0] < 0.8 * rates[1]
    assert rates[2] == pytest.approx(rates[1], rel=0.1)
