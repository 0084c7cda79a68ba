"""Threads beyond the cores and narrowed masks: counted from outside, asked about in pairs, told with their numbers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from scripted_machine import Machine, a_probe, a_record, an_environment
from test_sweep import ScriptedRunner, sweep

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan, TrialRequest
from loadtune.describe.space import SearchSpace
from loadtune.judge import affinity as masks_told
from loadtune.judge.strategy import Step, next_step
from loadtune.judge.threads import FIRST_BLOCK, MAX_PAIRS, is_crowded
from loadtune.judge.verdict import conclude
from loadtune.record.cpu_lists import cpu_list, cpus_in
from loadtune.record.results import Affinity, Finding, MemoryLimits, RunResult, ThreadMeasurement, TrialRecord
from loadtune.record.store import RunStore, read_kept
from loadtune.run import affinity
from loadtune.run import sweep as sweep_module
from loadtune.run.threads import COST_SHARE, MOST_WORKERS, ThreadCounter, Threads, parse_state, read_threads
from loadtune.show.live import record_words, request_words

BASE = LoaderConfig(batch_size=64)
ONE, TWO, EIGHT = (LoaderConfig(batch_size=64, num_workers=count) for count in (1, 2, 8))
GRID = (BASE, ONE, TWO)
CPUS = 2.0


def a_plan(**changes: object) -> SweepPlan:
    return SweepPlan(**({"target": "cifar10"} | changes))  # type: ignore[arg-type]


def by_workers(config: LoaderConfig) -> float:
    return 1000.0 * (1 + config.num_workers)


@dataclass
class ThreadedMachine(Machine):
    """A machine whose processes run so many threads each, and whose rate with one thread each is known."""

    threads_each: Callable[[LoaderConfig], float] = lambda _: 4.0
    one_thread_gain: float = 1.5
    one_thread_status: str = "ok"
    usable_cpus: float | None = CPUS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[tuple[float, Step]] = []

    def run(self, step: Step) -> TrialRecord:
        rate, status = self.rate, self.status
        if step.one_thread:
            self.rate = lambda config: self.one_thread_gain * rate(config)
            self.status = lambda _: self.one_thread_status
        record = super().run(step)
        self.rate, self.status = rate, status
        each = 1.0 if step.one_thread else self.threads_each(step.config)
        seen = ThreadMeasurement(
            samples=5, runnable=max(1, step.config.num_workers) * each, runnable_each=each, alive_each=each + 2
        )
        record = replace(record, one_thread=step.one_thread, threads=seen)
        self.records[-1] = record
        return record

    def next(self, plan: SweepPlan, elapsed: float, records: list[TrialRecord]) -> Step | None:
        return next_step(
            plan, GRID, records, elapsed, probe=a_probe(), limits=MemoryLimits(), usable_cpus=self.usable_cpus
        )

    def all_of(self, plan: SweepPlan) -> list[TrialRecord]:
        """Run all the steps that the strategy asks for, and keep what was asked when."""
        while (step := self.next(plan, self.elapsed, self.records)) is not None:
            assert len(self.records) < 1000, "the sweep does not end"
            self.asked.append((self.elapsed, step))
            self.run(step)
        return self.records


def aside(records: list[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.phase == "threads"]


def concluded(records: list[TrialRecord], plan: SweepPlan | None = None) -> RunResult:
    return conclude(
        plan=plan or a_plan(),
        environment=an_environment(),
        probe=a_probe(),
        limits=MemoryLimits(),
        records=records,
        configs=GRID,
        command=("loadtune", "sweep"),
        started_at="2031-01-01T00:00:00Z",
        elapsed_seconds=1.0,
    )


def told(records: list[TrialRecord], code: str = "LT022", plan: SweepPlan | None = None) -> Finding | None:
    return next((one for one in concluded(records, plan).findings if one.code == code), None)


@pytest.mark.parametrize(("each", "cpus"), [(lambda _: 1.1, CPUS), (lambda _: 4.0, 16.0), (lambda _: 4.0, None)])
def test_nothing_is_asked_where_it_does_not_matter(each: Callable[[LoaderConfig], float], cpus: float | None) -> None:
    """One busy thread a process, threads that the cores carry, and CPUs that are not known give no trial of threads."""
    records = ThreadedMachine(rate=by_workers, threads_each=each, usable_cpus=cpus).all_of(a_plan())
    assert aside(records) == []


def test_many_workers_of_one_thread_are_not_accused() -> None:
    """Eight busy workers on two cores are many workers, not many threads each; 0.5 CPU makes no thread into two."""
    assert not is_crowded(ThreadMeasurement(samples=9, runnable=8.9, runnable_each=1.1, alive_each=2.0), 2.0)
    assert not is_crowded(ThreadMeasurement(samples=9, runnable=1.0, runnable_each=1.0, alive_each=3.0), 0.5)
    assert not is_crowded(ThreadMeasurement(samples=2, runnable=8.0, runnable_each=4.0, alive_each=5.0), 2.0)
    assert not is_crowded(ThreadMeasurement(), 2.0)
    assert is_crowded(ThreadMeasurement(samples=9, runnable=4.0, runnable_each=2.0, alive_each=4.0), 2.0)


def test_a_loaders_own_threads_are_no_crowd() -> None:
    """A worker's queue and what hands descriptors over are busy with small batches; one thread each would not help."""
    assert not is_crowded(ThreadMeasurement(samples=9, runnable=3.2, runnable_each=1.6, alive_each=3.0), 2.0)


