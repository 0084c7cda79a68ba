"""``loadtune.watch`` around real loaders, against arithmetic: a data set that sleeps, a step that sleeps."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import loadtune

SAMPLE_SECONDS = 0.002
BATCH = 10


class Sleeping(Dataset[Any]):
    """Samples that take 2 ms and know how long each took, as a sleep overshoots."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> torch.Tensor:
        start = time.perf_counter()
        time.sleep(SAMPLE_SECONDS)
        return torch.tensor(time.perf_counter() - start)


def slow_start(_: int) -> None:
    time.sleep(0.3)


def train(loader: Any, step_seconds: float, epochs: int = 1) -> tuple[loadtune.WatchSummary, float, float]:
    """Return the summary, and the seconds a batch that loading and the step really took, on average."""
    loading, steps, batches = 0.0, 0.0, 0
    with loadtune.watch(loader) as watched:
        for _ in range(epochs):
            for batch in watched:
                start = time.perf_counter()
                loading, batches = loading + float(batch.sum()), batches + 1
                time.sleep(step_seconds)
                steps += time.perf_counter() - start
    return watched.summary(), loading / batches, steps / batches


@pytest.mark.sleeps
def test_without_workers_the_share_is_that_of_the_sleeps() -> None:
    """Ten samples of 2 ms beside a step of 20 ms: half of the time is waited, to three points, and it is told."""
    summary, loading, step = train(DataLoader(Sleeping(600), batch_size=BATCH), 0.02)
    assert summary.wait_share is not None
    assert summary.samples_per_second is not None
    assert summary.wait_share.estimate == pytest.approx(loading / (loading + step), abs=0.03)
    assert summary.wait_share.estimate == pytest.approx(0.5, abs=0.08)
    assert summary.samples_per_second.estimate == pytest.approx(BATCH / (loading + step), rel=0.05)
    assert summary.samples == 600
    assert "--batch-size 10 --step-time 2" in summary.verdict


@pytest.mark.sleeps
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_that_are_ahead_keep_the_step_fed() -> None:
    """Three workers need 7 ms for a batch that is used for 150 ms: the step is kept fed, start-up left out."""
    loader = DataLoader(Sleeping(200), batch_size=BATCH, num_workers=3)
    summary, _, _ = train(loader, 0.15)
    assert summary.wait_share is not None
    assert summary.wait_share.estimate < 0.05  # taking a batch that is there is 1 to 4 ms on a busy machine
    assert summary.batch_wait_p50_seconds is not None
    assert summary.batch_wait_p50_seconds < BATCH * SAMPLE_SECONDS / 3
    assert summary.first_batch_seconds > BATCH * SAMPLE_SECONDS


@pytest.mark.sleeps
def test_one_worker_that_is_slower_than_the_step_is_waited_for() -> None:
    """A worker takes S for a batch and the step half of it: half of the time is waited, to three points."""
    summary, loading, step = train(DataLoader(Sleeping(800), batch_size=BATCH, num_workers=1), 0.01)
    assert summary.wait_share is not None
    # Between two batches the worker collates and hands over, which is no sleep: the wait is a little longer.
    assert summary.wait_share.estimate == pytest.approx(1 - step / loading, abs=0.05)
    assert summary.verdict.startswith("the step waits")


@pytest.mark.sleeps
def test_workers_that_start_anew_for_short_epochs_are_told_apart() -> None:
    """A worker that takes 0.3 s to start is a start-up and no wait; kept for all epochs it is paid once."""

    def short_epochs(*, kept: bool) -> loadtune.WatchSummary:
        loader = DataLoader(
            Sleeping(40), batch_size=4, num_workers=1, persistent_workers=kept, worker_init_fn=slow_start
        )
        return train(loader, 0.04, epochs=4)[0]

    anew, kept = short_epochs(kept=False), short_epochs(kept=True)
    assert anew.verdict.startswith("first batches take")
    assert "persistent_workers=True" in anew.verdict
    assert anew.first_batch_seconds > 4 * 0.3
    assert kept.first_batch_seconds < anew.first_batch_seconds - 0.6
    for summary in (anew, kept):
        assert summary.wait_seconds < 0.3, "all 36 hand-overs together come to less than a single start"


def test_workers_end_with_a_loop_that_is_left() -> None:
    """A loop that is left by ``break`` lets go of the loader's iterator, and with it of the workers, as a bare one."""
    loader = DataLoader(Sleeping(40), batch_size=4, num_workers=1)
    watched = loadtune.watch(loader)
    for _ in watched:
        assert len(torch.multiprocessing.active_children()) == 1
        break
    assert torch.multiprocessing.active_children() == []
    assert watched.summary().batches == 1
