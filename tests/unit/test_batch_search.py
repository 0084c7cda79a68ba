"""The search for the largest batch on machines of arithmetic: no process, exact numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from loadtune.describe.plan import Consumer
from loadtune.judge import batch_rate
from loadtune.judge.batch_notes import notes
from loadtune.judge.batch_pace import reach
from loadtune.judge.batch_search import Ask, Found, Search
from loadtune.judge.feeding import headspace, limit_of
from loadtune.record.batch_size import BatchSizePlan, Bound, Fit, StepMeasurement, StepProbe

MIB = 2**20
LIMIT = 6 * 2**30
PLAN = BatchSizePlan(target="t", consumer=Consumer())
BOUND = Bound(resource="host", limit_bytes=LIMIT, source="RLIMIT")


def measured(batch_size: int, used: int, seconds: float | None = None) -> StepMeasurement:
    return StepMeasurement(
        steps=3,
        step_seconds=seconds if seconds is not None else batch_size / 100,
        evaluated=True,
        batch_bytes=batch_size * 4,
        resident_peak_bytes=used,
        address_peak_bytes=None,
    )


def probe(order: int, batch_size: int, fit: Fit, used: int, purpose: str = "slope") -> StepProbe:
    ran = fit in ("fits", "over")
    return StepProbe(
        order=order,
        batch_size=batch_size,
        purpose=purpose,  # type: ignore[arg-type]
        why="",
        fit=fit,
        reason="" if fit == "fits" else "out of memory",
        measured=measured(batch_size, used) if ran else None,
        used_bytes={"host": used} if ran else {},
    )


def search(
    memory: Callable[[int], float],
    plan: BatchSizePlan = PLAN,
    samples: int | None = None,
    seconds: Callable[[int], float] = lambda _: 0.0,
    words: Callable[[int], str] | None = None,
) -> tuple[Found, list[StepProbe]]:
    """Search on a machine where a batch takes ``memory(B)`` and more than the limit is out of memory.

    Its probe takes ``seconds(B)``, and is ended where that is more than the plan allows. Out of memory is raised with
    98 % of the limit in use, in ``words(B)``.
    """
    probes: list[StepProbe] = []
    while True:
        answer = Search(plan, [BOUND], samples, probes).next()
        if isinstance(answer, Found):
            return answer, probes
        assert isinstance(answer, Ask)
        assert answer.batch_size not in {one.batch_size for one in probes}, "the same batch twice"
        used, took = memory(answer.batch_size), seconds(answer.batch_size)
        fit: Fit = "fits" if used <= LIMIT else "out_of_memory"
        late = took > plan.probe_timeout_seconds
        row = probe(len(probes), answer.batch_size, "late" if late else fit, round(used))
        if words is not None and row.fit == "out_of_memory":
            had = round(0.98 * LIMIT)
            steps = 1 if used < 1.01 * LIMIT else 0  # by a little it comes through a first step
            error = replace(measured(answer.batch_size, had), steps=steps, error_message=words(answer.batch_size))
            row = replace(row, kind="host_oom", measured=error, used_bytes={"host": had})
        probes.append(
            replace(row, seconds=min(took, plan.probe_timeout_seconds), predicted_bytes=answer.predicted_bytes)
        )
        assert len(probes) < 40


def truth(memory: Callable[[int], float]) -> int:
    low, high = 0, 2**24
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if memory(middle) <= LIMIT else (low, middle)
    return low


@pytest.mark.parametrize("megabytes", [0.5, 2.0, 6.3, 40.0])
def test_affine_memory_is_found_in_six_probes(megabytes: float) -> None:
    """Where memory is a line, six probes or fewer give 98 % of the truth or more, and never more than it."""

    def memory(batch_size: int) -> float:
        return 400 * MIB + megabytes * MIB * batch_size

    found, probes = search(memory)
    assert found.largest is not None
    assert 0.98 * truth(memory) <= found.largest <= truth(memory)
    assert len(probes) <= 6


def test_few_samples_are_found_to_the_last() -> None:
    """Where 38 samples are all that fits, they are found to the last one."""
    found, probes = search(lambda size: 400 * MIB + 150 * MIB * size)
    assert found.largest == 38
    assert len(probes) <= 7


@pytest.mark.parametrize("bend", [0.9, 1.1])
def test_memory_that_bends_is_found_all_the_same(bend: float) -> None:
    """Where memory bends off the line by a power of the batch, a few probes more do it."""

    def memory(batch_size: int) -> float:
        return 400 * MIB + 5 * MIB * batch_size**bend

    found, probes = search(memory)
    assert found.largest is not None
    assert 0.97 * truth(memory) <= found.largest <= truth(memory)
    assert len(probes) <= 10


def test_a_wall_that_no_line_shows_is_found_by_halves() -> None:
    """Where nothing grows and more than 887 fails, the gap is halved until it is narrow."""
    found, probes = search(lambda size: 100 if size <= 887 else math.inf if size > 10**9 else 10 * LIMIT)
    assert found.largest is not None
    assert 0.98 * 887 <= found.largest <= 887
    assert len(probes) <= 20


def test_nothing_fits_is_known() -> None:
    """Where a batch of 1 is too big nothing was found, exactly."""
    found, probes = search(lambda _: 2 * LIMIT)
    assert (found.largest, found.exact) == (None, True)
    assert [one.batch_size for one in probes] == [16, 2, 1]


def line(batch_size: int) -> float:
    return 400 * MIB + 2 * MIB * batch_size


WORDS = {
    "torch": "DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes. Error code 12",
    "numpy": "Unable to allocate {:.2f} MiB for an array with shape (64, 64) and data type float32",
    "nothing": "bad allocation",
}


@pytest.mark.parametrize("said", WORDS)
def test_what_an_allocation_asked_for_leads_to_the_largest(said: str) -> None:
    """Where a jump fails since memory bends at 1,000, an error that tells by how much saves a probe: six, not seven."""

    def memory(batch_size: int) -> float:
        return line(batch_size) + 0.4 * MIB * max(0, batch_size - 1_000)

    def words(batch_size: int) -> str:
        asked = memory(batch_size) - 0.98 * LIMIT  # what is held by then is a little below the limit
        return WORDS[said].format(round(asked) if said == "torch" else asked / MIB)

    found, probes = search(memory, words=words)
    assert found.largest is not None
    assert 0.98 * truth(memory) <= found.largest <= truth(memory)
    assert len(probes) == (7 if said == "nothing" else 6)
    assert probes[-1].predicted_bytes["host"] == pytest.approx(memory(found.largest), rel=0.01)
    assert [one.fit for one in probes].count("out_of_memory") == (2 if said == "nothing" else 1)


def test_one_that_was_through_a_step_lacked_little() -> None:
    """Where a jump fails after its first step, what it asked for is not on top of its peak: 1 % less is tried."""

    def memory(batch_size: int) -> float:
        return line(batch_size) + 0.06 * MIB * max(0, batch_size - 1_400)

    found, probes = search(memory, words=lambda _: WORDS["torch"].format(10**9))
    failed = next(one for one in probes if one.fit == "out_of_memory")
    assert failed.batch_size > truth(memory)
    assert probes[failed.order + 1].batch_size == int(0.99 * failed.batch_size)
    assert found.largest is not None
    assert 0.98 * truth(memory) <= found.largest <= truth(memory)
    assert len(probes) == 5


def test_no_batch_is_probed_that_would_not_end_in_time() -> None:
    """Where memory would do for 2,872 and time for 1,900, no probe is late, and time is named with what it allows."""
    found, probes = search(line, seconds=lambda size: 3 + 0.03 * size)
    assert found.largest is not None
    assert 0.75 * 1_900 <= found.largest <= 1_900
    assert not any(one.fit == "late" for one in probes)
    assert not found.exact
    assert "not expected to be over within 60.0 s (--trial-timeout)" in found.because


def test_steps_that_are_timed_to_fill_half_a_second_do_not_count() -> None:
    """A small batch is timed for many steps and a large one for one: what is expected goes by one."""
    rows = [replace(probe(0, size, "fits", 1), seconds=1.0 + 0.01 * size * 3) for size in (16, 128)]
    more = replace(rows[1], seconds=rows[1].seconds + 4 * 1.28)
    assert more.measured is not None
    more = replace(more, measured=replace(more.measured, steps=7, step_seconds=1.28))
    assert reach([rows[0], more], 60.0) == pytest.approx(reach(rows, 60.0)) == pytest.approx(47 / 0.03)


def test_a_late_probe_does_not_count_as_out_of_memory() -> None:
    """Where more than 1,000 suddenly takes for ever, three probes are late at most, and neither is taken for memory."""
    found, probes = search(line, seconds=lambda size: 3 if size <= 1_000 else 1_000)
    late = [one.batch_size for one in probes if one.fit == "late"]
    assert found.largest == max(one.batch_size for one in probes if one.fit == "fits")
    assert 0.83 * 1_000 < found.largest <= 1_000
    assert len(late) <= 3
    assert f"{min(late):,} was not over within" in found.because
    assert not found.exact


def test_a_slow_start_does_not_stop_a_search() -> None:
    """Where the first probe was held up and the next were not, memory decides as ever."""
    found, probes = search(line, seconds=lambda size: 40 if size == 16 else 2 + 0.01 * size)
    assert found.largest is not None
    assert 0.98 * truth(line) <= found.largest <= truth(line)
    assert len(probes) <= 6


def test_a_step_that_never_ends_has_no_batch() -> None:
    """Where no size ends in time, three probes were made and none is said to be out of memory."""
    found, probes = search(line, seconds=lambda _: 1_000)
    assert (found.largest, found.exact) == (None, False)
    assert "(--trial-timeout)" in found.because
    assert [one.batch_size for one in probes] == [16, 2, 1]


def test_the_data_set_and_the_option_cap_the_search() -> None:
    """The lesser of N and --max-batch-size is the end, rounded down to the multiple, and is named."""
    found, _ = search(lambda _: 100, replace(PLAN, most=1_000, multiple_of=16), samples=500)
    assert (found.largest, found.exact) == (496, True)
    assert "500 samples" in found.because
    found, _ = search(lambda _: 100, replace(PLAN, most=100), samples=500)
    assert "--max-batch-size is 100" in found.because


def test_a_data_set_smaller_than_the_multiple_has_no_batch() -> None:
    """Ten samples give no batch that is a multiple of 16, and nothing is run."""
    found, probes = search(lambda _: 100, replace(PLAN, multiple_of=16), samples=10)
    assert (found.largest, probes) == (None, [])


def test_the_best_is_the_smallest_within_the_tie() -> None:
    """Of rates 100, 199 and 200 the one of 199 is the best within 2 %, being smaller; over the limit does not count."""
    sizes = {8: 100.0, 32: 199.0, 64: 200.0}
    probes = [
        replace(probe(0, size, "fits", 1), measured=measured(size, 1, size / rate)) for size, rate in sizes.items()
    ]
    over = replace(probe(3, 128, "over", 1), measured=measured(128, 1, 128 / 900))
    assert batch_rate.best_and_fastest(PLAN, [*probes, over]) == (32, 64)


def test_rates_are_asked_at_halves_that_are_not_near_one_known() -> None:
    """From a largest of 1,000 with 16, 128 and 500 known, the halves 250 and 62 and so on are asked, once each."""
    probes = [probe(0, size, "fits", 1) for size in (16, 128, 500, 1_000)]
    asked = []
    while (size := batch_rate.next_rate(PLAN, 1_000, probes)) is not None:
        asked.append(size)
        probes.append(probe(len(probes), size, "fits", 1, "rate"))
    assert asked == [250, 62, 31, 7, 3, 1]


def test_what_a_batch_size_changes_is_said() -> None:
    """Batch 256 in place of 64: steps of an epoch, the last batch, rules of the learning rate with their sources."""
    said = " ".join(notes(256, baseline=64, samples=257, probes=[]))
    assert "2 steps an epoch" in said
    assert "last batch of 1" in said
    assert "4.0 × with SGD" in said
    assert "2.0 × with Adam" in said
    assert "arXiv:1706.02677" in said


@pytest.mark.parametrize(
    ("room", "wait", "device", "expected"),
    [
        (0.005, 0.0, False, "step-bound"),
        (0.5, 0.5, False, "loader-bound"),
        (0.5, 0.05, True, "transfer-bound"),
        (0.5, 0.05, False, "main-thread-bound"),
    ],
)
def test_what_binds_follows_from_room_and_waits(room: float, wait: float, device: bool, expected: str) -> None:  # noqa: FBT001
    """No room is the step's, room that the waits explain the loader's, else the copy's or the main thread's."""
    assert limit_of(headspace_share=room, wait_share=wait, on_device=device) == expected
    assert headspace(75, 100) == pytest.approx(0.25)
