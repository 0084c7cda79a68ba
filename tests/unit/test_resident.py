"""The resident-memory model: on trials whose truth is written down, and in every row and output of a result."""

from __future__ import annotations

import csv
import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from rich.console import Console
from scripted_machine import a_probe, a_record, an_environment

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.judge.memory_rows import overflow
from loadtune.judge.resident import check, resident
from loadtune.judge.ridge import Belief, fit
from loadtune.judge.verdict import conclude
from loadtune.record.results import MemoryLimits, MemoryLook, MemoryMeasurement, Probe, RunResult, TrialRecord
from loadtune.show.page import render
from loadtune.show.predicted import memory_model_sentence
from loadtune.show.tables import to_csv, to_json
from loadtune.show.terminal import print_result

MIB = 2**20
SAMPLE_BYTES = 150_528
BASE, WORKER, HELD, ALONE = 700 * MIB, 40 * MIB, 1.5, 3.0
PROBE = a_probe(
    bytes_per_sample=float(SAMPLE_BYTES), shared_bytes_per_sample=float(SAMPLE_BYTES), tensors_per_batch=1.0,
    default_start_method="fork",
)  # fmt: skip
Truth = Callable[[LoaderConfig], int]


def private(config: LoaderConfig) -> int:
    """Memory without batches in shared memory: each worker has 40 MiB and goes on to hold one and a half batches."""
    batch = (config.batch_size or 1) * SAMPLE_BYTES
    return round(BASE + config.num_workers * (WORKER + HELD * batch) + (0 if config.num_workers else ALONE * batch))


def shared(config: LoaderConfig) -> int:
    """(P·W + 1)·B·M."""
    return (config.batches_in_flight + 1) * (config.batch_size or 1) * SAMPLE_BYTES if config.num_workers else 0


def looked(config: LoaderConfig, order: int = 0, truth: Truth = private, gpu: int | None = None) -> TrialRecord:
    """A trial whose memory was looked at once, its queue full."""
    shm, rest = shared(config), truth(config)
    look = MemoryLook(
        batches=50,
        resident_bytes=rest + shm,
        shm_bytes=shm,
        main_bytes=0,
        workers_bytes=0,
        held_bytes=0,
        shared_bytes=0,
    )
    seen = MemoryMeasurement(
        host_peak_bytes=rest + shm, private_peak_bytes=rest, shm_peak_bytes=shm, gpu_peak_bytes=gpu, samples=1,
        looks=(look,),
    )  # fmt: skip
    size = config.batch_size or 1
    record = a_record(config, (100.0, 100.0), order=order, bytes_per_batch=float(size * SAMPLE_BYTES))
    return replace(record, memory=seen)


def grid(sizes: Sequence[int], workers: Sequence[int]) -> list[LoaderConfig]:
    every = (LoaderConfig.normalised(batch_size=size, num_workers=count) for size in sizes for count in workers)
    return list(dict.fromkeys(every))


def trials(configs: Sequence[LoaderConfig], truth: Truth = private) -> list[TrialRecord]:
    return [looked(config, order, truth) for order, config in enumerate(configs)]


MEASURED = grid((16, 64), (0, 1, 4))
UNSEEN = grid((8, 32, 128), (2, 8, 16))


def test_what_was_not_measured_is_known() -> None:
    """Six trials give host memory of up to 16 workers within 3 %, and shared memory within one batch."""
    model = resident(trials(MEASURED), PROBE)
    assert model is not None
    for config in UNSEEN:
        found = model.of(config)
        assert found.host_bytes == pytest.approx(private(config) + shared(config), rel=0.03)
        assert abs(found.shm_bytes - shared(config)) <= (config.batch_size or 1) * SAMPLE_BYTES
        assert found.pinned_bytes == 0
        assert found.device_bytes is None
    assert model.parameters["worker_bytes"] == pytest.approx(WORKER, rel=0.1)


def test_the_error_is_of_trials_that_were_not_seen() -> None:
    """A truth of the model's shape is checked to 2 %; one that jumps for a configuration is off there by its jump."""
    told = check(trials(MEASURED), PROBE)
    assert told is not None
    assert told.median_abs_error < 0.02
    strange = MEASURED[-1]
    jumps = check(trials(MEASURED, lambda config: private(config) * (2 if config == strange else 1)), PROBE)
    assert jumps is not None
    assert jumps.unseen[strange].host_bytes == pytest.approx(private(strange) + shared(strange), rel=0.1)
    assert jumps.p90_abs_error > 0.3


def test_workers_that_are_started_anew() -> None:
    """A spawned worker holds torch by itself: it is told from a forked one, and each is predicted as it is."""

    def truth(config: LoaderConfig) -> int:
        return private(config) + (200 * MIB * config.num_workers if config.multiprocessing_context else 0)

    spawned = [replace(one, multiprocessing_context="spawn") for one in MEASURED if one.num_workers]
    model = resident(trials([*MEASURED, *spawned], truth), PROBE)
    assert model is not None
    for method in (None, "spawn"):
        config = LoaderConfig(batch_size=32, num_workers=8, multiprocessing_context=method)
        assert model.of(config).host_bytes == pytest.approx(truth(config) + shared(config), rel=0.03)


def test_pinned_and_device_memory() -> None:
    """Page-locked blocks of powers of two come on top, P·W + 2 of them; device memory goes with the batch."""
    probe = replace(PROBE, accelerator="a device")
    records = [
        looked(config, order, gpu=500 * MIB + 4 * (config.batch_size or 1) * SAMPLE_BYTES)
        for order, config in enumerate(MEASURED)
    ]
    model = resident(records, probe)
    assert model is not None
    pinned, plain = (model.of(LoaderConfig(batch_size=32, num_workers=4, pin_memory=pins)) for pins in (True, False))
    assert pinned.pinned_bytes == 10 * 8 * MIB  # 4.6 MiB a batch
    assert pinned.host_bytes - plain.host_bytes == pytest.approx(10 * 8 * MIB, rel=1e-6)
    assert pinned.device_bytes == pytest.approx(500 * MIB + 4 * 32 * SAMPLE_BYTES, rel=0.02)