def test_the_pick_is_asked_about_in_mirrored_pairs() -> None:
    """After the pick has its fresh blocks it runs as it is and with one thread, then the other way round."""
    machine = ThreadedMachine(rate=by_workers, window_sd=0.001)
    records = machine.all_of(a_plan(time_budget_seconds=120.0))
    asked = aside(records)
    assert [(record.block - FIRST_BLOCK, record.one_thread) for record in asked] == [
        (0, False), (0, True), (1, True), (1, False),
    ]  # fmt: skip
    assert {record.config for record in asked} == {TWO}
    assert all(record.drop_last == () for record in asked)
    before = Counter(record.config for record in records[: asked[0].order] if record.phase == "verify")
    assert before[TWO] == before[BASE] == 3
    assert max(record.block for record in records if record.phase != "threads") < FIRST_BLOCK


def test_the_gain_is_exact_and_told_with_the_threads() -> None:
    """Without noise a gain of 1.5 is told as 1.5, beside threads, CPUs and the lines to paste."""
    found = told(ThreadedMachine(rate=by_workers).all_of(a_plan()))
    assert found is not None
    assert found.severity == "warning"
    assert found.numbers["gain"] == pytest.approx(1.5, rel=1e-9)
    assert (found.numbers["runnable"], found.numbers["runnable_each"], found.numbers["alive_each"]) == (8.0, 4.0, 6.0)
    assert (found.numbers["usable_cpus"], found.numbers["workers"], found.numbers["pairs"]) == (2.0, 2.0, 2.0)
    assert "8.0 threads ran or waited for 2 usable CPUs with 2 workers, batch 64, 4.0 in each worker" in found.message
    assert "one thread each gave 1.50 ×" in found.message
    for words in ("threadpool_limits(1)", "cv2.setNumThreads(0)", "worker_init_fn", "OMP_NUM_THREADS=1"):
        assert words in found.advice


def test_the_rates_are_those_without_the_trials_of_threads() -> None:
    """Rows, choice and gain of a sweep are the same to the last digit with the trials of threads and without them."""
    records = ThreadedMachine(rate=by_workers, window_sd=0.02, trial_sd=0.02, one_thread_gain=3.0).all_of(a_plan())
    assert len(aside(records)) >= 4
    whole, bare = concluded(records), concluded([record for record in records if record.phase != "threads"])
    assert [replace(row, order=()) for row in whole.trials] == [replace(row, order=()) for row in bare.trials]
    assert whole.best is not None
    assert bare.best is not None
    assert whole.best.reason.replace("; see LT022", "") == bare.best.reason  # a warning, and no other reason
    assert replace(whole.best, reason="") == replace(bare.best, reason="")
    assert (whole.fastest, whole.gain) == (bare.fastest, bare.gain)
    assert not {order for row in whole.trials for order in row.order} & {record.order for record in aside(records)}


