"""Growing memory from scripted looks: what it is called, how fast it is, what it comes to, and what is said of it."""

# ruff: noqa: S311 - simulated noise is no secret
from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from scripted_machine import MIB, Machine, a_probe, a_record, an_environment

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.judge import memory_grows
from loadtune.judge.choose import choose
from loadtune.judge.growth import Growing, Survey, survey
from loadtune.judge.outlook import Outlook, outlook
from loadtune.judge.stretches import coverage
from loadtune.judge.summary import summarise
from loadtune.record.results import Finding, MemoryLimits, MemoryLook, MemoryMeasurement, TrialRecord

KIB = 1024
EACH = 64 * KIB
"""What scripted data sets keep of a sample."""
CONFIG = LoaderConfig(batch_size=10, num_workers=2)
ALONE = LoaderConfig(batch_size=10)
SHARED = 500 * MIB
Grows = Callable[[float], float]


def nothing(_: float) -> float:
    return 0.0


def looked(
    *,
    workers: Grows = nothing,
    main: Grows = nothing,
    copies: Grows = nothing,
    kept: Grows = nothing,
    files: Grows = nothing,
    free: Grows | None = None,
    config: LoaderConfig = CONFIG,
    at: Sequence[int] = (4, 100, 196),
    noise: Callable[[], float] = lambda: 0.0,
    order: int = 0,
) -> TrialRecord:
    """A trial looked at after so many batches; each part is a function of the samples that workers have read."""
    looks = []
    for batches in at:
        last = batches == at[-1]
        read = 10.0 * (batches + (config.batches_in_flight if last else 0))
        own = 200 * MIB + main(read) + noise()
        unused = free(read) if free is not None else 0.0
        below = config.num_workers * 200 * MIB + workers(read) + unused + noise()
        held = own + below - SHARED + copies(read) + noise()
        queue = config.batches_in_flight * 122_880 if last else 0
        looks.append(
            MemoryLook(
                batches=batches,
                resident_bytes=int(held),
                shm_bytes=int(kept(read)) + queue,
                main_bytes=int(own),
                workers_bytes=int(below),
                held_bytes=int(held),
                shared_bytes=int(SHARED - copies(read)),
                open_files=20 + int(files(batches)),
                workers_free_bytes=int(unused) if free is not None else None,
            )
        )
    record = a_record(config, order=order, block=9, phase="verify")
    seen = MemoryMeasurement(host_peak_bytes=looks[-1].resident_bytes, samples=len(looks), looks=tuple(looks))
    return replace(record, memory=seen)


def leak(read: float) -> float:
    return EACH * read


def cache(samples: int, workers: int = 2) -> Grows:
    return lambda read: EACH * samples * workers * coverage(read / samples, workers)


def found_in(*records: TrialRecord, samples: int | None = 50_000) -> Survey:
    return survey(records, a_probe(dataset_samples=samples))


def grown(*records: TrialRecord, samples: int | None = 50_000) -> tuple[Growing, ...]:
    return found_in(*records, samples=samples).of(records[0].config)


def ahead_of(*records: TrialRecord, samples: int, built_bytes: int | None = None) -> Outlook:
    return outlook(
        records[0].config,
        records,
        found_in(*records, samples=samples),
        probe=a_probe(dataset_samples=samples, built_bytes=built_bytes),
        batches_per_epoch=samples // 10,
    )


def test_a_worker_sees_half_of_what_is_left_in_each_pass() -> None:
    """One of two workers has seen 1/2, 3/4 and 7/8 after 1, 2 and 3 passes, evenly between; a lone one all after 1."""
    assert [coverage(passes, 2) for passes in (0, 0.5, 1, 1.5, 2, 3)] == [0, 0.25, 0.5, 0.625, 0.75, 0.875]
    assert [coverage(passes, 1) for passes in (0, 0.5, 1, 2.7)] == [0, 0.5, 1, 1]
    assert [coverage(passes, 0) for passes in (0.5, 3)] == [0.5, 1]


def test_a_leak_is_a_leak_where_samples_come_again() -> None:
    """64 KiB a sample over four passes of 500 samples is a leak in the workers, to the byte."""
    (one,) = grown(looked(workers=leak), looked(workers=leak), samples=500)
    assert (one.part, one.kind, one.trials) == ("workers", "leak", 2)
    assert one.bytes_per_sample == pytest.approx(EACH)


