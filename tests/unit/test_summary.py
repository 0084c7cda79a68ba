"""From trials to rows, and what an epoch takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_machine import MIB, a_probe, a_record

from loadtune.describe.config import LoaderConfig
from loadtune.judge.epoch import composed_epoch_seconds, epoch_shape
from loadtune.judge.memory import projected_peak_bytes, within_limits
from loadtune.judge.summary import all_configs, summarise
from loadtune.record.results import EpochMeasurement, MemoryLimits, TrialRecord, TrialResult

PLAIN = LoaderConfig(batch_size=64)
FOUR = LoaderConfig(batch_size=64, num_workers=4)


def row_of(config: LoaderConfig, *records: TrialRecord, samples: int | None = 50_000) -> TrialResult:
    return summarise(records, [config], a_probe(dataset_samples=samples))[0]


def test_rate_and_document_columns() -> None:
    """A row has the rate of its windows, and N/B, K·B·T and K·B·M with T as probed and M as received."""
    row = row_of(PLAIN, a_record(PLAIN, (990.0, 1010.0)))
    assert row.samples_per_second == pytest.approx(1000, rel=1e-3)
    assert row.samples_per_second_low is not None
    assert row.samples_per_second_low < 1000
    assert (row.batches_per_epoch, row.kbt_epoch_seconds) == (782, pytest.approx(50.048))
    assert row.kbm_epoch_bytes == 782 * 64 * 12_288
    assert row.cpu_seconds_per_1000_samples == pytest.approx(0.9)
    assert (row.status, row.repeats, row.order, row.windows) == ("ok", 1, (0,), (990.0, 1010.0))
    assert row.predicted_samples_per_second is None


def test_epoch_without_workers() -> None:
    """Without workers an epoch is the first batch and the other samples at the steady rate."""
    row = row_of(PLAIN, a_record(PLAIN, first_batch_seconds=0.5))
    assert row.epoch_seconds == pytest.approx(0.5 + (50_000 - 64) / 1000)
    assert row.epoch_samples_per_second == pytest.approx(50_000 / (row.epoch_seconds or 0))
    assert row.epoch_was_run is False


def test_seventeen_batches_on_sixteen_workers() -> None:
    """17 batches on 16 workers take two rounds, and drop_last saves the whole second one where it is partial."""
    workers = LoaderConfig(batch_size=10, num_workers=16)
    full = epoch_shape(workers, a_probe(dataset_samples=170))
    assert full is not None
    seconds = composed_epoch_seconds(workers, full, rate=160.0, first_batch_seconds=1.0, batch_size=10)
    assert seconds == pytest.approx(2.0)
    assert (170 / seconds) / 160 == pytest.approx(17 / 32)
    partial = epoch_shape(workers, a_probe(dataset_samples=165))
    dropped = epoch_shape(replace(workers, drop_last=True), a_probe(dataset_samples=165))
    assert partial is not None
    assert dropped is not None
    kept = composed_epoch_seconds(workers, partial, rate=160.0, first_batch_seconds=1.0, batch_size=10)
    saved = composed_epoch_seconds(workers, dropped, rate=160.0, first_batch_seconds=1.0, batch_size=10)
    assert (kept, saved) == (pytest.approx(1.5), pytest.approx(1.0))
    assert dropped.dropped == 5


def test_persistent_workers_leave_the_start_out() -> None:
    """With persistent workers an epoch from the second on has no start-up in it."""
    kept = replace(FOUR, persistent_workers=True)
    again = row_of(kept, a_record(kept, first_batch_seconds=3.0))
    fresh = row_of(FOUR, a_record(FOUR, first_batch_seconds=3.0))
    service = 4 * 64 / 1000
    assert (fresh.epoch_seconds or 0) - (again.epoch_seconds or 0) == pytest.approx(3.0 - service)


def test_an_epoch_that_was_run_counts() -> None:
    """Where the epoch was really run its mean (geometric) is the row's, each value of drop_last by its own."""
    runs = [
        (
            EpochMeasurement(drop_last=False, seconds=s, samples=100, batches=2),
            EpochMeasurement(drop_last=True, seconds=s / 2, samples=64, batches=1),
        )
        for s in (0.2, 0.45, 0.3)
    ]
    records = [a_record(PLAIN, order=i, block=i, epochs=run) for i, run in enumerate(runs)]
    configs = [PLAIN, replace(PLAIN, drop_last=True)]
    keep, drop = summarise(records, configs, a_probe(dataset_samples=100))
    assert (keep.epoch_seconds, keep.epoch_was_run, keep.batches_per_epoch) == (pytest.approx(0.3), True, 2)
    assert keep.epoch_samples_per_second == pytest.approx(100 / 0.3)
    assert (drop.epoch_seconds, drop.dropped_samples) == (pytest.approx(0.15), 36)
    assert drop.samples_per_second == keep.samples_per_second
    assert (drop.config_id, keep.config_id) == ("b64-w0-drop", "b64-w0")