def test_a_trial_of_threads_that_fails_spoils_nothing() -> None:
    """Where the trial with one thread hangs the pick stays the pick, nothing more is asked, and the finding says so."""
    records = ThreadedMachine(rate=by_workers, one_thread_status="hung").all_of(a_plan())
    assert [record.status for record in aside(records)] == ["ok", "hung"]
    result = concluded(records)
    assert result.best is not None
    assert result.best.config == TWO
    found = told(records)
    assert found is not None
    assert "was tried and gave no rate: a worker raised" in found.message


def test_no_difference_and_a_loss_are_told_as_such() -> None:
    """Equal rates are no difference, half the rate is slower, and neither is a warning that asks for anything."""
    same = told(ThreadedMachine(rate=by_workers, one_thread_gain=1.0).all_of(a_plan()))
    worse = told(ThreadedMachine(rate=by_workers, one_thread_gain=0.5).all_of(a_plan()))
    assert same is not None
    assert worse is not None
    assert (same.severity, worse.severity) == ("info", "info")
    assert "made no difference beyond the noise, 1.00 ×" in same.message
    assert "was slower, 0.50 ×" in worse.message
    assert "leave the threads as they are" in same.advice


def test_noise_is_seldom_called_a_gain() -> None:
    """Of 20 sweeps in which one thread each changes nothing at most 2 say that it gains."""
    called = 0
    for seed in range(20):
        machine = ThreadedMachine(rate=by_workers, seed=seed, window_sd=0.03, trial_sd=0.03, one_thread_gain=1.0)
        found = told(machine.all_of(a_plan(seed=seed, time_budget_seconds=40.0)))
        assert found is not None
        called += found.severity == "warning"
        assert len(aside(machine.records)) <= 2 * MAX_PAIRS
    assert called <= 2


def test_two_pairs_have_their_time_in_a_noisy_sweep() -> None:
    """With the default budget and a precision that is never reached the question gets two pairs and a clear answer."""
    for seed in range(5):
        machine = ThreadedMachine(rate=by_workers, seed=seed, window_sd=0.05, trial_sd=0.04)
        records = machine.all_of(a_plan(seed=seed))
        assert machine.elapsed <= 60.0
        assert len(aside(records)) >= 4
        found = told(records)
        assert found is not None
        assert found.numbers["gain_low"] > 1


def test_the_time_budget_bounds_the_question() -> None:
    """Whatever the budget, no trial begins that would end after it; a pair that does not fit is not begun."""
    for budget in (6.0, 10.0, 15.0, 20.0, 30.0, 45.0):
        machine = ThreadedMachine(rate=by_workers, window_sd=0.02, trial_sd=0.02, seed=int(budget))
        asked = aside(machine.all_of(a_plan(time_budget_seconds=budget)))
        assert machine.elapsed <= budget, budget
        assert len(asked) % 2 == 0, budget


def test_want_of_time_is_said() -> None:
    """A budget that ends with the verification leaves the finding, and says that one thread was not tried."""
    plan = a_plan(time_budget_seconds=6.0)
    records = ThreadedMachine(rate=by_workers).all_of(plan)
    assert aside(records) == []
    found = told(records, plan=plan)
    assert found is not None
    assert found.severity == "info"
    assert "was not tried for want of time" in found.message
    assert "gain" not in found.numbers


def test_a_resumed_sweep_asks_the_same() -> None:
    """From each trial on, what the journal holds gives the step that was taken, one thread and all."""
    plan = a_plan(seed=4)
    machine = ThreadedMachine(rate=by_workers, window_sd=0.02, trial_sd=0.02)
    machine.all_of(plan)
    assert any(step.one_thread for _, step in machine.asked)
    for count, (elapsed, step) in enumerate(machine.asked):
        kept = [msgspec.json.decode(msgspec.json.encode(one), type=TrialRecord) for one in machine.records[:count]]
        assert machine.next(plan, elapsed, kept) == step