def test_what_the_allocator_has_free_is_no_leak() -> None:
    """100 KiB a sample that are free are the allocator's, until 150 batches of each worker; a leak stays."""
    free = 100.0 * KIB
    seen = looked(workers=leak, free=lambda read: free * read)
    kinds = {one.part: (one.kind, one.bytes_per_sample) for one in grown(seen, samples=500)}
    assert kinds["workers"] == ("leak", pytest.approx(EACH))
    assert kinds["allocator"] == ("allocator", pytest.approx(free))
    ahead = ahead_of(looked(free=lambda read: free * read), samples=50_000)
    # 196 batches were taken and 4 are ahead: of 2 x 150 there are 100 of 10 samples to come.
    assert (ahead.epoch_bytes or 0) - (ahead.now_bytes or 0) == pytest.approx(100 * 10 * free, rel=1e-3)
    assert ahead.most_bytes == ahead.epoch_bytes


def test_what_the_allocator_takes_after_150_batches_goes_on() -> None:
    """Looked at from batch 400 on, that of 2 workers still grows: it is not known to end, and is projected evenly."""
    free = 100.0 * KIB
    seen = looked(free=lambda read: free * read, at=(400, 700, 1000))
    ahead = ahead_of(seen, samples=50_000)
    assert (ahead.epoch_bytes or 0) - (ahead.now_bytes or 0) == pytest.approx((50_000 - 10_040) * free, rel=1e-3)


def test_the_limit_is_passed_where_the_allocator_passes_it() -> None:
    """1,000 samples to come take 97.7 MiB, and 47,000 more take nothing: half of it is reached after 500 of them."""
    free = 100.0 * KIB
    ahead = ahead_of(looked(free=lambda read: free * read), samples=50_000)
    half = round((ahead.now_bytes or 0) + 500 * free)
    assert ahead.reached_samples(half) == pytest.approx(2_000 + 500, rel=1e-3)


def test_memory_that_was_free_before_is_no_growth() -> None:
    """What is given back to the system, or was there at the fork, is free and not taken: neither growth nor relief."""
    rising = looked(workers=leak, free=lambda read: 300 * KIB * read)
    looks = tuple(
        replace(look, workers_bytes=look.workers_bytes - (look.workers_free_bytes or 0)) for look in rising.memory.looks
    )
    seen = replace(rising, memory=replace(rising.memory, looks=looks))
    assert {one.part for one in grown(seen, samples=500)} <= {"allocator", "copies"}


def test_a_trial_of_which_one_look_lacks_it_counts_nothing_as_free() -> None:
    """Its stretches would not compare: all of the growth is that of the workers."""
    told = looked(workers=leak, free=lambda read: 100.0 * KIB * read)
    first, *rest = told.memory.looks
    seen = replace(told, memory=replace(told.memory, looks=(replace(first, workers_free_bytes=None), *rest)))
    (one,) = grown(seen, samples=500)
    assert (one.part, one.bytes_per_sample) == ("workers", pytest.approx(EACH + 100 * KIB))


def test_a_leak_that_fills_what_was_free_is_seen() -> None:
    """The process takes nothing from the system while it does: what is in use grows, and that is what is looked at."""
    (one,) = grown(looked(workers=leak, free=lambda read: 500 * MIB - leak(read)), samples=500)
    assert (one.part, one.kind) == ("workers", "leak")
    assert one.bytes_per_sample == pytest.approx(EACH)


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_a_cache_is_a_cache_where_samples_come_again(workers: int) -> None:
    """A cache read into a third pass is one, whatever the number of workers, with its bytes of a sample."""
    config = LoaderConfig.normalised(batch_size=10, num_workers=workers)
    fills = cache(900, max(1, workers))
    parts = {"workers": fills} if workers else {"main": fills}
    (one,) = grown(looked(config=config, at=(4, 80, 240), **parts), samples=900)
    assert (one.part, one.kind) == ("workers" if workers else "main", "cache")
    assert one.bytes_per_sample == pytest.approx(EACH, rel=0.02)