def test_batches_of_padded_sequences() -> None:
    """Batches that grow faster than B, as padding makes them, are read off the trials, not off one sample."""
    sizes = {8: 8**1.2, 32: 32**1.2, 128: 128**1.2}
    records = [
        replace(
            looked(config, order),
            steady=replace(
                a_record(config).steady,
                bytes_per_batch=1000 * sizes[config.batch_size or 1],  # type: ignore[type-var]
            ),
        )
        for order, config in enumerate(grid((8, 32), (0, 2)))
    ]
    model = resident(records, replace(PROBE, bytes_per_sample=1000.0, shared_bytes_per_sample=1000.0))
    assert model is not None
    found = model.of(LoaderConfig(batch_size=128, num_workers=2))
    semaphores = (8 + 2 * 3) * 4096
    assert found.shm_bytes == pytest.approx(5 * 1000 * sizes[128] + semaphores, rel=0.03)


def test_too_little_to_go_by() -> None:
    """Two configurations, or none that was looked at, predict nothing; the rows stay as they are."""
    assert resident(trials(MEASURED[:2]), PROBE) is None
    unseen = [a_record(config, order=order, peak=None) for order, config in enumerate(MEASURED)]
    assert resident(unseen, PROBE) is None


def concluded(limit: int | None = None, probe: Probe = PROBE) -> RunResult:
    return conclude(
        plan=SweepPlan(target="x"),
        environment=an_environment(),
        probe=probe,
        limits=MemoryLimits(host_memory_bytes=limit),
        records=trials(MEASURED),
        configs=[*MEASURED, *UNSEEN],
        command=("loadtune", "sweep"),
        started_at="2031-05-04T10:11:12+00:00",
        elapsed_seconds=20.0,
    )


def test_every_row_and_output_has_it() -> None:
    """Each row has its predicted memory, measured or not, in CSV, JSON, terminal and report; the error is said."""
    result = concluded()
    for row in result.trials:
        if row.config != result.probe.baseline:
            true = private(row.config) + shared(row.config)
            assert row.predicted_host_peak_bytes == pytest.approx(true, rel=0.05)
    cells = {one["config_id"]: one for one in csv.DictReader(io.StringIO(to_csv(result)))}
    unseen = result.trial(UNSEEN[0].config_id)
    assert unseen is not None
    assert unseen.host_peak_bytes is None
    assert int(cells[unseen.config_id]["predicted_host_peak_bytes"]) == unseen.predicted_host_peak_bytes
    data = json.loads(to_json(result))
    assert data["model"]["memory_median_abs_error"] < 0.05
    assert {"predicted_shm_peak_bytes", "predicted_pinned_bytes", "predicted_gpu_peak_bytes"} <= set(data["trials"][0])
    console = Console(width=140, file=io.StringIO(), force_terminal=False)
    print_result(result, console)
    said = memory_model_sentence(result)
    assert said is not None
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "by model" in shown
    assert "The memory model predicts" in shown
    assert "The memory model predicts" in render(result)


def test_a_limit_speaks_against_what_was_not_measured() -> None:
    """Rows over the limit by their predicted memory are out of it unmeasured; those under it stay open."""
    result = concluded(limit=1500 * MIB)
    for row in result.trials:
        if row.config in UNSEEN:
            over = private(row.config) + shared(row.config) > 1.15 * 1500 * MIB
            assert (row.within_limits is False) == over


def test_what_would_be_killed_is_refused() -> None:
    """By the trials so far 64 workers need more than the machine has: refused with the numbers; 2 are tried."""
    machine = an_environment(host_memory_limit_bytes=4 * 2**30)
    many = LoaderConfig(batch_size=64, num_workers=64)
    said = overflow(many, trials(MEASURED), probe=PROBE, environment=machine)
    assert said is not None
    assert said.kind == "host_oom"
    assert "by the memory of 6 trials" in said.reason
    assert "4.0 GiB" in said.reason
    few = LoaderConfig(batch_size=64, num_workers=2)
    assert overflow(few, trials(MEASURED), probe=PROBE, environment=machine) is None
    assert overflow(many, [], probe=PROBE, environment=machine) is None
    assert (
        overflow(many, trials(MEASURED), probe=PROBE, environment=an_environment(host_memory_limit_bytes=2**40)) is None
    )


def test_least_squares() -> None:
    """The parameters come back from exact values, none below zero, and one wild value in ten moves them little."""
    rows = [[1.0, float(at)] for at in range(10)]
    wide = [Belief(centre=0.0, spread=100.0)] * 2
    exact = [5 + 3 * row[1] for row in rows]
    assert fit(rows, exact, [0.1] * 10, wide) == pytest.approx([5, 3], rel=1e-3)
    falling = fit(rows, [5 - 3 * row[1] for row in rows], [0.1] * 10, wide)
    assert falling[1] == 0
    wild = [*exact[:-1], 1000.0]
    assert fit(rows, wild, [0.1] * 10, wide) == pytest.approx([5, 3], rel=0.25)
    assert fit([], [], [], wide) == [0.0, 0.0]


def test_speed() -> None:
    """Fit, check and rows of 60 measured configurations take less than a second of processor time."""
    configs = grid(range(8, 88, 8), range(6))
    records = trials(configs)
    began = time.process_time()
    check(records, PROBE)
    assert time.process_time() - began < 1.0
    assert len(list(itertools.chain(configs))) == 60
