"""Which configuration is chosen, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scripted_machine import MIB, a_probe, a_record

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.choose import Choice, choose, cost
from loadtune.judge.lack import lack
from loadtune.judge.reasons import baseline_name, chosen_reason, label
from loadtune.judge.shortfall import shortfall
from loadtune.judge.summary import summarise
from loadtune.record.results import EpochMeasurement, MemoryLimits, TrialRecord
from loadtune.show.summary import baseline_words

BASE = LoaderConfig(batch_size=64)


def workers(count: int, batch: int = 64) -> LoaderConfig:
    return LoaderConfig(batch_size=batch, num_workers=count)


def trials(
    rates: dict[LoaderConfig, Sequence[float]], peaks: dict[LoaderConfig, int] | None = None
) -> list[TrialRecord]:
    """One quiet trial for each rate, block by block."""
    records: list[TrialRecord] = []
    for block in range(max(len(found) for found in rates.values())):
        for config, found in rates.items():
            if block < len(found):
                peak = (peaks or {}).get(config, (300 + 100 * config.num_workers) * MIB)
                records.append(
                    a_record(config, [found[block]] * 2, order=len(records), block=block, phase="race", peak=peak)
                )
    return records


def chosen_of(records: list[TrialRecord], limits: MemoryLimits | None = None, **changes: object) -> Choice:
    probe = a_probe(**changes)
    configs = list(dict.fromkeys(record.config for record in records))
    rows = summarise(records, configs, probe)
    return choose(rows, records, limits=limits or MemoryLimits(), tie=0.02, probe=probe)


def test_the_fastest_is_chosen_where_it_stands_out() -> None:
    """A configuration that is clearly faster than all others is chosen, with its gain over the baseline."""
    choice = chosen_of(
        trials({BASE: [1000, 1001, 999], workers(4): [2000, 2002, 1998], workers(8): [3000, 3003, 2997]})
    )
    assert (choice.chosen, choice.fastest, choice.baseline) == ("b64-w8", "b64-w8", "b64-w0")
    assert choice.gain is not None
    assert choice.gain.estimate == pytest.approx(3.0, rel=0.01)
    assert choice.gain.low < 3.0 < choice.gain.high or choice.gain.low == pytest.approx(3.0, rel=0.01)


def test_the_cheapest_of_those_tied_is_chosen() -> None:
    """Of configurations within the tie the one with the fewest workers is chosen, and the fastest named beside it."""
    records = trials(
        {BASE: [1000, 1000, 1000], workers(8, 256): [2500, 2500, 2500], workers(12, 256): [2510, 2510, 2510]}
    )
    choice = chosen_of(records)
    assert (choice.chosen, choice.fastest) == ("b256-w8", "b256-w12")
    assert choice.tied == ("b256-w8", "b256-w12")
    marked = {row.config_id for row in choice.rows if row.tied_with_best}
    assert marked == {"b256-w8", "b256-w12"}
    assert [row.config_id for row in choice.rows if row.chosen] == ["b256-w8"]


def test_the_reason_is_a_sentence_with_its_numbers() -> None:
    """The reason names the choice, its rate, the gain, and what the faster one would cost for how little."""
    peaks = {workers(8, 256): 2000 * MIB, workers(12, 256): 3331 * MIB}
    rates = {BASE: [2500, 2520, 2480], workers(8, 256): [5280, 5350, 5300], workers(12, 256): [5320, 5330, 5345]}
    reason = chosen_reason(chosen_of(trials(rates, peaks)))
    assert reason.startswith("8 workers, batch 256: 5,3")
    assert "± " in reason
    assert "2.15 ± 0.02 × torch's defaults with batch 64; 12 workers are no faster (+0." in reason
    assert reason.endswith("and take 1.3 GiB more")


def test_the_baseline_has_one_name() -> None:
    """Reason and summary agree on whose settings the baseline is, with batches of its own and other sizes too."""
    own, other = LoaderConfig(batch_size=None), LoaderConfig(batch_size=32)
    for config, is_given, name in (
        (BASE, False, "torch's defaults with batch 64"),
        (BASE, True, "your current settings"),
        (own, False, "torch's defaults with batches of its own"),
        (own, True, "your current settings"),
        (other, False, "your current settings"),
        (workers(2), False, "your current settings"),
    ):
        probe = a_probe(baseline=config, baseline_is_given=is_given)
        rows = summarise(trials({config: [1000, 1001, 999]}), [config], probe)
        choice = Choice(rows=rows, baseline=config.config_id, baseline_is_given=is_given)
        assert baseline_name(choice) == name
        whose = name.partition(" with ")[0]
        assert baseline_words(config, is_given=is_given) == f"{whose} ({label(config)})"


def test_lack_of_evidence_gives_away_little() -> None:
    """Noise alone never makes a configuration tied that is slower than 2.5 ties by estimate."""
    noisy = {BASE: [1000, 700, 1300], workers(1): [1080, 760, 1400], workers(2): [1100, 1400, 760]}
    choice = chosen_of(trials(noisy))
    estimates = {row.config_id: row.samples_per_second or 0 for row in choice.rows}
    best = max(estimates[key] for key in choice.tied)
    assert all(estimates[key] >= best * (1 - 2.5 * 0.02) * 0.999 for key in choice.tied)


def test_over_the_limit_is_never_chosen() -> None:
    """The fastest is not chosen when its peak is over the limit, though it stays in the table."""
    records = trials({BASE: [1000, 1000], workers(2): [2000, 2000], workers(8): [4000, 4000]})
    choice = chosen_of(records, MemoryLimits(host_memory_bytes=600 * MIB))
    assert (choice.chosen, choice.fastest) == ("b64-w2", "b64-w2")
    assert {row.config_id: row.within_limits for row in choice.rows} == {
        "b64-w0": True,
        "b64-w2": True,
        "b64-w8": False,
    }


def test_growth_over_an_epoch_counts() -> None:
    """A configuration whose memory grows over the limit by the end of an epoch is not chosen."""
    records = trials({BASE: [1000, 1000], workers(2): [2000, 2000]})
    grown = [
        replace(r, memory=replace(r.memory, growth_bytes_per_batch=1.0 * MIB)) if r.config.num_workers else r
        for r in records
    ]
    assert chosen_of(records, MemoryLimits(host_memory_bytes=600 * MIB)).chosen == "b64-w2"
    assert chosen_of(grown, MemoryLimits(host_memory_bytes=600 * MIB)).chosen == "b64-w0"


def test_a_queue_that_was_not_full_counts_as_full() -> None:
    """400 MiB beside shared memory and a full queue of (2·2 + 1) batches of 48 MiB are 640 MiB, over a limit of 600."""
    records = [
        replace(
            record,
            memory=replace(record.memory, private_peak_bytes=400 * MIB, shm_peak_bytes=50 * MIB),
            steady=replace(record.steady, bytes_per_batch=48.0 * MIB) if record.steady else None,
        )
        for record in trials({BASE: [1000, 1000], workers(2): [2000, 2000]})
    ]
    choice = chosen_of(records, MemoryLimits(host_memory_bytes=600 * MIB))
    assert choice.chosen == "b64-w0"
    assert [row.predicted_host_peak_bytes for row in choice.rows] == [300 * MIB, 640 * MIB]


def test_unmeasured_memory_is_not_chosen_under_a_limit() -> None:
    """Where memory is limited, a configuration whose peak could not be measured is not chosen."""
    records = [replace(r, memory=replace(r.memory, host_peak_bytes=None)) for r in trials({BASE: [1000, 1000]})]
    assert chosen_of(records, MemoryLimits(host_memory_bytes=600 * MIB)).chosen is None
    assert chosen_of(records).chosen == "b64-w0"


def test_nothing_fits_says_what_would() -> None:
    """Where nothing fits, the smallest need and the limit that would admit the fastest are named."""
    limits = MemoryLimits(host_memory_bytes=100 * MIB)
    choice = chosen_of(trials({BASE: [1000, 1000], workers(2): [2000, 2000]}), limits)
    short = shortfall(lack(choice.rows, SweepPlan(target="x"), a_probe()), limits)
    assert choice.chosen is None
    assert "no configuration that was measured meets the limit of 100 MiB of host memory" in short.message
    assert "the smallest of them, 0 workers, batch 64, needs 300 MiB" in short.message
    assert "2 workers, batch 64 at 2,000 samples/s, needs 500 MiB" in short.advice
    assert (short.least_bytes, short.best_bytes) == (300 * MIB, 500 * MIB)


def test_siblings_with_one_epoch_are_one_configuration() -> None:
    """Where drop_last drops nothing its row is never the fastest beside the choice, nor one of the others."""
    grid = [workers(2), replace(workers(2), drop_last=True), replace(BASE, drop_last=True), BASE]
    probe = a_probe(dataset_samples=64 * 1000)
    for rate, words in ((990, "1 other that costs more is no faster"), (2000, "none that costs less comes near")):
        records = trials({BASE: [1000] * 3, workers(2): [rate] * 3})
        records = [replace(record, drop_last=(False, True)) for record in records]
        rows = summarise(records, grid[::-1], probe)
        choice = choose(rows[::-1], records, limits=MemoryLimits(), tie=0.02, probe=probe)
        assert choice.chosen == choice.fastest == ("b64-w0" if rate == 990 else "b64-w2")
        assert words in chosen_reason(choice)


def test_a_hung_trial_disqualifies() -> None:
    """The fastest is not chosen when one of its trials hung."""
    records = trials({BASE: [1000, 1000], workers(2): [2000, 2000]})
    hung = a_record(workers(2), order=9, block=2, phase="race", status="hung")
    assert chosen_of([*records, hung]).chosen == "b64-w0"


def test_the_epoch_decides_and_not_the_steady_rate() -> None:
    """On a data set so small that starting workers costs more than they gain, no workers are chosen."""
    quick = EpochMeasurement(drop_last=False, seconds=0.2, samples=200, batches=4)
    slow = EpochMeasurement(drop_last=False, seconds=0.5, samples=200, batches=4)
    records = [
        a_record(config, [rate] * 2, order=2 * block + bool(config.num_workers), block=block, epochs=(epoch,))
        for block in range(3)
        for config, rate, epoch in ((BASE, 1000.0, quick), (workers(4), 4000.0, slow))
    ]
    choice = chosen_of(records, dataset_samples=200)
    assert choice.chosen == "b64-w0"
    assert chosen_of(records, dataset_samples=None).chosen == "b64-w4"


def test_only_the_verified_are_chosen() -> None:
    """A flattered number from before the verification does not beat one that was confirmed."""
    records = trials({BASE: [1000], workers(4): [2060], workers(2): [2000]})
    fresh = [
        a_record(config, [rate] * 2, order=10 + block + config.num_workers, block=block, phase="verify")
        for block in (5, 6, 7)
        for config, rate in ((workers(2), 1900.0), (BASE, 1000.0))
    ]
    choice = chosen_of(records + fresh)
    assert (choice.chosen, choice.verified) == ("b64-w2", True)
    assert choice.gain is not None
    assert choice.gain.estimate == pytest.approx(1.9, rel=0.01)


def test_a_verification_cut_short_does_not_choose_the_baseline() -> None:
    """When the time ended with only the baseline measured again, the best of what came before is still chosen."""
    records = trials({BASE: [1000, 1000], workers(1): [1500, 1500], workers(2): [2000, 2000]})
    cut = a_record(BASE, (1000.0, 1000.0), order=20, block=5, phase="verify")
    choice = chosen_of([*records, cut])
    assert (choice.chosen, choice.fastest, choice.verified) == ("b64-w2", "b64-w2", False)
    assert choice.gain is not None
    assert choice.gain.estimate == pytest.approx(2.0, rel=0.01)


def test_cost_orders_as_documented() -> None:
    """Cheaper is: fewer workers, fewer bytes in flight, no pinning, every sample kept, the smaller batch."""
    ascending = [
        LoaderConfig(batch_size=512),
        LoaderConfig(batch_size=32, num_workers=1),
        LoaderConfig(batch_size=32, num_workers=2),
        LoaderConfig(batch_size=32, num_workers=2, drop_last=True),
        LoaderConfig(batch_size=32, num_workers=2, pin_memory=True),
        LoaderConfig(batch_size=32, num_workers=2, prefetch_factor=4),
        LoaderConfig(batch_size=128, num_workers=2),
    ]
    rows = [summarise([a_record(config)], [config], a_probe())[0] for config in ascending]
    assert [cost(row) for row in rows] == sorted(cost(row) for row in rows)


def test_pareto_holds_what_nothing_beats() -> None:
    """Pareto are the rows that no other beats in rate without needing more memory."""
    peaks = {BASE: 300 * MIB, workers(1): 400 * MIB, workers(2): 350 * MIB, workers(4): 700 * MIB}
    rates = {BASE: [1000.0], workers(1): [1500.0], workers(2): [2000.0], workers(4): [2500.0]}
    choice = chosen_of(trials(rates, peaks))
    assert {row.config_id for row in choice.rows if row.pareto} == {"b64-w0", "b64-w2", "b64-w4"}


def test_label_names_what_is_not_default() -> None:
    """A configuration is named by its workers and batch, and by each setting that is not torch's default."""
    config = LoaderConfig(batch_size=32, num_workers=1, prefetch_factor=4, pin_memory=True, drop_last=True)
    assert label(config) == "1 worker, batch 32, pinned, drop_last, prefetch 4"
    assert label(LoaderConfig(batch_size=None)) == "0 workers, batches of its own"