def test_without_a_second_pass_it_is_one_of_the_two() -> None:
    """2,000 of 50,000 samples read, or no length at all, do not tell a cache from a leak, and it is said so."""
    assert [one.kind for one in grown(looked(workers=leak))] == ["cache or leak"]
    assert [one.kind for one in grown(looked(workers=leak), samples=None)] == ["cache or leak"]


def test_configurations_tell_together_what_one_does_not() -> None:
    """One worker within its first pass, four workers over several: the cache of the second names that of the first."""
    few, many = LoaderConfig(batch_size=10, num_workers=1), LoaderConfig(batch_size=10, num_workers=4)
    first = looked(config=few, workers=cache(800, 1), at=(4, 30, 60))
    second = looked(config=many, workers=cache(800, 4), at=(8, 200, 400))
    assert [one.kind for one in grown(first, samples=800)] == ["cache or leak"]
    assert [one.kind for one in grown(first, second, samples=800)] == ["cache"]


def test_copies_are_told_from_what_is_allocated() -> None:
    """What is held rises while nothing is allocated: copy-on-write, to the byte."""
    (one,) = grown(looked(copies=leak), looked(copies=leak))
    assert (one.part, one.kind) == ("copies", "copy-on-write")
    assert one.bytes_per_sample == pytest.approx(EACH)


def collected(read: float) -> float:
    """40 MiB in each of two workers, somewhere between the 100th and the last batch."""
    return 80.0 * MIB if read > 1500 else 0.0


def test_copies_that_come_at_once_are_a_collection_and_do_not_go_on() -> None:
    """80 MiB after the second look, none before: once, 40 MiB a worker; no more is to come, in no epoch."""
    records = looked(copies=collected), looked(copies=collected)
    (one,) = grown(*records)
    assert (one.part, one.kind, one.once_bytes) == ("copies", "collection", 40 * MIB)
    ahead = ahead_of(*records, samples=50_000)
    assert ahead.epoch_bytes == ahead.most_bytes == ahead.now_bytes


def test_a_trial_that_ends_before_the_collection_is_counted_with_it() -> None:
    """Where others of its kind collected later, what one with fewer batches did not see is added, once."""
    other = LoaderConfig(batch_size=10, num_workers=4)
    short = looked(copies=collected, config=other, at=(4, 20, 40))
    found = found_in(looked(copies=collected), looked(copies=collected), short)
    ahead = outlook(other, [short], found, probe=a_probe(dataset_samples=50_000), batches_per_epoch=5_000)
    assert (ahead.epoch_bytes or 0) - (ahead.now_bytes or 0) == 4 * 40 * MIB
    assert ahead.most_bytes == ahead.epoch_bytes


def test_copies_of_unlike_size_are_no_collection() -> None:
    """40 MiB at once in one trial and 80 in another are not all of the same objects: they may go on."""
    (one,) = grown(looked(copies=collected), looked(copies=lambda read: collected(read) / 2))
    assert one.kind == "copy-on-write"


def test_growth_of_several_kinds_is_taken_apart() -> None:
    """Copies, a leak in the workers and one in the main process at once are three, each with its own slope."""
    record = looked(copies=lambda read: 20 * KIB * read, workers=leak, main=lambda read: 30 * KIB * read)
    again = replace(record, order=1)
    seen = {one.part: one.bytes_per_sample for one in grown(record, again, samples=500)}
    assert seen == pytest.approx({"copies": 20 * KIB, "workers": EACH, "main": 30 * KIB})


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_growth(seed: int) -> None:
    """Allocators that come and go by 3 MiB, around nothing, are accused in none of 20 runs of three trials."""
    draw = random.Random(seed)
    trials = [looked(noise=lambda: draw.gauss(0, 3 * MIB), order=number) for number in range(3)]
    assert grown(*trials) == ()


def test_growth_in_noise_has_an_interval_that_holds_the_truth() -> None:
    """With 1 MiB of noise in each look the 95 % interval of three trials holds 64 KiB in at least 18 of 20 runs."""
    held = 0
    for seed in range(20):
        draw = random.Random(seed)
        trials = [looked(workers=leak, noise=lambda d=draw: d.gauss(0, MIB), order=number) for number in range(3)]
        (one,) = [one for one in grown(*trials, samples=500) if one.part == "workers"]
        held += one.low is not None and one.high is not None and one.low <= EACH <= one.high
    assert held >= 18


