"""What ``loadtune.watch`` measures and says, to exact numbers: the clock, the loader and the step are scripted."""

from __future__ import annotations

import copy
import gc
import random
import weakref
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from loadtune.judge.step_findings import FED
from loadtune.judge.watching import FEWEST_BLOCKS, WatchSummary, summarise
from loadtune.measure import watching
from loadtune.record.watching import Block, LoaderSeen, WatchMeasurement
from loadtune.watcher import Watched, watch


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class Loader:
    """Gives lists of numbers, each after its wait; the wait after the last is that for the end."""

    def __init__(self, clock: Clock, waits: Sequence[float], size: int = 4, **settings: Any) -> None:
        self.clock = clock
        self.waits = waits
        self.batches = [[float(number)] * size for number in range(len(waits))]
        self.batch_size = size
        self.__dict__.update(settings)

    def __len__(self) -> int:
        return len(self.waits)

    def __iter__(self) -> Iterator[list[float]]:
        for wait, batch in zip(self.waits, self.batches, strict=True):
            self.clock.move(wait)
            yield batch


def run(watched: Watched[Any], clock: Clock, step: float, epochs: int = 1) -> WatchSummary:
    for _ in range(epochs):
        for _ in watched:
            clock.move(step)
    return watched.summary()


def seen_by(waits: Sequence[float], step: float, epochs: int = 1, **settings: Any) -> WatchSummary:
    clock = Clock()
    return run(Watched(Loader(clock, waits, **settings), clock=clock), clock, step, epochs)


def test_waits_steps_and_first_batches_are_arithmetic() -> None:
    """Two epochs of a first batch of 5 s and ten that are waited for 1 s and used for 3 s, to the number."""
    summary = seen_by([5.0] + [1.0] * 10, 3.0, epochs=2)
    assert (summary.epochs, summary.batches, summary.samples, summary.steady_batches) == (2, 22, 88, 20)
    assert summary.first_batch_seconds == pytest.approx(10.0)
    assert summary.wait_seconds == pytest.approx(20.0)
    assert summary.step_seconds == pytest.approx(60.0)
    assert summary.seconds == pytest.approx(10 + 20 + 22 * 3)
    assert summary.wait_share is not None
    assert summary.samples_per_second is not None
    for interval, value in ((summary.wait_share, 0.25), (summary.samples_per_second, 1.0)):
        assert (interval.estimate, interval.low, interval.high) == pytest.approx((value, value, value))
    assert summary.batch_wait_p50_seconds == pytest.approx(1.0, rel=0.025)


def test_waits_are_told_by_their_distribution() -> None:
    """Of waits of 1 to 99 ms the median is 50 ms and 95 % are within 95 ms, to 2.5 %."""
    waits = [0.001 * number for number in range(1, 100)]
    summary = seen_by([0.0, *np.random.default_rng(0).permutation(waits).tolist()], 0.01)
    assert summary.batch_wait_p50_seconds == pytest.approx(0.050, rel=0.025)
    assert summary.batch_wait_p95_seconds == pytest.approx(0.095, rel=0.025)


def test_the_interval_covers_the_truth() -> None:
    """Waits at random, 20 ms on average beside steps of 60 ms: the interval holds 25 % in 90 of 100 loops or more."""
    held = 0
    for seed in range(100):
        waits = np.random.default_rng(seed).exponential(0.02, 300)
        share = seen_by([0.0, *waits.tolist()], 0.06).wait_share
        assert share is not None
        held += share.low <= 0.25 <= share.high
        assert 0.0 < share.high - share.low < 0.1
    assert held >= 90


def test_neighbours_that_resemble_each_other_widen_the_interval() -> None:
    """Long and short waits in long rows say less of the share than the same waits in turn."""
    in_turn = seen_by([0.0] + [0.01, 0.03] * 100, 0.02).wait_share
    in_rows = seen_by([0.0] + ([0.01] * 50 + [0.03] * 50) * 2, 0.02).wait_share
    assert in_turn is not None
    assert in_rows is not None
    assert in_rows.high - in_rows.low > 3 * (in_turn.high - in_turn.low)


def test_a_burst_of_workers_is_one_block() -> None:
    """Four workers hand over a burst and then nothing: over whole rounds the share has no spread."""
    share = seen_by([0.0] + [0.4, 0.0, 0.0, 0.0] * 8, 0.1, num_workers=4).wait_share
    assert share is not None
    assert (share.low, share.estimate, share.high) == pytest.approx((0.5, 0.5, 0.5))


