"""The sweep's loop with a scripted machine in place of processes: what is asked, told and kept, without waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted_machine import Machine, a_probe, an_environment

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Limits, SweepPlan, TrialRequest
from loadtune.describe.space import SearchSpace
from loadtune.errors import UsageError
from loadtune.judge import strategy
from loadtune.judge.strategy import Step
from loadtune.record.results import Probe, RunResult, TrialRecord
from loadtune.record.store import RunStore, load_run, read_kept
from loadtune.run import sweep as sweep_module
from loadtune.run.events import Progress, SilentListener
from loadtune.run.sweep import run_sweep

SPACE = SearchSpace.parse(batch_size=[64, 128], num_workers=[0, 2])


class ScriptedRunner:
    """Answers each request as a machine whose rates are known."""

    def __init__(self, machine: Machine, probe: Probe, *, interrupt_at: int | None = None) -> None:
        self.machine, self.probe, self.interrupt_at = machine, probe, interrupt_at
        self.requests: list[TrialRequest] = []

    def run(self, request: TrialRequest, *, within_seconds: float) -> TrialRecord:
        assert within_seconds > 0
        self.requests.append(request)
        if request.order == self.interrupt_at:
            raise KeyboardInterrupt
        return self.machine.run(
            Step(
                config=request.config,
                drop_last=request.drop_last,
                block=request.block,
                phase=request.phase,
                measurement=request.measurement,
                one_thread=request.one_thread,
            )
        )


class Recording(SilentListener):
    """Keeps the names of what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def preparing(self, plan: SweepPlan) -> None:
        self.told.append("preparing")

    def trial_started(self, request: TrialRequest, progress: Progress) -> None:
        self.told.append("trial_started")

    def measured(self, record: TrialRecord, progress: Progress) -> None:
        self.told.append("measured")

    def failed(self, record: TrialRecord, progress: Progress) -> None:
        self.told.append("failed")

    def finished(self, result: RunResult) -> None:
        self.told.append("finished")


def rate(config: LoaderConfig) -> float:
    return 1000.0 * (1 + config.num_workers)