def test_little_growth_needs_trials_that_agree() -> None:
    """10 MiB in each worker is nothing in one trial and is growth in two; 3 MiB never is, and 40 MiB is at once."""

    def by(size: float) -> list[TrialRecord]:
        return [looked(workers=lambda read: 2 * size * read / 2000, order=order) for order in (0, 1)]

    assert not grown(by(10 * MIB)[0])
    assert grown(*by(10 * MIB))
    assert not grown(*by(3 * MIB))
    assert grown(by(40 * MIB)[0])


def test_allocators_may_hold_two_batches() -> None:
    """80 MiB more in workers that make batches of 48 MiB is no growth; with small batches it is."""
    small = [looked(workers=lambda read: 160 * MIB * read / 2000, order=order) for order in (0, 1)]
    large = [replace(one, steady=one.steady and replace(one.steady, bytes_per_batch=48.0 * MIB)) for one in small]
    assert grown(*small)
    assert not grown(*large)


def test_a_full_queue_is_no_growth() -> None:
    """8 arrays of 8 MiB ready in each of 2 workers, one more in pickling, are its queue; with small batches they grow.

    So are as many in the main process, that came before their turn. Twice as many are growth, and so is what it holds
    beside batches in shared memory.
    """
    ready = 9 * 8 * MIB
    config = replace(CONFIG, prefetch_factor=8)
    full = [looked(config=config, workers=lambda read: 2 * ready * read / 2120, order=order) for order in (0, 1)]
    main = [looked(config=config, main=lambda read: ready * read / 2120, order=order) for order in (0, 1)]
    more = [looked(config=config, main=lambda read: 2 * ready * read / 2120, order=order) for order in (0, 1)]
    shared = [
        looked(config=config, main=lambda read: ready * read / 2120, kept=lambda _: 16.0 * MIB, order=order)
        for order in (0, 1)
    ]
    queued, held, grows, beside = (
        [replace(one, steady=one.steady and replace(one.steady, bytes_per_batch=8.0 * MIB)) for one in trials]
        for trials in (full, main, more, shared)
    )
    assert grown(*full)
    assert not grown(*queued)
    assert not grown(*held)
    assert [one.part for one in grown(*grows)] == ["main"]
    assert [one.part for one in grown(*beside)] == ["main"]


def test_pinned_memory_that_fills_once_is_no_growth() -> None:
    """6 blocks of 8 MiB for pinned batches of 5 MiB are the queue's in the main process; without pinning they grow."""
    pinned = replace(CONFIG, pin_memory=True)
    assert [one.part for one in grown(*main_holds(48, CONFIG))] == ["main"]
    assert not grown(*main_holds(48, pinned))
    assert [one.part for one in grown(*main_holds(200, pinned))] == ["main"]


def main_holds(mebibytes: int, config: LoaderConfig) -> list[TrialRecord]:
    """Two trials with batches of 5 MiB in which the main process comes to hold so much more."""
    trials = [looked(config=config, main=lambda read: mebibytes * MIB * read / 1960, order=order) for order in (0, 1)]
    return [replace(one, steady=one.steady and replace(one.steady, bytes_per_batch=5.0 * MIB)) for one in trials]


def test_what_has_stopped_is_no_growth_and_what_slows_goes_on_as_at_last() -> None:
    """A cache bounded before the middle has no growth left; one at half its pace after the middle goes on at that."""

    def slowing(read: float) -> float:
        return EACH * (min(read, 1000) + max(0.0, read - 1000) / 2)

    assert grown(looked(workers=lambda read: EACH * min(read, 900)), samples=None) == ()
    (one,) = grown(looked(workers=slowing), looked(workers=slowing), samples=None)
    assert one.bytes_per_sample == pytest.approx(EACH / 2)


def test_kept_batches_are_seen_by_their_descriptors() -> None:
    """Shared memory that grows with open files is kept batches; that of others, without them, is nothing."""
    kept = looked(kept=lambda read: 12_288 * read, files=lambda batches: batches / 2)
    others = looked(kept=lambda read: 12_288 * read)
    (one,) = grown(kept)
    assert (one.part, one.kind, one.files_per_batch) == ("shm", "kept batches", 0.5)
    assert one.bytes_per_sample == pytest.approx(12_288, rel=0.03)
    assert grown(others) == ()