def test_memory_does_not_grow_with_the_loop() -> None:
    """After 20,000 batches there are fewer than 64 blocks, of equal length, and at most a bin for each 4.4 %."""
    clock = Clock()
    loader = Loader(clock, [1e-4 * (1 + number % 997) for number in range(20_000)], num_workers=3)
    watched = Watched(loader, clock=clock)
    summary = run(watched, clock, 0.01)
    measured = watched._tally.measurement()
    assert watching.MOST_BLOCKS // 2 <= len(measured.blocks) < watching.MOST_BLOCKS
    assert len({block.batches for block in measured.blocks}) == 1
    assert measured.blocks[0].batches % 3 == 0
    assert summary.steady_batches == 19_999
    assert len(watched._tally._waits) <= 10 * watching.BINS_PER_DOUBLING + 1  # 1e-4 to 1e-1 s is ten doublings


def test_batches_are_handed_on_as_they_are_and_not_held() -> None:
    """Each batch is the loader's own object, and one that the loop lets go of is gone before the next is asked for."""

    class Batch:
        pass

    alive: list[bool] = []

    def loader() -> Iterator[Batch]:
        last: weakref.ref[Batch] | None = None
        for _ in range(3):
            if last is not None:
                gc.collect()
                alive.append(last() is not None)
            batch = Batch()
            last = weakref.ref(batch)
            yield batch
            del batch

    for batch in watch(loader()):
        assert isinstance(batch, Batch)
        del batch
    assert alive == [False, False]
    clock = Clock()
    plain = Loader(clock, [1.0] * 5)
    assert [id(batch) for batch in Watched(plain, clock=clock)] == [id(batch) for batch in plain.batches]


def test_the_loader_is_reached_through_it() -> None:
    """Length and public attributes are the loader's; what it lacks, and private names, are attribute errors."""
    clock = Clock()
    loader = Loader(clock, [1.0] * 5, sampler=SimpleNamespace(epoch=0))
    watched = Watched(loader, clock=clock)
    watched.sampler.epoch = 3
    assert loader.sampler.epoch == 3  # type: ignore[attr-defined]
    assert (len(watched), watched.batch_size, watched.loader) == (5, 4, loader)
    for missing in ("samplerr", "_private"):
        with pytest.raises(AttributeError, match=missing):
            getattr(watched, missing)
    with pytest.raises(AttributeError):
        watched.epoch = 1  # type: ignore[attr-defined]
    assert copy.copy(watched).loader is loader
    with pytest.raises(TypeError, match="has no len"):
        len(watch(iter([])))


def test_a_loop_that_is_left_keeps_what_it_measured() -> None:
    """Left by ``break`` or by an exception the loop keeps the batches whose steps were whole, and can be begun anew."""
    clock = Clock()
    watched = Watched(Loader(clock, [2.0, 1.0, 1.0, 1.0]), clock=clock)
    for number, _ in enumerate(watched):
        if number == 2:
            break
        clock.move(3.0)
    assert (watched.summary().batches, watched.summary().steady_batches) == (3, 1)
    error = ValueError("the step's own")

    def failing() -> None:
        with watched:
            for _ in watched:
                raise error

    with pytest.raises(ValueError, match="the step's own") as raised:
        failing()
    assert raised.value is error
    summary = run(watched, clock, 3.0)
    assert (summary.epochs, summary.batches, summary.steady_batches) == (3, 8, 4)
    assert (summary.wait_seconds, summary.step_seconds) == pytest.approx((4.0, 12.0))
    assert summary.first_batch_seconds == pytest.approx(6.0)


def test_what_the_loader_raises_passes_through() -> None:
    """An exception of the loader is the very one, with its cause; what was measured before it stays."""
    clock, error = Clock(), OSError("a file is gone")

    def loader() -> Iterator[list[float]]:
        yield from Loader(clock, [2.0, 1.0, 1.0])
        clock.move(0.5)
        raise error

    watched = Watched(loader(), clock=clock)
    with pytest.raises(OSError, match="a file is gone") as raised:
        run(watched, clock, 3.0)
    assert raised.value is error
    summary = watched.summary()
    assert (summary.batches, summary.steady_batches) == (3, 2)
    assert summary.seconds == pytest.approx(2 + 1 + 1 + 3 * 3 + 0.5)


def test_loops_within_each_other_are_loops_of_their_own() -> None:
    """Two loops over one watched loader at a time are two epochs, each with its own first batch and its own steps."""
    clock = Clock()
    watched = Watched(Loader(clock, [2.0, 1.0, 1.0]), clock=clock)
    for first, second in zip(watched, watched, strict=True):
        assert first is second
        clock.move(3.0)
    summary = watched.summary()
    assert (summary.epochs, summary.batches, summary.steady_batches) == (2, 6, 4)
    assert (summary.first_batch_seconds, summary.wait_seconds) == pytest.approx((4.0, 4.0))


