"""The search for a batch size with real processes and steps that fail in known ways."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtune.describe.plan import Consumer, Limits
from loadtune.errors import TargetError
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, LoaderHolds
from loadtune.run.batch_size import HostStepper, find_batch_size, setup_of
from loadtune.units import Size

TARGETS = Path(__file__).with_name("step_targets.py")
MIB = 2**20


def plan_of(step: str, target: str = "numbers", **changes: object) -> BatchSizePlan:
    consumer = Consumer(step=step if step == "model" else f"{TARGETS}:{step}")
    settings = {"find_best": False, "probe_timeout_seconds": 60.0, **changes}
    return BatchSizePlan(target=f"{TARGETS}:{target}", consumer=consumer, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stepper() -> Iterator[HostStepper]:
    with HostStepper(setup_of(plan_of("nothing"), arguments={}, pickle_path=None)) as host:
        yield host


def found(stepper: HostStepper, step: str, *, host_memory: int | None = None, **changes: object) -> BatchSizeResult:
    size = Size(bytes=host_memory) if host_memory is not None else None
    return find_batch_size(plan_of(step, **changes), Limits(host_memory=size), stepper, environ={})


def test_largest_within_a_limit_of_host_memory(stepper: HostStepper) -> None:
    """A step that takes 4 MiB a sample fills a limit to 97 %, not over it, in six probes, predicted to 3 %."""
    result = found(stepper, "takes", host_memory=1_100 * MIB)
    verified = max((p for p in result.probes if p.fit == "fits"), key=lambda p: p.batch_size)
    assert result.largest == verified.batch_size
    assert 0.97 * 1_100 * MIB < verified.used_bytes["host"] <= 1_100 * MIB
    assert len(result.probes) <= 6
    assert verified.predicted_bytes["host"] == pytest.approx(verified.used_bytes["host"], rel=0.03)


def test_batches_of_a_loader_count_with_the_step(stepper: HostStepper) -> None:
    """What W·P batches take is in the sum: a batch that fits without them is a row that is refused with the sum."""
    loader = LoaderHolds(num_workers=4, prefetch_factor=2, worker_bytes=100 * MIB)
    result = found(stepper, "takes", host_memory=1_500 * MIB, loader=loader)
    refused = next(probe for probe in result.probes if probe.fit == "refused")
    assert result.largest is not None
    assert refused.batch_size - result.largest == pytest.approx(400 / 4, rel=0.2)
    assert "4 workers × 2 batches" in refused.reason
    assert refused.measured is None


def test_a_limit_that_is_no_power_of_two(stepper: HostStepper) -> None:
    """Out of memory above 37 gives 37, said to be exact."""
    result = found(stepper, "above_37")
    assert (result.largest, result.exact) == (37, True)


def test_multiples_only(stepper: HostStepper) -> None:
    """With multiples of 8 the same step gives 32, exactly."""
    result = found(stepper, "above_37", multiple_of=8)
    assert (result.largest, result.exact) == (32, True)
    assert all(probe.batch_size % 8 == 0 for probe in result.probes)


def test_out_of_memory_at_a_later_step(stepper: HostStepper) -> None:
    """A batch that runs for two steps and not for a third is not reported."""
    assert found(stepper, "AtStep3").largest == 40


def test_out_of_memory_in_evaluation(stepper: HostStepper) -> None:
    """A batch that can be learned from and not be evaluated is not reported."""
    assert found(stepper, "InEvaluation").largest == 50


def test_what_fails_below_what_fits_is_said(stepper: HostStepper) -> None:
    """Where 128 fails and larger ones run, the largest that ran stands, and a note tells of it."""
    result = found(stepper, "hole", most=4_000)
    assert (result.largest or 0) < 128 or any("does not grow evenly" in note for note in result.notes)
    assert any(probe.batch_size == 128 and probe.fit == "out_of_memory" for probe in result.probes)


def test_a_kernels_limit_is_no_memory(stepper: HostStepper) -> None:
    """A kernel that takes no more than 1,000 bounds the batch, and is named as what it is."""
    result = found(stepper, "kernel_limit")
    assert result.largest is not None
    assert 980 <= result.largest <= 1_000
    assert {probe.kind for probe in result.probes if probe.fit != "fits"} == {"size_limit"}


def test_a_workers_memory_is_no_batch_too_big(stepper: HostStepper) -> None:
    """What a loader's worker raises counts as a failure and never as out of memory."""
    result = found(stepper, "worker_fault")
    assert not any(probe.fit == "out_of_memory" for probe in result.probes)
    assert any("tells nothing of the batch size" in probe.reason for probe in result.probes if probe.fit == "failed")