def test_an_interrupt_within_a_pair_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is taken up between the two trials of a pair ends with the trials and the finding of a whole one."""
    monkeypatch.setattr(sweep_module, "read_environment", lambda **_: an_environment())
    plan = a_plan(space=SearchSpace.parse(batch_size=[64], num_workers=[0, 2]))
    whole = sweep(
        ScriptedRunner(ThreadedMachine(rate=by_workers), a_probe()), plan, store=RunStore.create(tmp_path / "a")
    )
    expected = read_kept(tmp_path / "a").journal.records
    held = next(record.order for record in expected if record.one_thread)
    runner = ScriptedRunner(ThreadedMachine(rate=by_workers), a_probe(), interrupt_at=held)
    with pytest.raises(KeyboardInterrupt):
        sweep(runner, plan, store=RunStore.create(tmp_path / "b"))
    store = RunStore.resume(tmp_path / "b")
    assert store.kept is not None
    again = ThreadedMachine(rate=by_workers, records=list(store.kept.journal.records))
    parts = sweep(ScriptedRunner(again, a_probe()), store.kept.header.plan, store=store)
    kept = read_kept(tmp_path / "b").journal.records
    assert [(one.phase, one.block, one.config, one.one_thread) for one in kept] == [
        (one.phase, one.block, one.config, one.one_thread) for one in expected
    ]
    assert (
        [one for one in parts.findings if one.code == "LT022"]
        == [one for one in whole.findings if one.code == "LT022"]
        != []
    )


def test_a_pick_that_dodges_the_crowd_is_held_against_one_thread_each() -> None:
    """Where threads make every worker slow the pick has none; the pairs try a worker for each core with one thread."""
    machine = ThreadedMachine(
        rate=lambda config: 1000.0 / (1 + config.num_workers),
        threads_each=lambda _: 2.0,
        one_thread_gain=6.0,
    )
    asked = aside(machine.all_of(a_plan()))
    assert [(record.config, record.one_thread) for record in asked[:2]] == [(BASE, False), (TWO, True)]
    found = told(machine.records)
    assert found is not None
    assert found.numbers["gain"] == pytest.approx(2.0, rel=1e-9)
    assert "the rate of the choice, 0 workers, batch 64" in found.message


def test_old_journals_have_no_threads() -> None:
    """A line that was written before threads were counted is read, and accuses nobody."""
    line = msgspec.json.decode(msgspec.json.encode(a_record(TWO)))
    for name in ("one_thread", "threads", "affinity"):
        del line[name]
    record = msgspec.convert(line, TrialRecord)
    assert (record.one_thread, record.threads, record.affinity) == (False, ThreadMeasurement(), None)
    assert told([record]) is None


def test_the_live_line_says_one_thread_each() -> None:
    """What is being tried and what came of it are not taken for the configuration as it is."""
    plan = a_plan()
    request = TrialRequest(
        order=0, block=1000, phase="threads", config=TWO, measurement=plan.measurement, consumer=plan.consumer,
        one_thread=True,
    )  # fmt: skip
    assert request_words(request).startswith("comparing threads: ")
    assert request_words(request).endswith(", one thread each")
    assert ", one thread each: " in record_words(replace(a_record(TWO), one_thread=True))


# Counting from outside


def test_the_state_is_read_behind_any_name() -> None:
    """The state follows the last bracket, whatever a thread calls itself."""
    assert parse_state(b"12 (python) R 1 12 12 0 -1") == "R"
    assert parse_state(b"12 (a) S (b) R) D 1 12 12 0 -1") == "D"


def test_threads_of_real_processes() -> None:
    """This process runs while it reads itself; one that is gone has no threads."""
    seen = read_threads(os.getpid())
    assert seen is not None
    assert 1 <= seen.runnable <= seen.alive
    assert read_threads(2**22 + 1) is None


class Scripted:
    """A clock and processes whose threads are known; reading one takes so long."""

    def __init__(self, seen: dict[int, Threads], *, costs: float = 0.0) -> None:
        self.now, self.seen, self.costs = 0.0, seen, costs
        self.read: list[int] = []

    def threads(self, pid: int) -> Threads | None:
        self.now += self.costs
        self.read.append(pid)
        return self.seen.get(pid)

    def glance(self, counter: ThreadCounter, seconds: float) -> None:
        """Let some time pass with a glance each 0.1 s."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            counter.count()