def test_a_watched_loader_can_be_watched() -> None:
    """A watch around a watch hands on the same batches, and both see the same."""
    clock = Clock()
    inner = Watched(Loader(clock, [1.0] * 6), clock=clock)
    outer = run(Watched(inner, clock=clock), clock, 3.0)
    assert outer == inner.summary()


def test_the_end_of_an_epoch_is_no_wait_for_a_batch() -> None:
    """What the loader takes to say that it has ended is time in the loop, and in no share."""
    clock = Clock()

    def loader() -> Iterator[list[float]]:
        yield from Loader(clock, [1.0] * 6)
        clock.move(100.0)

    summary = run(Watched(loader(), clock=clock), clock, 1.0)
    assert summary.wait_seconds == pytest.approx(5.0)
    assert summary.seconds == pytest.approx(112.0)


def test_samples_are_counted_in_what_arrives() -> None:
    """A short last batch counts as it is; a loader that says no batch size is counted by its tensors."""
    full, short = (torch.zeros(8, 2), torch.zeros(8)), (torch.zeros(3, 2), torch.zeros(3))
    watched = watch([full, full, short])
    assert run(watched, Clock(), 0.0).samples == 19
    clock = Clock()
    loader = Loader(clock, [1.0] * 3, size=8)
    loader.batches[:] = [full, full, short]  # type: ignore[list-item]
    assert run(Watched(loader, clock=clock), clock, 1.0).samples == 19


def test_a_batch_that_cannot_be_counted_does_not_end_the_training() -> None:
    """A batch of the user's own kind that raises when it is looked at is taken for one sample."""

    class Odd(dict[str, Any]):
        def values(self) -> Any:
            raise RuntimeError("not to be read")

    assert run(watch([Odd(a=1)] * 3), Clock(), 0.0).samples == 3


def test_counting_that_is_dear_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where counting a batch takes as long as its step, few of a hundred are counted, and the rest taken as equal."""
    clock, counted = Clock(), 0

    def dear(batch: list[float], _: int | None) -> int:
        nonlocal counted
        counted += 1
        clock.move(0.02)
        return len(batch)

    monkeypatch.setattr(watching, "count_samples", dear)
    summary = run(Watched(Loader(clock, [0.02] * 100), clock=clock), clock, 0.02)
    assert counted == 1
    assert summary.samples == 400
    assert summary.wait_seconds + summary.step_seconds == pytest.approx(99 * 0.04)


def test_the_process_is_left_as_it_was() -> None:
    """Watching a shuffled loader draws what the loader draws, and hands out the same batches."""

    def epoch(*, watched: bool) -> tuple[list[list[int]], list[Any]]:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002 - the stream that must not be drawn from
        loader = torch.utils.data.DataLoader(range(20), batch_size=4, shuffle=True)  # type: ignore[arg-type]
        before = dict(vars(loader))
        batches = [batch.tolist() for batch in (watch(loader) if watched else loader)]
        assert vars(loader) == before
        drawn = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
        return batches, drawn

    assert epoch(watched=True) == epoch(watched=False)


# ------------------------------------------------------------------------------------------------------- the verdict


def measured(
    shares: Sequence[float], *, step: float = 0.021, epochs: int = 1, first: float = 0.1, **loader: Any
) -> WatchMeasurement:
    """Return blocks of one batch of 64 samples, each waited for that share of its time beside a step of that length."""
    blocks = tuple(
        Block(wait_seconds=step * share / (1 - share), step_seconds=step, samples=64, batches=1) for share in shares
    )
    steady = sum(blocks, Block(wait_seconds=0.0, step_seconds=0.0, samples=0, batches=0))
    return WatchMeasurement(
        loader=LoaderSeen(**loader),
        epochs=epochs,
        batches=len(shares) + epochs,
        samples=64 * (len(shares) + epochs),
        seconds=steady.seconds + epochs * (first + step),
        first_batch_seconds=epochs * first,
        steady=steady,
        blocks=blocks,
        batch_wait_p50_seconds=0.01,
        batch_wait_p95_seconds=0.02,
    )


def verdict(shares: Sequence[float], **more: Any) -> str:
    return summarise(measured(shares, **more)).verdict


def test_a_step_that_is_fed_is_said_to_be() -> None:
    """Waits of about 1 % are kept fed, with no more digits than the interval allows."""
    assert verdict([0.010, 0.014] * 20) == "the training step is kept fed: it waits 1.20 ± 0.06 % of the time for data"
    assert verdict([0.0001] * 30 + [0.02]) == (
        "the training step is kept fed: it waits at most 0.21 % of the time for data"
    )


def test_a_step_that_waits_is_told_what_could_be_won() -> None:
    """At 34 % a loader that never lets it wait trains 1.52 times as fast at most; the sweep has the step's own time."""
    assert verdict([0.30, 0.38] * 20, batch_size=64) == (
        "the step waits 34 ± 1 % of the time for data: a loader that never lets it wait would train at most "
        "1.52 ± 0.03 × as fast; `loadtune sweep TARGET --batch-size 64 --step-time 21ms` looks for one"
    )
    assert "`loadtune sweep TARGET --step-time 1200ms`" in verdict([0.3, 0.4] * 20, step=1.2)