def test_a_killed_probe_is_a_row(stepper: HostStepper) -> None:
    """A probe that dies by a signal, with no limit hit, is a failed row that says so, and the search goes on."""
    result = found(stepper, "killed")
    assert any(p.fit == "failed" and "SIGKILL" in p.reason for p in result.probes)
    assert result.largest is not None
    assert 98 <= result.largest <= 100


def test_a_mistake_in_the_step_is_said(stepper: HostStepper) -> None:
    """A step that raises at the first batch for another reason than memory ends the search with its words."""
    with pytest.raises(TargetError, match="shapes do not match"):
        found(stepper, "mistake")


def test_what_takes_too_long_is_no_want_of_memory(stepper: HostStepper) -> None:
    """Steps of 2 ms a sample, three at least in 3 s: no batch above 500 is reported, and time is named, not memory."""
    result = found(stepper, "sleeps", probe_timeout_seconds=3.0)
    assert result.largest is not None
    assert 250 <= result.largest <= 500
    assert not result.exact
    assert "within 3.00 s (--trial-timeout)" in result.because
    assert {probe.fit for probe in result.probes} <= {"fits", "late"}


def test_the_data_set_bounds_the_batch(stepper: HostStepper) -> None:
    """No batch is larger than the data set, and the result says that it is the reason."""
    result = found(stepper, "nothing")
    assert (result.largest, result.exact) == (5_000, True)
    assert "5,000 samples" in result.because


def test_a_model_with_batchnorm_of_one(stepper: HostStepper) -> None:
    """Where a batch of 1 makes BatchNorm raise, nothing fits under a maximum of 1, and it is not called memory."""
    result = found(stepper, "model", most=1)
    assert result.largest is None
    assert [probe.kind for probe in result.probes] == ["last_batch"]


def test_a_model_is_trained_and_evaluated(stepper: HostStepper) -> None:
    """The workload's model takes optimiser steps and an evaluation step in each probe."""
    result = found(stepper, "model", most=64)
    assert result.largest == 64
    measured = result.probes[-1].measured
    assert measured is not None
    assert measured.steps >= 3
    assert measured.evaluated


def test_the_longest_sample_counts() -> None:
    """Of 400 samples one is 100 times as long: the batch is that of padded rows of its length, 20 of them."""
    plan = plan_of("on_longest", "lengths")
    with HostStepper(setup_of(plan, arguments={}, pickle_path=None)) as host:
        result = find_batch_size(plan, Limits(), host, environ={})
    assert result.largest == 20
    assert any("largest of 400" in note for note in result.notes)


def test_command_finds_within_an_address_space_and_exits_3_where_nothing_fits(tmp_path: Path) -> None:
    """Under RLIMIT_AS the command leaves a row a probe and a result; with a step that never fits it exits with 3."""
    most = 6 * 2**30

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def command(step: str, folder: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "loadtune.cli.app", "batch-size", f"{TARGETS}:numbers", "--largest-only"]
        words += ["--step", f"{TARGETS}:{step}", "--output", str(tmp_path / folder)]
        return subprocess.run(words, capture_output=True, text=True, preexec_fn=limited, check=False)

    done = command("takes_space", "a")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "a/batch_size.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "a/probes.jsonl").read_text().splitlines()]
    assert rows == result["probes"]
    assert all(row["why"] for row in rows)
    assert {bound["resource"] for bound in result["bounds"]} == {"host", "address_space"}
    assert max(row["used_bytes"]["address_space"] for row in rows if row["fit"] == "fits") > 0.95 * most
    nothing = command("never", "b")
    assert nothing.returncode == 3
    assert "no batch fits" in nothing.stderr