def test_the_means_are_over_moments_and_workers() -> None:
    """A main thread and workers of 2 and 4 runnable threads are 7 in all, 3 each, counted about five times a second."""
    lab = Scripted({1: Threads(alive=3, runnable=1), 2: Threads(alive=5, runnable=2), 3: Threads(alive=7, runnable=4)})
    counter = ThreadCounter(lambda: lab.now, lab.threads)
    lab.glance(counter, 1.0)
    assert counter.measured() == ThreadMeasurement()
    counter.begin(1, (2, 3))
    lab.glance(counter, 1.0)
    counter.end()
    lab.glance(counter, 1.0)
    seen = counter.measured()
    assert (seen.runnable, seen.runnable_each, seen.alive_each) == (7.0, 3.0, 6.0)
    assert 4 <= seen.samples <= 6


def test_without_workers_the_process_itself_counts() -> None:
    """A process of 4 threads, 3 of them runnable, is what loads where there are no workers."""
    lab = Scripted({1: Threads(alive=4, runnable=3)})
    counter = ThreadCounter(lambda: lab.now, lab.threads)
    counter.begin(1, ())
    lab.glance(counter, 0.5)
    seen = counter.measured()
    assert (seen.runnable, seen.runnable_each, seen.alive_each) == (3.0, 3.0, 4.0)


def test_counting_costs_a_core_a_thousandth_at_most() -> None:
    """After a count that takes 3 ms there is none for 3 s: 10 s of windows have four at most, or 0.1 % of a core."""
    lab = Scripted({1: Threads(alive=1, runnable=1)}, costs=0.003)
    counter = ThreadCounter(lambda: lab.now, lab.threads, lambda: lab.now)
    counter.begin(1, ())
    lab.glance(counter, 10.0)
    assert 3 <= len(lab.read) <= 4
    assert (len(lab.read) - 1) * 0.003 <= COST_SHARE * 10.0


def test_a_count_that_waits_for_a_cpu_is_not_the_rarer_for_it() -> None:
    """Counts that wait 50 ms for their turn and run for 0.1 ms are still made five times a second."""
    lab = Scripted({1: Threads(alive=1, runnable=1)}, costs=0.05)
    counter = ThreadCounter(lambda: lab.now, lab.threads, lambda: 0.0001 * len(lab.read))
    counter.begin(1, ())
    lab.glance(counter, 3.0)
    assert counter.measured().samples >= 15


def test_many_workers_are_known_by_some_of_them() -> None:
    """Of 64 workers with 2 runnable threads 16 are read, and 129 threads are told."""
    lab = Scripted({pid: Threads(alive=3, runnable=2 if pid else 1) for pid in range(65)})
    counter = ThreadCounter(lambda: lab.now, lab.threads)
    counter.begin(0, range(1, 65))
    lab.glance(counter, 0.2)
    assert len(lab.read) == 1 + MOST_WORKERS
    assert counter.measured().runnable == 129.0


def test_workers_that_are_gone_are_not_counted_as_idle() -> None:
    """A look at workers that have ended already is thrown away."""
    lab = Scripted({1: Threads(alive=1, runnable=1)})
    counter = ThreadCounter(lambda: lab.now, lab.threads)
    counter.begin(1, (2, 3))
    lab.glance(counter, 1.0)
    assert counter.measured() == ThreadMeasurement()


