"""What is judged from the check of the contents: rates of unique samples, and the findings with their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from scripted_machine import Machine, a_probe, a_record, an_environment

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge import verdict, wrong_data
from loadtune.judge.unique import counting_unique, unique_share
from loadtune.record.contents import Checksums, Contents, Delivery, Length, SharedFile
from loadtune.record.results import EpochMeasurement, Finding, MemoryLimits, Probe, RunResult

BASE = LoaderConfig(batch_size=64)
UNSHARDED = Contents(
    deliveries=tuple(Delivery(num_workers=count, samples=100 * count, unique_share=1 / count) for count in (2, 4))
)


def probe_with(contents: Contents, **changes: Any) -> Probe:
    return a_probe(dataset_kind="iterable", contents=contents, **changes)


def said(contents: Contents) -> tuple[Finding, ...]:
    return wrong_data.findings(contents, (), None)


@pytest.mark.parametrize(("workers", "share"), [(0, 1.0), (1, 1.0), (2, 0.5), (4, 0.25), (3, 1 / 3), (8, 0.125)])
def test_each_number_of_workers_has_its_share(workers: int, share: float) -> None:
    """Numbers that were looked at have what was seen, one process repeats nothing, and more add no unique samples."""
    assert unique_share(probe_with(UNSHARDED), workers) == pytest.approx(share)


def test_a_share_that_nobody_saw_is_unknown() -> None:
    """Without a check, and beyond numbers that repeat nothing, there is no share."""
    assert unique_share(a_probe(), 4) is None
    sharded = Contents(deliveries=(Delivery(num_workers=2, samples=100, unique_share=1.0),))
    assert unique_share(probe_with(sharded), 8) is None


def test_windows_and_epochs_count_unique_samples() -> None:
    """A quarter of the samples is left in windows, totals and epochs of 4 workers; times and bytes are as they were."""
    four = replace(BASE, num_workers=4, prefetch_factor=2)
    epoch = EpochMeasurement(drop_last=False, seconds=2.0, samples=4000, batches=64)
    record = a_record(four, (1000.0, 1200.0), epochs=(epoch,))
    (counted,) = counting_unique([record], probe_with(UNSHARDED))
    assert record.steady is not None
    assert counted.steady is not None
    assert counted.steady.window_samples_per_second == (250.0, 300.0)
    assert counted.steady.samples_measured == 275
    assert counted.steady.epochs[0].samples == 1000
    assert counted.steady.epochs[0].seconds == 2.0
    assert counted.steady.measured_seconds == record.steady.measured_seconds
    assert counted.steady.bytes_per_batch == record.steady.bytes_per_batch


def test_what_is_not_known_to_repeat_counts_in_full() -> None:
    """Records without a share are the same afterwards."""
    record = a_record(replace(BASE, num_workers=4, prefetch_factor=2))
    assert counting_unique([record], a_probe()) == (record,)


def concluded(probe: Probe) -> RunResult:
    """Return the end of a sweep in which each worker adds 900 delivered samples a second to 1,000 without any."""
    configs = tuple(LoaderConfig.normalised(batch_size=64, num_workers=workers) for workers in (0, 2, 4))
    machine = Machine(rate=lambda config: 1000.0 + 900.0 * config.num_workers)
    plan = SweepPlan(target="x", time_budget_seconds=60.0)
    return verdict.conclude(
        plan=plan,
        environment=an_environment(),
        probe=probe,
        limits=MemoryLimits(),
        records=machine.sweep(plan, configs, probe=probe),
        configs=configs,
        command=(),
        started_at="2025-01-01T00:00:00Z",
        elapsed_seconds=60.0,
    )


def test_the_choice_goes_by_unique_samples() -> None:
    """Four workers deliver 4.6 times as much and are chosen; where a quarter of it is unique, two workers have more."""
    assert concluded(a_probe()).best.config.num_workers == 4  # type: ignore[union-attr]
    run = concluded(probe_with(UNSHARDED))
    rates = {row.num_workers: row.samples_per_second for row in run.trials}
    assert rates == pytest.approx({0: 1000, 2: 1400, 4: 1150}, rel=0.01)
    delivered = {row.num_workers: row.delivered_samples_per_second for row in run.trials}
    assert delivered == pytest.approx({0: 1000, 2: 2800, 4: 4600}, rel=0.01)
    assert run.best is not None
    assert run.best.config.num_workers == 2
    finding = next(one for one in run.findings if one.code == "LT019")
    assert finding.severity == "error"
    assert "4 workers, batch 64 delivered 4,600 samples/s, which is 1,150 samples/s of unique ones" in finding.message
    assert "50.0 % with 2, 25.0 % with 4 workers" in finding.message
    assert "get_worker_info()" in finding.advice


def test_idle_workers_are_named_with_the_shards() -> None:
    """5 of 8 workers without a sample mean 3 shards; it is a warning only where the choice has more workers."""
    found = Contents(deliveries=(Delivery(num_workers=8, samples=90, unique_share=1.0, idle_workers=5),))
    (finding,) = said(found)
    assert (finding.severity, finding.numbers) == ("info", {"useful_workers": 3.0})
    row = concluded(a_probe()).trials[-1]
    (warned,) = wrong_data.findings(found, (row,), row)
    assert warned.severity == "warning"


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (Length(claimed=50, seen=80, ended=True), "says 50, and one worker delivers 80 samples"),
        (Length(claimed=50, seen=51, ended=False), "says 50, and one worker delivers more than 50 samples"),
    ],
)
def test_a_wrong_length_has_both_numbers(length: Length, words: str) -> None:
    """The message has what is claimed and what came, and says whether it came to an end."""
    (finding,) = said(Contents(length=length))
    assert words in finding.message
    assert finding.numbers == {"claimed_samples": 50.0, "seen_samples": float(length.seen)}


@pytest.mark.parametrize(("cured", "severity"), [(True, "error"), (False, "warning"), (None, "warning")])
def test_only_a_proven_cause_is_an_error(cured: bool | None, severity: str) -> None:  # noqa: FBT001 - a column
    """Differences that end with offsets of each worker's own are an error, others a warning."""
    sums = Checksums(num_workers=2, samples=500, differing=7, first_index="42", cured=cured)
    (finding,) = said(Contents(checksums=sums))
    assert (finding.code, finding.severity) == ("LT020", severity)
    assert "7 of 500 samples differ between 0 and 2 workers, the first at index 42" in finding.message
    assert ("os.pread" in finding.advice) == (cured is True)


def test_many_files_are_counted_and_some_named() -> None:
    """Of 70 files three are named; one whose offset moved makes it a warning."""
    files = tuple(SharedFile(path=f"/data/{number}.bin", moved=number == 0) for number in range(50))
    (finding,) = said(Contents(shared_files=files, shared_file_count=70))
    assert finding.severity == "warning"
    assert "70 files opened" in finding.message
    assert "/data/0.bin, /data/1.bin, /data/2.bin and 67 more" in finding.message


def test_nothing_found_is_nothing_said() -> None:
    """A check that found all in order, or that was skipped, has no findings."""
    fine = Contents(
        deliveries=(Delivery(num_workers=2, samples=100, unique_share=1.0),),
        checksums=Checksums(num_workers=2, samples=500),
    )
    assert said(fine) == said(Contents(skipped="a reason")) == ()


def test_a_probe_from_before_the_check_still_loads() -> None:
    """A run directory without contents is read, and has none."""
    old = msgspec.to_builtins(a_probe())
    del old["contents"]
    assert msgspec.convert(old, Probe).contents == Contents()