def test_a_share_about_the_threshold_is_not_told() -> None:
    """An interval that holds 5 % says neither, and asks for more."""
    assert verdict([0.01, 0.09] * 4) == (
        "the step waits 5 (2 to 9) % of the time for data, which does not tell whether it is kept fed (5 % at most): "
        "watch for longer"
    )


@pytest.mark.parametrize(("share", "words"), [(FED - 0.001, "is kept fed"), (FED + 0.001, "the step waits")])
def test_the_verdict_turns_at_the_threshold_of_the_program(share: float, words: str) -> None:
    """Just below 5 % without noise a step is fed, and just above it waits."""
    assert words in verdict([share] * 20)


def test_a_loop_without_a_step_is_named() -> None:
    """Where 99.8 % is waiting nothing is said of a gain of five hundred times."""
    words = verdict([0.998] * 20)
    assert words.startswith("the loop does little but wait for data, 99.8 % of the time")
    assert "×" not in words


def test_too_little_is_said_to_be_too_little() -> None:
    """Three batches, or none, give no share; how many are needed is told, by the rounds of the workers."""
    few = summarise(measured([0.3, 0.3]))
    assert few.wait_share is None
    assert few.samples_per_second is None
    assert few.verdict == "only 3 batches were seen, too few to say how long the step waits: 5 are needed"
    assert verdict([0.3] * 2, epochs=2, first=0.001, num_workers=4) == (
        "only 2 batches were seen after the first of each epoch, too few to say how long the step waits: 16 are needed"
    )
    assert verdict([0.3] * FEWEST_BLOCKS).startswith("the step waits")
    assert watch([]).summary().verdict == "nothing was watched: loop over what loadtune.watch() returned"
    assert run(watch([]), Clock(), 0.0).verdict == "nothing was watched: the loader gave no batch"


def test_short_epochs_that_start_anew_are_told_what_would_spare_it() -> None:
    """Where first batches take more than all other waits, workers that could be kept are named."""
    words = verdict([0.1] * 10, epochs=5, first=1.2, num_workers=4, persistent_workers=False)
    assert words == (
        "first batches take 95 % of the time: each of 5 epochs waits 1.2 s on average for its own; "
        "persistent_workers=True starts workers once for all epochs"
    )
    for kept in ({"num_workers": 4, "persistent_workers": True}, {"num_workers": 0}, {}):
        assert "persistent_workers" not in verdict([0.1] * 10, epochs=5, first=1.2, **kept)


def test_one_epoch_is_not_called_short() -> None:
    """The start of a single epoch says nothing of those that follow: the steady waits are what is told."""
    assert verdict([0.3, 0.4] * 10, first=60.0, num_workers=4).startswith("the step waits")


def test_a_first_batch_that_takes_what_others_do_is_no_start_up() -> None:
    """Without workers the first batch is waited for as the others are, however few an epoch has."""
    assert seen_by([0.2, 0.2, 0.2], 0.01, epochs=4, num_workers=0).verdict.startswith("the step waits")


def test_a_summary_prints_as_a_few_lines() -> None:
    """``print`` gives the verdict, what was seen, and what a batch takes; nothing of what there was not."""
    lines = str(summarise(measured([0.30, 0.38] * 20, epochs=2))).splitlines()
    assert lines[0].startswith("The step waits 34 ± 1 %")
    assert lines[1] == "2 epochs, 42 batches, 2,688 samples in 1.52 s; steady 2,004 ± 40 samples/s (95 %)."
    assert "\n".join(lines[2:]) == (
        "A batch: 11 ms of waiting on average (half of them within 10 ms, 95 % within 20 ms), 21 ms of step; "
        "the first of an epoch is there after 100 ms."
    )
    assert str(watch([]).summary()) == "Nothing was watched: loop over what loadtune.watch() returned."


def test_a_watched_loop_can_be_asked_inside() -> None:
    """The summary of a loop that goes on has the steps that ended."""
    clock = Clock()
    watched = Watched(Loader(clock, [1.0] * 9), clock=clock)
    for number, _ in enumerate(watched):
        assert watched.summary().steady_batches == max(0, number - 1)
        clock.move(1.0)