def sweep(
    runner: ScriptedRunner,
    plan: SweepPlan,
    *,
    listener: Recording | None = None,
    store: RunStore | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> RunResult:
    @contextmanager
    def opened(_plan: SweepPlan, _pickle: str | None) -> Iterator[ScriptedRunner]:
        yield runner

    with store or nullcontext():
        return run_sweep(
            plan,
            listener=listener,
            store=store,
            open_runner=opened,
            clock=lambda: runner.machine.elapsed,
            environ={},
            kept=store.kept if store is not None else None,
            interrupted=interrupted,
        )


def test_every_trial_is_told_and_kept_in_the_order_it_ran(tmp_path: Path) -> None:
    """The journal holds exactly the trials that were asked for, and each was told when it began and when it ended."""
    runner, listener = ScriptedRunner(Machine(rate=rate), a_probe()), Recording()
    result = sweep(
        runner, SweepPlan(target="x", space=SPACE), listener=listener, store=RunStore.create(tmp_path / "run")
    )
    lines = (tmp_path / "run" / "trials.jsonl").read_bytes().splitlines()
    kept = [msgspec.json.decode(line, type=TrialRecord) for line in lines]
    assert [record.order for record in kept] == list(range(len(runner.requests)))
    assert [record.config for record in kept] == [request.config for request in runner.requests]
    assert listener.told == ["preparing", *["trial_started", "measured"] * len(kept), "finished"]
    assert result.cost.trials == len(kept)


def test_the_result_that_is_stored_is_the_result_that_is_returned(tmp_path: Path) -> None:
    """What load_run reads equals, value for value, what run_sweep returned."""
    store = RunStore.create(tmp_path / "run")
    result = sweep(ScriptedRunner(Machine(rate=rate), a_probe()), SweepPlan(target="x", space=SPACE), store=store)
    assert load_run(tmp_path / "run") == result


def test_all_of_a_block_draw_the_same_samples() -> None:
    """Requests of one block have one seed, and requests of different blocks have different ones."""
    runner = ScriptedRunner(Machine(rate=rate), a_probe())
    sweep(runner, SweepPlan(target="x", space=SPACE, seed=3))
    seeds = {request.block: request.seed for request in runner.requests}
    assert all(seeds[request.block] == request.seed for request in runner.requests)
    assert len(set(seeds.values())) == len(seeds) > 1


def test_the_time_budget_is_a_hard_bound() -> None:
    """With 40 configurations of a second each and 20 s, the sweep ends within its budget and has a choice."""
    space = SearchSpace.parse(batch_size="8..4096:x2", num_workers="0..3")
    runner = ScriptedRunner(Machine(rate=rate, window_sd=0.02), a_probe())
    result = sweep(runner, SweepPlan(target="x", space=space, time_budget_seconds=20.0))
    assert result.cost.seconds <= 20.0
    assert result.best is not None
    assert any(trial.status == "interrupted" for trial in result.trials)


def test_an_interrupt_keeps_and_concludes_what_was_measured(tmp_path: Path) -> None:
    """After Ctrl-C in the sixth trial the five before it are in the journal and in a finished run."""
    runner = ScriptedRunner(Machine(rate=rate), a_probe(), interrupt_at=5)
    with pytest.raises(KeyboardInterrupt):
        sweep(runner, SweepPlan(target="x", space=SPACE), store=RunStore.create(tmp_path / "run"))
    assert len((tmp_path / "run" / "trials.jsonl").read_bytes().splitlines()) == 5
    assert load_run(tmp_path / "run").cost.trials == 5


def test_an_interrupt_whose_exception_was_lost_ends_the_sweep_all_the_same(tmp_path: Path) -> None:
    """Told after the third trial that somebody interrupted, a sweep begins no fourth, and concludes from three."""
    runner = ScriptedRunner(Machine(rate=rate), a_probe())
    with pytest.raises(KeyboardInterrupt):
        sweep(
            runner,
            SweepPlan(target="x", space=SPACE),
            store=RunStore.create(tmp_path / "run"),
            interrupted=lambda: len(runner.requests) >= 3,
        )
    assert len((tmp_path / "run" / "trials.jsonl").read_bytes().splitlines()) == 3
    assert load_run(tmp_path / "run").finished is False


def test_an_interrupt_that_is_lost_in_a_decision_begins_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told of while the fourth trial is decided, it ends the sweep with the three that were measured."""
    runner, decided = ScriptedRunner(Machine(rate=rate), a_probe()), []
    decide = strategy.next_step

    def next_step(*arguments: Any, **more: Any) -> Any:
        decided.append(1)
        return decide(*arguments, **more)

    monkeypatch.setattr(strategy, "next_step", next_step)
    plan, store = SweepPlan(target="x", space=SPACE), RunStore.create(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        sweep(runner, plan, store=store, interrupted=lambda: len(decided) >= 4)
    assert len(runner.requests) == 3


def test_nothing_is_written_where_the_interrupt_came_before_the_first_trial(tmp_path: Path) -> None:
    """One that was lost while the data set was built leaves no run."""
    runner, store = ScriptedRunner(Machine(rate=rate), a_probe()), RunStore.create(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        sweep(runner, SweepPlan(target="x", space=SPACE), store=store, interrupted=lambda: True)
    assert not (tmp_path / "run" / "run.json").exists()


class Interrupted(RunStore):
    """A run directory whose fourth trial is interrupted on its way to the disk, once."""

    before_it_is_written = True

    def append(self, record: TrialRecord) -> None:
        if record.order == 3 and not self.done:
            self.done = True
            if not self.before_it_is_written:
                super().append(record)
            raise KeyboardInterrupt
        super().append(record)

    done = False


@pytest.mark.parametrize("before", [True, False])
def test_an_interrupt_between_a_trial_and_its_line_loses_nothing(before: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A trial that was measured is in the journal once, whether Ctrl-C came before or after it was written."""
    store = Interrupted.create(tmp_path / "run")
    assert isinstance(store, Interrupted)
    store.before_it_is_written = before
    with pytest.raises(KeyboardInterrupt):
        sweep(ScriptedRunner(Machine(rate=rate), a_probe()), SweepPlan(target="x", space=SPACE), store=store)
    kept = read_kept(tmp_path / "run")
    assert [record.order for record in kept.journal.records] == [0, 1, 2, 3]
    assert kept.result is not None
    assert kept.result.cost.trials == 4


def test_a_failing_configuration_is_a_row_and_never_the_choice() -> None:
    """The fastest configuration fails: its row says so, and the next is chosen."""
    broken = Machine(rate=rate, status=lambda config: "failed" if config.num_workers == 2 else "ok")
    listener = Recording()
    result = sweep(ScriptedRunner(broken, a_probe()), SweepPlan(target="x", space=SPACE), listener=listener)
    assert "failed" in listener.told
    assert result.best is not None
    assert result.best.config.num_workers == 0
    assert {trial.status for trial in result.trials if trial.num_workers == 2} == {"failed"}


def test_batches_over_the_largest_are_not_measured() -> None:
    """--max-batch-size 64 leaves batch 128 out of the grid, and 16 leaves nothing, which is said."""
    runner = ScriptedRunner(Machine(rate=rate), a_probe())
    sweep(runner, SweepPlan(target="x", space=SPACE, limits=Limits(max_batch_size=64)))
    assert {request.config.batch_size for request in runner.requests} == {64}
    with pytest.raises(UsageError, match="leaves no batch size"):
        sweep(runner, SweepPlan(target="x", space=SPACE, limits=Limits(max_batch_size=16)))


def test_the_output_says_that_pinning_was_left_out() -> None:
    """Without an accelerator the default axis pin_memory is dropped, and finding LT006 says so."""
    result = sweep(ScriptedRunner(Machine(rate=rate), a_probe()), SweepPlan(target="x", space=SPACE))
    assert "LT006" in {finding.code for finding in result.findings}
    assert not any(trial.pin_memory for trial in result.trials)


def test_pinning_alone_without_an_accelerator_is_refused() -> None:
    """--pin-memory on has nothing to serve on a machine without an accelerator."""
    space = SearchSpace.parse(batch_size=64, num_workers=0, pin_memory=True)
    with pytest.raises(UsageError, match="accelerator"):
        sweep(ScriptedRunner(Machine(rate=rate), a_probe()), SweepPlan(target="x", space=space))


def test_the_advice_of_a_refusal_goes_by_what_others_have_in_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 of 128 MiB are in use: 5 batches of 16 MiB need 80 MiB, 3 fit ahead, and 256 MiB hold them beside the rest."""
    small = an_environment(shm_total_bytes=128 << 20, shm_free_bytes=64 << 20)
    monkeypatch.setattr(sweep_module, "read_environment", lambda **_: small)
    probe = a_probe(shared_bytes_per_sample=float(16 << 14))
    result = sweep(ScriptedRunner(Machine(rate=rate), probe), SweepPlan(target="x", space=SPACE))
    (row,) = (row for row in result.trials if row.config_id == "b64-w2")
    assert (row.status, row.failure_kind) == ("refused", "shm_full")
    assert row.failure_advice is not None
    assert row.failure_advice.startswith("give /dev/shm 256 MiB")
    assert "keep prefetch_factor × num_workers at 3 or less" in row.failure_advice