def test_no_length_no_epoch() -> None:
    """A data set without a length has no epoch columns."""
    row = row_of(PLAIN, a_record(PLAIN), samples=None)
    assert (row.epoch_seconds, row.batches_per_epoch, row.kbt_epoch_seconds, row.dropped_samples) == (None,) * 4
    assert row.samples_per_second is not None


def test_batch_larger_than_the_data_with_drop_last_is_refused() -> None:
    """A drop_last configuration whose only batch is not full has no epoch, and is refused with the reason."""
    config = LoaderConfig(batch_size=128, drop_last=True)
    row = row_of(config, a_record(config), samples=100)
    assert (row.status, row.failure_kind, row.samples_per_second) == ("refused", "last_batch", None)
    assert "batch size 128 is larger than the data set (100 samples)" in (row.failure_reason or "")


def test_a_failed_repeat_is_not_hidden() -> None:
    """A configuration that hung once has that status, with the numbers that its other trials gave."""
    good = a_record(FOUR)
    row = row_of(FOUR, good, a_record(FOUR, order=1, block=1, status="hung"))
    assert (row.status, row.failure_kind, row.failure_reason) == ("hung", "worker_error", "a worker raised")
    assert row.samples_per_second is not None


def test_not_reached_is_visible() -> None:
    """A configuration that was never measured has a row that says why."""
    row = row_of(FOUR)
    assert (row.status, row.repeats) == ("interrupted", 0)
    assert row.failure_reason == "it was not measured before the sweep ended"
    assert row.batches_per_epoch == 782


def test_fresh_trials_replace_flattered_ones() -> None:
    """Where a configuration was measured again after the race, its number comes from those trials alone."""
    lucky = a_record(FOUR, (2000.0, 2000.0))
    fresh = [
        a_record(FOUR, (1000.0, 1000.0), order=i, block=i, phase="verify", peak=400 * MIB, first_batch_seconds=0.1 * i)
        for i in (1, 2, 3)
    ]
    row = row_of(FOUR, lucky, *fresh)
    assert row.samples_per_second == pytest.approx(1000)
    assert (row.repeats, row.order, len(row.windows)) == (3, (0, 1, 2, 3), 6)
    assert row.first_batch_seconds == pytest.approx(0.2)
    assert row.host_peak_bytes == 500 * MIB


def test_growth_is_projected_to_the_end_of_an_epoch() -> None:
    """Growth a batch is carried on over the batches still to come, and shrinking or unknown growth is not."""
    assert projected_peak_bytes(1000, 2.0, 10, 110) == 1200
    assert projected_peak_bytes(1000, 2.0, 200, 110) == 1000
    assert projected_peak_bytes(1000, -2.0, 10, 110) == 1000
    assert projected_peak_bytes(1000, None, 10, 110) == 1000
    assert projected_peak_bytes(1000, 2.0, 10, None) == 1000
    assert projected_peak_bytes(None, 2.0, 10, 110) is None


@pytest.mark.parametrize(
    ("host", "projected", "gpu", "expected"),
    [
        (900, 900, 50, True),
        (1100, 1100, 50, False),
        (900, 1100, 50, False),
        (900, 900, 150, False),
        (None, None, 50, None),
        (900, 900, None, None),
    ],
)
def test_limits(host: int | None, projected: int | None, gpu: int | None, *, expected: bool | None) -> None:
    """In is what is under both limits at its measured and its projected peak; unmeasured is unknown, never in."""
    limits = MemoryLimits(host_memory_bytes=1000, gpu_memory_bytes=100)
    result = within_limits(host_peak_bytes=host, projected_bytes=projected, gpu_peak_bytes=gpu, limits=limits)
    assert result is expected
    assert within_limits(host_peak_bytes=None, projected_bytes=None, gpu_peak_bytes=None, limits=MemoryLimits()) is True


def test_rows_beyond_the_grid() -> None:
    """The baseline and what was measured beyond the grid have rows too, each once."""
    far = a_record(LoaderConfig(batch_size=64, num_workers=32))
    rows = all_configs([FOUR, replace(FOUR, drop_last=True)], [a_record(FOUR), a_record(PLAIN), far], a_probe())
    assert [config.config_id for config in rows] == ["b64-w4", "b64-w4-drop", "b64-w0", "b64-w32"]
