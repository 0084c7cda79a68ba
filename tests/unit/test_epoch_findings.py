"""Start, end and hand-over of an epoch, and small shared memory, as findings: with figures, and not without cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_machine import MIB, a_probe, a_record, an_environment

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge import epoch_findings, trouble_findings
from loadtune.judge.case import Case
from loadtune.judge.choose import choose
from loadtune.judge.epoch import parts_of
from loadtune.judge.summary import summarise
from loadtune.record.results import MemoryLimits, Model, Probe, TrialRecord

BASE = LoaderConfig(batch_size=64)
FOUR = LoaderConfig(batch_size=64, num_workers=4)


def case_of(
    record: TrialRecord, *, probe: Probe | None = None, model: Model | None = None, shm: int | None = None
) -> Case:
    """Return a sweep of one configuration."""
    seen, environment = probe or a_probe(), an_environment()
    rows = summarise([record], (record.config,), seen)
    return Case(
        plan=SweepPlan(target="x"),
        environment=replace(environment, shm_total_bytes=shm) if shm is not None else environment,
        probe=seen,
        limits=MemoryLimits(),
        records=[record],
        choice=choose(rows, [record], limits=MemoryLimits(), tie=0.02, probe=seen),
        model=model or Model(),
    )


def started(config: LoaderConfig, first_batch_seconds: float, *, samples: int = 64 * 100) -> Case:
    """Return a sweep at 640 samples/s, 10 s for a hundred batches, whose first batch took so long."""
    record = a_record(config, [640.0] * 4)
    assert record.steady is not None
    steady = replace(record.steady, first_batch_seconds=first_batch_seconds, startup_seconds=0.0)
    return case_of(replace(record, steady=steady), probe=a_probe(dataset_samples=samples))


@pytest.mark.parametrize(("first", "severity"), [(3.0, "info"), (12.0, "warning")])
def test_a_start_of_half_an_epoch_is_a_warning(first: float, severity: str) -> None:
    """2.6 s of an epoch of 12.6 s are information, 11.6 s of 21.6 s a warning."""
    finding = epoch_findings.start_up(started(FOUR, first))
    assert finding is not None
    assert finding.severity == severity


def test_a_late_first_batch_is_told_with_its_share_of_the_epoch() -> None:
    """Of 3 s before the first batch 2.6 s are told, 0.4 s load a round; 0.5 s are not, and kept workers have none."""
    finding = epoch_findings.start_up(started(FOUR, 3.0))
    assert finding is not None
    assert finding.numbers["first_batch_seconds"] == 3.0
    assert finding.numbers["start_seconds"] == pytest.approx(3.0 - 4 * 64 / 640)
    assert finding.numbers["share"] == pytest.approx(2.6 / finding.numbers["epoch_seconds"])
    assert "4 workers of the choice start anew in each" in finding.message
    assert "persistent_workers=True" in finding.advice
    assert epoch_findings.start_up(started(FOUR, 0.5)) is None
    assert epoch_findings.start_up(started(replace(FOUR, persistent_workers=True), 3.0)) is None
    alone = epoch_findings.start_up(started(BASE, 3.0))
    assert alone is not None
    assert "worker" not in alone.message + alone.advice


def test_loading_the_first_batches_is_no_start() -> None:
    """Where the first batch takes as long as a round of the workers takes, kept workers would spare nothing."""
    round_seconds = 4 * 64 / 640
    assert epoch_findings.start_up(started(FOUR, round_seconds, samples=64 * 8)) is None


def test_an_end_in_which_workers_run_dry_is_told() -> None:
    """9 batches with 4 workers are three rounds, the last for one batch; 100 batches have no end to speak of."""
    short = started(FOUR, 0.4, samples=64 * 9)
    finding = epoch_findings.tail(short)
    assert finding is not None
    assert "9 batches are 2.2 rounds of 4 workers" in finding.message
    # Three rounds of 0.4 s where nine batches at 640 samples/s are 0.9 s.
    assert finding.numbers["tail_seconds"] == pytest.approx(0.3)
    assert finding.numbers["epoch_seconds"] == pytest.approx(1.2)
    assert epoch_findings.tail(started(FOUR, 0.4)) is None
    assert epoch_findings.tail(started(BASE, 0.4, samples=64 * 9)) is None, "without workers there is no round"


def test_kept_workers_begin_with_a_round_of_theirs() -> None:
    """From the second epoch on 4 workers at 640 samples/s have their first batches after 0.4 s, not after 3 s."""
    parts = parts_of(started(replace(FOUR, persistent_workers=True), 3.0).choice.rows[0])
    assert parts is not None
    assert parts.first == pytest.approx(4 * 64 / 640.0)


def test_a_busy_main_process_is_told_where_the_model_says_so() -> None:
    """Bound by the main process, with its tensors and bytes; bound by workers, or without any, nothing is said."""
    record, probe = a_record(FOUR), a_probe(tensors_per_batch=2.0, tensors_per_sample=0.0)
    finding = epoch_findings.hand_over(case_of(record, probe=probe, model=Model(pick_bounded_by="main process")))
    assert finding is not None
    assert "(2 tensors" in finding.message
    assert finding.numbers["tensors_per_batch"] == 2.0
    assert epoch_findings.hand_over(case_of(record, model=Model(pick_bounded_by="workers"))) is None
    assert epoch_findings.hand_over(case_of(a_record(BASE), model=Model(pick_bounded_by="main process"))) is None


def test_a_small_shared_memory_is_told_with_what_is_needed() -> None:
    """64 MiB where 9 batches of 64 MiB are loaded ahead: LT028 has both; failures of another kind are none of it."""
    failed = replace(a_record(FOUR, status="failed"), failure_kind="shm_full", failure_reason="full")
    probe = a_probe(shared_bytes_per_sample=float(MIB))
    finding = trouble_findings.small_shared_memory(case_of(failed, probe=probe, shm=64 * MIB))
    assert finding is not None
    assert finding.message.startswith("shared memory is small: /dev/shm has 64.0 MiB, and 1 configuration of 1 need")
    assert finding.numbers["needed_bytes"] == 9 * 64 * MIB
    other = replace(failed, failure_kind="worker_error")
    assert trouble_findings.small_shared_memory(case_of(other, probe=probe, shm=64 * MIB)) is None