def test_libraries_are_held_to_one_thread() -> None:
    """BLAS, OpenMP, torch and OpenCV have one thread afterwards, and what is loaded later is told in its variables."""
    script = (
        "import sys, types, os, numpy, torch\n"
        "from loadtune.measure import threads\n"
        "asked = []\n"
        "sys.modules['cv2'] = types.SimpleNamespace(setNumThreads=asked.append)\n"
        "assert not threads.are_held()\n"
        "threads.hold_to_one()\n"
        "import threadpoolctl\n"
        "pools = [pool['num_threads'] for pool in threadpoolctl.threadpool_info()]\n"
        "assert pools and set(pools) == {1}, pools\n"
        "assert asked == [0] and torch.get_num_threads() == 1 and threads.are_held()\n"
        "assert all(os.environ[name] == '1' for name in threads.VARIABLES)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


# Masks


@pytest.mark.parametrize(
    ("cpus", "text"), [({0, 1, 2, 3, 8}, "0-3,8"), ({5}, "5"), ({0, 2, 4}, "0,2,4"), (set(), ""), ({7, 6}, "6-7")]
)
def test_lists_of_cpus_are_the_kernels(cpus: set[int], text: str) -> None:
    """Neighbours are joined into ranges, and the list is read back."""
    assert cpu_list(cpus) == text
    assert cpus_in(text) == cpus


def test_any_set_of_cpus_comes_back() -> None:
    """What is written of 200 random sets is read back as the same set."""
    source = random.Random(1)  # noqa: S311 - no secret
    for _ in range(200):
        cpus = set(source.sample(range(300), source.randrange(40)))
        assert cpus_in(cpu_list(cpus)) == cpus


def test_masks_are_told_where_they_differ() -> None:
    """Equal masks are nothing to tell; of narrowed ones all three kinds are; a process that is gone is no answer."""
    by_pid = {0: {0, 1, 2, 3}, 10: {0, 1, 2, 3}, 11: {0}, 12: {0, 1, 2, 3}}

    def gone(_pid: int) -> set[int]:
        raise ProcessLookupError

    assert affinity.read(10, (12,), by_pid.__getitem__) is None
    assert affinity.read(10, (11, 12), by_pid.__getitem__) == Affinity(sweep="0-3", trial="0-3", workers=("0", "0-3"))
    assert affinity.read(10, (), gone) is None
    assert affinity.read(10, (), None) is None


def masked(**masks: object) -> list[TrialRecord]:
    return [a_record(BASE), replace(a_record(TWO, order=1), affinity=Affinity(**masks))]  # type: ignore[arg-type]


def test_workers_on_one_cpu_are_a_warning_with_the_masks() -> None:
    """Two of two workers on CPU 0 of four share one CPU, in one of two trials, and the way out is given."""
    found = masks_told.finding(masked(sweep="0-3", trial="0-3", workers=("0", "0")))
    assert found is not None
    assert (found.code, found.severity) == ("LT023", "warning")
    assert "workers 0-1 on CPU 0 alone, where the sweep may run on CPUs 0-3: 2 workers share 1 CPU" in found.message
    assert "1 of 2 trials, here with 2 workers, batch 64" in found.message
    assert "os.sched_setaffinity(0, range(os.cpu_count()))" in found.advice
    assert "OMP_PROC_BIND" in found.advice
    assert "KMP_AFFINITY=disabled" in found.advice
    assert found.numbers == {
        "trials": 1.0, "workers": 2.0, "narrowed_workers": 2.0, "least_cpus": 1.0, "workers_cpus": 1.0,
        "sweep_cpus": 4.0,
    }  # fmt: skip


def test_workers_pinned_apart_are_no_warning() -> None:
    """A CPU for each worker is worth a word; equal masks, and a sweep that was narrowed itself, are worth none."""
    apart = masks_told.finding(masked(sweep="0-1", trial="0-1", workers=("0", "1")))
    assert apart is not None
    assert apart.severity == "info"
    assert "worker 0 on CPU 0, worker 1 on CPU 1 alone" in apart.message
    assert masks_told.finding(masked(sweep="0", trial="0", workers=("0", "0"))) is None
    assert masks_told.finding(masked(sweep="0", trial="1", workers=("0-3",))) is None
    assert masks_told.finding([a_record(BASE)]) is None


def test_a_data_set_that_narrows_its_own_process_is_named() -> None:
    """Where the process that holds the data set lost CPUs its workers have too, and that is where it comes from."""
    found = masks_told.finding(masked(sweep="0-7", trial="3", workers=("3", "3")))
    assert found is not None
    assert found.severity == "warning"
    assert "building the data set left its process, and so its workers, CPU 3 alone to run on" in found.message