def test_a_leak_is_carried_on_to_the_last_batch() -> None:
    """2,000 samples read by the last look, 48,000 to come: 64 KiB of each of them on top of the peak."""
    ahead = ahead_of(looked(workers=leak), samples=50_000)
    assert ahead.now_bytes is not None
    assert ahead.epoch_bytes is not None
    assert ahead.epoch_bytes - ahead.now_bytes == pytest.approx(48_000 * EACH)
    limit = ahead.now_bytes + 24_000 * EACH
    assert ahead.reached_samples(limit) == pytest.approx(26_000)
    assert ahead.reached_samples(ahead.epoch_bytes) is None


def test_copies_end_where_nothing_is_shared() -> None:
    """Copies come to what the workers still share, or to less where the epoch ends before."""
    record = looked(copies=leak)
    shared = record.memory.looks[-1].shared_bytes
    far, near = ahead_of(record, samples=50_000), ahead_of(record, samples=3000)
    assert (far.epoch_bytes or 0) - (far.now_bytes or 0) == shared
    assert (near.epoch_bytes or 0) - (near.now_bytes or 0) == pytest.approx(1000 * EACH)


def test_copies_end_with_what_the_data_set_holds() -> None:
    """A data set of 100 MiB is copied once by each of 2 workers: 200 MiB, less what was copied between the looks."""
    record = looked(copies=leak)
    ahead = ahead_of(record, samples=50_000, built_bytes=100 * MIB)
    seen = EACH * (2000 - 40)
    assert (ahead.epoch_bytes or 0) - (ahead.now_bytes or 0) == 200 * MIB - seen


@pytest.mark.parametrize("persistent", [False, True])
def test_a_cache_ends_with_the_pass_or_with_all_samples_in_each_worker(*, persistent: bool) -> None:
    """After two passes of 1,000 samples the epoch adds nothing; workers that are kept go on to W·N samples."""
    config = replace(CONFIG, persistent_workers=persistent)
    record = looked(config=config, workers=cache(1000), at=(4, 100, 196))
    ahead = ahead_of(record, samples=1000)
    assert ahead.epoch_bytes == ahead.now_bytes
    assert ahead.most_bytes is not None
    rest = EACH * 2000 * 0.25 if persistent else 0
    assert ahead.most_bytes - (ahead.now_bytes or 0) == pytest.approx(rest)
    assert ahead.worst_bytes == ahead.most_bytes


def test_kept_workers_come_to_as_much_whether_it_is_a_cache_or_a_leak() -> None:
    """Undecided, the least that later epochs bring is a cache of W·N samples; where it ends is not known."""
    record = looked(config=replace(CONFIG, persistent_workers=True), workers=leak)
    ahead = ahead_of(record, samples=50_000)
    assert ahead.most_bytes is None
    assert (ahead.worst_bytes or 0) - (ahead.now_bytes or 0) == pytest.approx(EACH * (2 * 50_000 - 2000))


def test_an_epoch_of_unknown_length_has_the_peak() -> None:
    """Without a number of batches nothing is projected."""
    record = looked(workers=leak)
    ahead = outlook(
        CONFIG, [record], found_in(record, samples=None), probe=a_probe(dataset_samples=None), batches_per_epoch=None
    )
    assert ahead.epoch_bytes == ahead.now_bytes
    assert ahead.most_bytes is None


def chosen_with(records: list[TrialRecord], limit: int) -> tuple[Finding | None, dict[str, bool | None]]:
    probe, limits = a_probe(), MemoryLimits(host_memory_bytes=limit)
    configs = tuple(dict.fromkeys(record.config for record in records))
    choice = choose(summarise(records, configs, probe), records, limits=limits, tie=0.02, probe=probe)
    found = memory_grows.finding(choice, records, probe=probe, limits=limits, environment=an_environment())
    return found, {row.config_id: row.within_limits for row in choice.rows}


