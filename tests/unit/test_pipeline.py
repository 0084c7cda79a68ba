"""The exact form of the pipeline model: against passages worked out by hand, and its speed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from loadtune.judge.pipeline import Passage, Pipeline, simulate


def passage(service: list[float], **settings: float) -> Passage:
    return simulate(Pipeline(**settings), service)  # type: ignore[arg-type]


def test_bursts() -> None:
    """Two workers give bursts of two: the second of each waits only for the hand-over of the first."""
    seen = passage([1.0] * 6, num_workers=2, handover_seconds=0.1)
    assert seen.handed_out_seconds == pytest.approx([1.1, 1.2, 2.1, 2.2, 3.1, 3.2])
    assert seen.wait_seconds == pytest.approx([1.1, 0.1, 0.9, 0.1, 0.9, 0.1])
    assert seen.epoch_seconds == pytest.approx(3.2)


def test_in_order_waits_for_the_slow_one() -> None:
    """In order a slow batch holds back those that are ready, and their places stay taken: nothing more is sent."""
    seen = passage([5.0, 1.0, 1.0, 1.0, 1.0, 1.0], num_workers=2)
    assert seen.handed_out_seconds == pytest.approx([5, 5, 6, 6, 7, 7])
    assert list(seen.batches) == [0, 1, 2, 3, 4, 5]


def test_any_order_goes_round_the_slow_one() -> None:
    """Out of order each batch is handed out when it comes, and its worker is the one that is sent the next."""
    seen = passage([3.0, 1.0, 1.0, 1.0], num_workers=2, prefetch_factor=1, in_order=False)
    assert list(seen.batches) == [1, 2, 0, 3]
    assert seen.handed_out_seconds == pytest.approx([1, 2, 3, 3])


def test_early_batches_are_taken_while_waiting() -> None:
    """A batch that is early is taken off the queue during the wait for another, so it costs no time at its turn."""
    seen = passage([2.0, 1.0], num_workers=2, handover_seconds=0.5)
    assert seen.handed_out_seconds == pytest.approx([2.5, 2.5])
    slow = passage([1.0, 1.0, 1.0, 1.0], num_workers=2, handover_seconds=0.5, consumer_seconds=3.0)
    assert slow.wait_seconds == pytest.approx([1.5, 0.5, 0.5, 0.5])


def test_one_batch_ahead_leaves_the_worker_idle() -> None:
    """With P = 1 a worker has nothing to do from its batch's end until that was handed out and the next one sent."""
    costs = {"handover_seconds": 0.2, "dispatch_seconds": 0.1, "latency_seconds": 0.3}
    one = passage([1.0] * 4, num_workers=1, prefetch_factor=1, **costs)
    assert np.diff(one.handed_out_seconds) == pytest.approx([1.6, 1.6, 1.5])
    two = passage([1.0] * 9, num_workers=1, prefetch_factor=2, **costs)
    assert np.diff(two.handed_out_seconds)[2:6] == pytest.approx([1.0] * 4)


def test_slow_consumer_never_waits() -> None:
    """A consumer slower than the loader waits for the first batch only, and an epoch is its steps."""
    seen = passage([1.0] * 5, num_workers=1, consumer_seconds=2.0)
    assert seen.wait_seconds == pytest.approx([1, 0, 0, 0, 0])
    assert seen.epoch_seconds == pytest.approx(11.0)


def test_pinning_is_in_series() -> None:
    """The thread that pins takes one batch after another, ahead of the consumer, and can be what is waited for."""
    settings = {"num_workers": 1, "pinned": True, "handover_seconds": 0.5, "pin_seconds": 1.0}
    assert passage([1.0] * 3, **settings).handed_out_seconds == pytest.approx([2.5, 4.0, 5.5])
    assert passage([1.0] * 3, consumer_seconds=4.0, **settings).wait_seconds == pytest.approx([2.5, 0, 0])


def test_without_workers_all_is_in_series() -> None:
    """W = 0: loading, drawing and the step follow one another, whatever else is said."""
    seen = passage([2.0] * 3, num_workers=0, dispatch_seconds=0.5, consumer_seconds=1.0, handover_seconds=9.0)
    assert seen.handed_out_seconds == pytest.approx([2.5, 6.0, 9.5])
    assert seen.wait_seconds == pytest.approx([2.5] * 3)
    assert seen.epoch_seconds == pytest.approx(10.5)


def test_start_up() -> None:
    """Workers are started in turn and nothing is sent before the last; each then needs its time to be ready."""
    seen = passage([1.0] * 2, num_workers=3, start_seconds=0.1, ready_seconds=0.4)
    assert seen.handed_out_seconds == pytest.approx([1.5, 1.6])
    assert passage([1.0], num_workers=8, start_seconds=0.1).handed_out_seconds == pytest.approx([1.8])


def test_tail() -> None:
    """17 batches on 16 workers take two rounds, 53 % of the workers' time; fewer than W·P batches end as they are."""
    seen = passage([1.0] * 17, num_workers=16)
    assert seen.epoch_seconds == pytest.approx(2.0)
    assert passage([1.0] * 3, num_workers=16).epoch_seconds == pytest.approx(1.0)
    assert passage([], num_workers=2).epoch_seconds == 0


@pytest.mark.parametrize("in_order", [True, False])
def test_every_batch_once(*, in_order: bool) -> None:
    """Whatever the times, each batch is handed out once, in order where that is asked for, and time goes forward."""
    service = np.random.default_rng(3).pareto(1.5, 400)
    for workers in (1, 3, 16):
        pipeline = Pipeline(num_workers=workers, in_order=in_order, handover_seconds=0.01)
        seen = simulate(pipeline, service)
        assert sorted(seen.batches) == list(range(400))
        assert (np.diff(seen.handed_out_seconds) >= 0).all()
        assert not in_order or list(seen.batches) == list(range(400))


def test_speed() -> None:
    """10,000 batches are simulated within 50 ms of processor time."""
    service = np.random.default_rng(0).gamma(4, 0.25, 10_000)
    took = []
    for in_order in (True, False, True, False):
        began = time.process_time()
        simulate(Pipeline(num_workers=16, in_order=in_order, handover_seconds=0.01), service)
        took.append(time.process_time() - began)
    assert min(took[::2]) <= 0.05
    assert min(took[1::2]) <= 0.05