def test_a_configuration_that_was_not_looked_at_is_judged_like_its_kind() -> None:
    """A leak seen with 2 workers puts 4 workers over the limit too; without workers nothing grows."""
    flat = a_record(ALONE, (900.0, 900.0), order=2)
    unseen = a_record(LoaderConfig(batch_size=10, num_workers=4), (1100.0, 1100.0), order=1)
    end = looked(workers=leak).memory.looks[-1:]
    unseen = replace(unseen, memory=MemoryMeasurement(host_peak_bytes=500 * MIB, samples=1, looks=end))
    found, within = chosen_with([looked(workers=leak), unseen, flat], limit=1024 * MIB)
    assert within == {"b10-w2": False, "b10-w4": False, "b10-w0": True}
    assert found is not None
    assert found.severity == "warning"
    assert "4 workers, batch 10" in found.message


def test_the_finding_has_numbers_cause_limit_and_batch() -> None:
    """640 KiB a batch by 2 workers; peak, epoch and the batch that passes 2 GiB are those of arithmetic."""
    found, _ = chosen_with([looked(workers=leak)], limit=2048 * MIB)
    assert found is not None
    assert (found.code, found.severity) == ("LT018", "warning")
    assert found.numbers["workers_bytes_per_batch"] == pytest.approx(10 * EACH)
    record = looked(workers=leak)
    peak = record.memory.host_peak_bytes or 0
    room = (2048 * MIB - peak) / (10 * EACH)
    assert found.numbers["limit_at_batch"] == pytest.approx(200 + room, abs=1)
    assert found.numbers["epoch_peak_bytes"] == pytest.approx(peak + 48_000 * EACH)
    batch = int(found.numbers["limit_at_batch"])
    assert "640 KiB a batch, 320 KiB by worker, in the workers, by a cache or a leak" in found.message
    assert f"above the limit of 2.0 GiB, which is passed at batch {batch:,} of 5,000" in found.message


def test_the_finding_has_the_interval_of_the_growth() -> None:
    """Three trials in 1 MiB of noise give 640 KiB a batch between the ends of an interval; a single trial has none."""
    draw = random.Random(1)
    trials = [looked(workers=leak, noise=lambda: draw.gauss(0, MIB), order=number) for number in range(3)]
    found, _ = chosen_with(trials, limit=2048 * MIB)
    alone, _ = chosen_with(trials[:1], limit=2048 * MIB)
    assert found is not None
    assert alone is not None
    numbers = found.numbers
    assert (numbers["workers_trials"], alone.numbers["workers_trials"]) == (3.0, 1.0)
    assert numbers["workers_bytes_per_batch_low"] <= 10 * EACH <= numbers["workers_bytes_per_batch_high"]
    assert numbers["workers_bytes_per_batch_low"] < numbers["workers_bytes_per_batch"]
    assert "workers_bytes_per_batch_low" not in alone.numbers


def test_copies_that_end_below_the_limit_are_for_information() -> None:
    """Copies bounded at 500 MiB under a limit of 8 GiB are no warning; nothing that grows is no finding."""
    found, _ = chosen_with([looked(copies=leak)], limit=8192 * MIB)
    assert found is not None
    assert found.severity == "info"
    assert "numpy or pyarrow arrays" in found.advice
    assert chosen_with([looked()], limit=8192 * MIB)[0] is None


def test_a_sweep_goes_on_to_what_does_not_grow() -> None:
    """Workers that outgrow the limit are found out by the verification, and the sweep ends with 0 workers verified."""
    configs = SearchSpace(batch_size=(10,), num_workers=(0, 1, 2, 4), pin_memory=(False,), drop_last=(False,)).configs()
    machine = Machine(rate=lambda config: 1000.0 * (1 + config.num_workers), window_sd=0.02)
    run = machine.run

    def growing(step: object) -> TrialRecord:
        record = run(step)  # type: ignore[arg-type]
        config = record.config
        seen = looked(config=config, workers=leak if config.num_workers else nothing).memory
        seen = seen if record.phase == "verify" else replace(seen, looks=seen.looks[-1:])
        machine.records[-1] = replace(record, memory=seen)
        return machine.records[-1]

    machine.run = growing  # type: ignore[method-assign]
    plan, limits, probe = SweepPlan(target="x"), MemoryLimits(host_memory_bytes=2048 * MIB), a_probe(baseline=ALONE)
    records = machine.sweep(plan, configs, probe=probe, limits=limits)
    choice = choose(summarise(records, configs, probe), records, limits=limits, tie=0.02, probe=probe)
    assert (choice.chosen, choice.verified) == ("b10-w0", True)
    assert {row.within_limits for row in choice.rows if row.num_workers} == {False}
