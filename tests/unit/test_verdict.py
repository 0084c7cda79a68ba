"""The end of a sweep: the result and its findings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_machine import MIB, Machine, a_probe, a_record, an_environment

from loadtune.api import Run
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Limits, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.errors import NothingFitsError
from loadtune.explain import pages
from loadtune.judge.findings import with_one_budget
from loadtune.judge.lack import by_cause, lack
from loadtune.judge.verdict import conclude
from loadtune.record.failure import Alone, FailureEvidence
from loadtune.record.results import Environment, Feeding, Finding, MemoryLimits, Probe, RunResult, TrialRecord
from loadtune.show.leaders import marks
from loadtune.show.summary import gain_number, gain_sentence
from loadtune.units import Size

BASE = LoaderConfig(batch_size=64)
GRID = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in (0, 1, 2))


def concluded(
    records: list[TrialRecord],
    *,
    configs: tuple[LoaderConfig, ...] = GRID,
    plan: SweepPlan | None = None,
    probe: Probe | None = None,
    limits: MemoryLimits | None = None,
    environment: Environment | None = None,
) -> RunResult:
    return conclude(
        plan=plan or SweepPlan(target="cifar10"),
        environment=environment or an_environment(),
        probe=probe or a_probe(),
        limits=limits or MemoryLimits(),
        records=records,
        configs=configs,
        command=("loadtune", "sweep", "cifar10"),
        started_at="2025-01-01T00:00:00Z",
        elapsed_seconds=12.5,
    )


def swept(machine: Machine, **changes: object) -> RunResult:
    plan = SweepPlan(**({"target": "cifar10"} | changes))  # type: ignore[arg-type]
    return concluded(machine.sweep(plan, GRID), plan=plan)


def found(result: RunResult, code: str) -> Finding | None:
    return next((finding for finding in result.findings if finding.code == code), None)


def by_workers(config: LoaderConfig) -> float:
    return 1000.0 * (1 + config.num_workers)


def verified(rates: dict[LoaderConfig, tuple[float, ...]], **changes: object) -> list[TrialRecord]:
    """One screen trial and then the verification, with these rates."""
    records = [a_record(config, found[:1] * 2, order=i) for i, (config, found) in enumerate(rates.items())]
    for block in range(max(len(rate) for rate in rates.values())):
        for config, rate in rates.items():
            fresh = a_record(config, [rate[block]] * 2, order=len(records), block=block + 1, phase="verify", **changes)  # type: ignore[arg-type]
            records.append(fresh)
    return records


def test_a_clear_winner_gives_a_whole_result() -> None:
    """A sweep with a clear winner names it, the baseline, the gain and the cost, and finds nothing to warn of."""
    result = swept(Machine(rate=by_workers, window_sd=0.002))
    assert result.best is not None
    assert result.baseline is not None
    assert result.gain is not None
    assert (result.best.config_id, result.baseline.config_id) == ("b64-w2", "b64-w0")
    assert result.gain.low < 3.0 * 1.01
    assert result.gain.high > 3.0 * 0.99
    assert "2 workers, batch 64: 3,0" in result.best.reason or "2 workers, batch 64: 2,9" in result.best.reason
    assert "2.99 ± 0.01 × torch's defaults with batch 64" in result.best.reason
    assert result.cost.seconds == 12.5
    assert [finding for finding in result.findings if finding.severity != "info"] == []
    assert result.trial("b64-w2") is not None


def test_nothing_fits_is_a_result_too() -> None:
    """Where nothing meets the limits there is no best, and LT013 says what would fit."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID})
    result = concluded(records, limits=MemoryLimits(host_memory_bytes=100 * MIB))
    finding = found(result, "LT013")
    assert (result.best, result.fastest, result.gain) == (None, None, None)
    assert finding is not None
    assert finding.severity == "error"
    assert "100 MiB" in finding.message
    assert finding.numbers["least_bytes"] == 500 * MIB


def test_nothing_measured_is_a_result_too() -> None:
    """A sweep that measured nothing at all still gives its rows and says so."""
    result = concluded([])
    assert result.best is None
    assert result.baseline is None
    assert {row.status for row in result.trials} == {"interrupted"}
    finding = found(result, "LT013")
    assert finding is not None
    assert finding.message == "nothing was measured in the time budget of 60.0 s"
    late = found(result, "LT004")
    assert late is not None
    assert "choice" not in late.message


def test_a_baseline_outside_of_the_grid_is_not_blamed() -> None:
    """Where all that was asked for failed and the baseline alone ran, the failures are the cause and no limit is."""
    asked = tuple(LoaderConfig(batch_size=32, num_workers=count) for count in (1, 2))
    plan = SweepPlan(target="x", space=SearchSpace(batch_size=(32,), num_workers=(1, 2)))
    failed = [a_record(config, order=9 + index, status="failed") for index, config in enumerate(asked)]
    for limits in (MemoryLimits(), MemoryLimits(host_memory_bytes=100 * MIB)):
        result = concluded([a_record(BASE), *failed], configs=asked, plan=plan, limits=limits)
        finding = found(result, "LT013")
        assert result.best is None
        assert finding is not None
        assert finding.message == "no configuration asked for could be measured"
        said = lack(result.trials, result.plan, result.probe)
        assert said.sentence == "no configuration asked for could be measured: a worker raised"
        with pytest.raises(NothingFitsError, match="asked for could be measured: a worker raised"):
            _ = Run(result).best
    late = concluded([a_record(BASE)], configs=asked, plan=plan)
    message = lack(late.trials, plan, late.probe).sentence
    assert message == "no configuration asked for was measured in the time budget of 60.0 s"


def test_each_cause_is_named_with_its_count() -> None:
    """A batch larger than the data set is refused with drop_last; without it the time ran out: both are said."""
    space = SearchSpace.parse(batch_size="5000", num_workers="0,1,2", pin_memory="off", drop_last="both")
    plan = SweepPlan(target="x", space=space, time_budget_seconds=8.0)
    cut = replace(
        a_record(space.configs()[0], status="interrupted"),
        drop_last=(False, True),
        failure_kind=None,
        failure_reason="the time budget ended while it was measured",
    )
    result = concluded([cut], configs=space.configs(), plan=plan, probe=a_probe(dataset_samples=4000))
    said = lack(result.trials, plan, result.probe)
    assert said.cause == "time"
    assert said.sentence == (
        "no configuration asked for could be measured: 3 not measured in the time budget of 8.00 s; "
        "3 refused: batch size 5,000 is larger than the data set (4,000 samples), and drop_last leaves out its only "
        "batch"
    )
    finding = found(result, "LT013")
    assert finding is not None
    assert "--time-budget" in finding.advice


def test_want_of_memory_is_told_from_a_limit() -> None:
    """A configuration that failed for want of memory, or whose peak is unknown under a limit, is named as that."""
    starved = [replace(a_record(config, status="failed"), failure_kind="host_oom") for config in GRID]
    result = concluded(starved)
    assert lack(result.trials, result.plan, result.probe).cause == "memory"
    unknown = concluded([a_record(BASE, peak=None)], limits=MemoryLimits(host_memory_bytes=100 * MIB))
    assert lack(unknown.trials, unknown.plan, unknown.probe).cause == "unknown"
    assert all(finding.advice for finding in (*result.findings, *unknown.findings))


def test_noise_is_admitted() -> None:
    """A rate that is less sure than was asked for is called noise-limited, with both figures and what noise there is.

    Trials that differ by 8 % give no ±2 % in twelve, the most that are made: that is not promised.
    """
    finding = found(swept(Machine(rate=by_workers, window_sd=0.05, trial_sd=0.08, seed=3)), "LT001")
    assert finding is not None
    assert finding.numbers["half_width_share"] > finding.numbers["precision"] == 0.02
    assert "±2.0 %" in finding.message
    assert finding.advice.startswith(
        "±2 % is out of reach at this noise, where trials of one configuration differ by 8 %"
    )
    assert "12 of them, the most that are made, would give about ±4." in finding.advice


def test_noise_beyond_the_rate_itself_is_a_factor() -> None:
    """Trials that differ tenfold give no percentage: LT001 says the factor, before and after more trials."""
    finding = found(concluded(verified({BASE: (1000.0, 20.0, 9000.0), GRID[1]: (900.0, 40.0, 8000.0)})), "LT001")
    assert finding is not None
    assert "not known to better than a factor of" in finding.message
    assert "where ±2.0 % was asked for" in finding.message
    assert "trials of one configuration differ by a factor of" in finding.advice
    assert "would leave it not known to better than a factor of" in finding.advice


def test_the_time_that_is_advised_would_do() -> None:
    """Where time helps, LT001 names as much as the noise needs, and sweeps of that length are about as precise."""
    noise = {"window_sd": 0.02, "trial_sd": 0.02}
    short = swept(Machine(rate=by_workers, seed=1, **noise), time_budget_seconds=15.0)
    finding = found(short, "LT001")
    assert finding is not None
    seconds = float(finding.advice.partition("--time-budget ")[2].partition("s ")[0])
    assert 15.0 < seconds < 120.0
    long = [swept(Machine(rate=by_workers, seed=at, **noise), time_budget_seconds=seconds) for at in range(8)]
    widths = sorted(
        one.best.samples_per_second.high / one.best.samples_per_second.estimate - 1 for one in long if one.best
    )
    assert widths[len(widths) // 2] < 0.03


def test_the_load_there_was_is_named() -> None:
    """With other programs running before the sweep, the advice names the load and the CPUs, and to close them."""
    records = verified({config: (by_workers(config), by_workers(config) * 1.3, by_workers(config)) for config in GRID})
    busy = concluded(records, environment=an_environment(load_average=3.4))
    finding = found(busy, "LT001")
    assert finding is not None
    assert "close other programs: the load average was 3.4 on 2 usable CPUs before the sweep began" in finding.advice


def test_a_gain_that_is_not_known_is_not_given() -> None:
    """An interval from a hundredth to a hundredfold gives no gain: the words and LT031 say that it is not known."""
    records = verified({BASE: (1000.0, 200.0), GRID[1]: (1500.0, 9000.0)})
    result = concluded(records, configs=GRID[:2])
    finding = found(result, "LT031")
    assert result.gain is not None
    assert result.best is not None
    assert result.gain.high > 10 * result.gain.low
    assert finding is not None
    assert finding.message.startswith("the gain over torch's defaults with batch 64 is not known at this noise: ")
    assert "2 trials of the choice and 2 of them" in finding.message
    assert "is not known at this noise" in result.best.reason
    assert "see LT001, LT031" in result.best.reason
    assert gain_number(result) == "not known"
    assert "is not known at this noise" in (gain_sentence(result) or "")
    assert found(concluded(verified({BASE: (1000.0,) * 3, GRID[1]: (1500.0,) * 3}), configs=GRID[:2]), "LT031") is None


def test_drift_is_reported() -> None:
    """A machine that slows by 1 % a second is reported as drifting, with by how much."""
    finding = found(swept(Machine(rate=by_workers, window_sd=0.01, slowing=0.01)), "LT002")
    assert finding is not None
    assert finding.numbers["total_share"] < -0.1
    assert "slower" in finding.message
    assert found(swept(Machine(rate=by_workers, window_sd=0.01)), "LT002") is None


def test_no_steady_state_is_reported() -> None:
    """Trials of the choice that never became steady are named."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID}, steady=False)
    finding = found(concluded(records), "LT003")
    assert finding is not None
    assert "2 workers, batch 64" in finding.message
    assert "a cache is still filling" in finding.advice


@pytest.mark.parametrize(
    ("others", "load", "advised"),
    [
        (1.2, 0.0, "other programs were at work during these trials: close them"),
        (0.0, 3.4, "a cache is still filling"),
        (None, 3.4, "close other programs: the load average was 3.4 on 2 usable CPUs"),
    ],
)
def test_what_is_not_steady_under_other_work_is_put_down_to_that(
    others: float | None, load: float, advised: str
) -> None:
    """Where other work was seen during the trials, or before where that is not known, LT003 advises quiet."""
    records = verified(
        {config: (by_workers(config),) * 3 for config in GRID},
        steady=False,
        measured_seconds=1.0,
        others_cpu_seconds=others,
    )
    finding = found(concluded(records, environment=an_environment(load_average=load)), "LT003")
    assert finding is not None
    assert advised in finding.advice


@pytest.mark.parametrize(("ways", "said"), [("---", True), ("+++", True), ("-+-", False), ("+-+", False)])
def test_a_rate_that_goes_up_as_often_as_down_is_no_change(ways: str, said: bool) -> None:  # noqa: FBT001
    """Halves of fresh trials that all differ one way are a change; one way and then the other is noise."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID}, steady=False)
    windows = {"-": (1000.0, 900.0), "+": (900.0, 1000.0)}
    changed = [
        replace(record, steady=replace(record.steady, window_samples_per_second=windows[ways[record.block - 1]]))
        for record in records
        if record.steady is not None
    ]
    assert (found(concluded(changed), "LT003") is not None) is said


def test_an_unfinished_sweep_says_so() -> None:
    """What the time did not suffice for is counted, and the choice that was not measured again is marked."""
    result = concluded([a_record(BASE), a_record(GRID[1], (2000.0, 2000.0), order=1)])
    finding = found(result, "LT004")
    assert finding is not None
    assert "1 of 3 configurations not measured" in finding.message
    assert found(result, "LT012") is not None


def test_one_time_budget_is_advised() -> None:
    """Findings that each ask for more time name one budget, the longest, so that a reader knows what to type."""
    advice = ("give 40s, as in --time-budget 40s", "as with --time-budget 140s, or wait", "look elsewhere")
    told = [Finding(code="LT004", severity="info", message="", advice=one) for one in advice]
    assert [one.advice for one in with_one_budget(told)] == [
        "give 40s, as in --time-budget 140s", "as with --time-budget 140s, or wait", "look elsewhere",
    ]  # fmt: skip


def test_a_tie_names_the_fastest() -> None:
    """Where a dearer configuration is faster by estimate, the tie is stated with its size."""
    rates = {GRID[0]: (1000.0,) * 3, GRID[1]: (2000.0, 2010.0, 1990.0), GRID[2]: (2010.0, 2000.0, 2011.0)}
    result = concluded(verified(rates))
    finding = found(result, "LT005")
    assert result.best is not None
    assert result.fastest is not None
    assert (result.best.config_id, result.fastest.config_id) == ("b64-w1", "b64-w2")
    assert finding is not None
    assert 0 < finding.numbers["fastest_over_chosen"] < 0.02
    assert found(concluded(verified({GRID[0]: (1000.0,) * 3})), "LT005") is None


def test_pinning_left_out_is_said() -> None:
    """Without an accelerator the output says that pin_memory was left out, unless it was switched off by hand."""
    records = verified({BASE: (1000.0,) * 3})
    assert found(concluded(records), "LT006") is not None
    off = SweepPlan(target="cifar10", space=SearchSpace(pin_memory=(False,)))
    assert found(concluded(records, plan=off), "LT006") is None
    assert found(concluded(records, probe=a_probe(accelerator="NVIDIA H200")), "LT006") is None


def test_a_choice_slower_than_a_baseline_that_was_not_asked_for_is_a_warning() -> None:
    """The baseline is measured though the axes leave it out; that it is better is said, with the ratio."""
    records = verified({BASE: (1000.0,) * 3, GRID[1]: (800.0, 801.0, 799.0)})
    result = concluded(records, configs=(GRID[1],))
    finding = found(result, "LT007")
    assert result.best is not None
    assert result.best.config_id == "b64-w1"
    assert finding is not None
    assert finding.severity == "warning"
    assert "slower than torch's defaults with batch 64, at 0.80 × of them" in finding.message


def test_a_baseline_that_was_not_measured_again_is_said() -> None:
    """A gain over the first look alone is marked, though the choice itself was measured again."""
    records = [a_record(BASE), *verified({GRID[1]: (2000.0, 2001.0, 1999.0)})]
    finding = found(concluded([replace(record, order=at) for at, record in enumerate(records)]), "LT012")
    assert finding is not None
    assert "the gain over them rests on the first look alone" in finding.message


def test_samples_left_out_are_a_warning_from_one_percent_on() -> None:
    """65 samples in batches of 64 without the last leave 1 of 65 out; of 50,001 it is no matter."""
    dropping = replace(BASE, drop_last=True)
    records = [replace(record, drop_last=(False, True)) for record in verified({BASE: (1000.0,) * 3})]
    for samples, severity in ((65, "warning"), (64 * 1000 + 1, "info")):
        finding = found(concluded(records, configs=(dropping,), probe=a_probe(dataset_samples=samples)), "LT011")
        assert finding is not None
        assert finding.severity == severity


def test_nothing_to_gain_is_said() -> None:
    """Where the current settings are as good as any, that is said and no gain is claimed."""
    result = concluded(verified(dict.fromkeys(GRID, (1000.0, 1003.0, 998.0))))
    finding = found(result, "LT007")
    assert result.best is not None
    assert result.gain is not None
    assert result.best.config_id == "b64-w0"
    assert result.gain.estimate == 1.0
    assert finding is not None
    assert "torch's defaults with batch 64" in result.best.reason


def test_failures_are_counted_with_the_first_reason() -> None:
    """Failed trials are counted, with their kind and the reason."""
    records = [*verified({BASE: (1000.0,) * 3}), a_record(GRID[1], order=99, status="failed")]
    finding = found(concluded(records), "LT008")
    assert finding is not None
    assert "1 of 3 configurations gave no usable number (failed, worker_error); 1 worker, batch 64" in finding.message
    assert finding.message.endswith("1 worker, batch 64: a worker raised")


def test_each_cause_of_failure_is_told_with_its_own_next_step() -> None:
    """Of three failures, two for want of shared memory: these are told first, and the other one beside them."""
    failed = [a_record(config, order=90 + at, status="failed") for at, config in enumerate((GRID[1], GRID[2]))]
    full = [replace(one, failure_kind="shm_full", failure_advice="make /dev/shm larger") for one in failed]
    odd = LoaderConfig(batch_size=64, num_workers=7)
    other = replace(a_record(odd, order=89, status="failed"), failure_advice="load a sample")
    records = [other, *full, *verified({BASE: (1000.0,) * 3})]
    told = [one for one in concluded(records, configs=(odd, *GRID)).findings if one.code == "LT008"]
    assert [one.numbers["configurations"] for one in told] == [2, 1]
    assert "the first, 1 worker, batch 64" in told[0].message
    assert told[0].advice.startswith("make /dev/shm larger; none of them is ever chosen")
    assert told[1].advice.startswith("load a sample; it is never chosen")


def test_failures_of_one_kind_are_told_apart_by_their_words_and_not_by_their_numbers() -> None:
    """Samples 7 and 9 that cannot be read are one cause, a worker that exits another; five ways are one again."""
    grid = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in range(1, 6))

    def told(reasons: tuple[str, ...]) -> list[float]:
        failed = [
            replace(a_record(config, order=90 + at, status="failed"), failure_reason=reason)
            for at, (config, reason) in enumerate(zip(grid, reasons, strict=False))
        ]
        run = concluded([*verified({BASE: (1000.0,) * 3}), *failed], configs=(BASE, *grid))
        return [one.numbers["configurations"] for one in run.findings if one.code == "LT008"]

    assert told(("ValueError: sample 7; alone", "ValueError: sample 9; not alone", "worker 0 ended with 3")) == [2, 1]
    assert told(("a", "b", "c", "d", "e")) == [5]


def test_a_failed_pair_is_named_as_one() -> None:
    """Configurations that differ in drop_last alone share their trials: their failure has one name."""
    pair = (GRID[1], replace(GRID[1], drop_last=True))
    records = [a_record(GRID[1], order=99, status="failed", drop_last=(False, True))]
    finding = found(concluded([*verified({BASE: (1000.0,) * 3}), *records], configs=(BASE, *pair)), "LT008")
    assert finding is not None
    assert finding.message.startswith(
        "2 of 3 configurations (1 trial, shared with and without drop_last) gave no usable"
    )
    assert "1 worker, batch 64, with and without drop_last: a worker raised" in finding.message


def message_of_failures(
    grid: tuple[LoaderConfig, ...], failed: list[TrialRecord], *, untried: tuple[LoaderConfig, ...] = ()
) -> str:
    """LT008 where these trials failed, the rest of the grid went well and the untried were not reached."""
    spoilt = {record.config for record in failed}
    rates = {config: (1000.0,) for config in grid if config.steady not in spoilt and not config.drop_last}
    told = found(concluded([*verified(rates), *failed], configs=(*grid, *untried)), "LT008")
    assert told is not None
    return told.message


def test_what_sets_failed_configurations_apart_is_told_with_their_trials() -> None:
    """Of 20 rows all 8 with 3 or 4 workers failed, in 4 trials; those that were not reached are on neither side."""
    pairs = [(batch, workers) for batch in (64, 128) for workers in range(5)]
    grid = tuple(
        LoaderConfig(batch_size=batch, num_workers=workers, drop_last=drop)
        for batch, workers in pairs
        for drop in (False, True)
    )
    failed = [
        a_record(LoaderConfig(batch_size=batch, num_workers=workers), order=90 + place, status="failed")
        for place, (batch, workers) in enumerate(pairs)
        if workers >= 3
    ]
    failed = [replace(record, drop_last=(False, True)) for record in failed]
    untried = (LoaderConfig(batch_size=32, num_workers=4), LoaderConfig(batch_size=32))
    assert message_of_failures(grid, failed, untried=untried) == (
        "8 of 22 configurations (4 trials, shared with and without drop_last) gave no usable number (failed, "
        "worker_error); all have 3 or 4 workers, and the 12 that gave a number have 0 to 2; "
        "the first, 3 workers, batch 64: a worker raised"
    )


def test_a_row_that_failed_twice_is_told_with_both_trials() -> None:
    """One configuration whose two trials failed is one of three, with its trials counted."""
    failed = [a_record(GRID[1], order=90 + place, status="failed") for place in range(2)]
    told = message_of_failures(GRID, failed)
    assert told.startswith("1 of 3 configurations (2 trials) gave no usable number (failed, worker_error); 1 worker")


def test_what_was_refused_has_no_pattern() -> None:
    """Rows that were refused were not tried: neither a pattern nor trials are told of them."""
    grid = tuple(LoaderConfig(batch_size=size, num_workers=2) for size in (32, 64, 128, 256, 512, 1024))
    refused = [a_record(config, order=90 + place, status="refused") for place, config in enumerate(grid[3:])]
    told = message_of_failures(grid, refused)
    assert told.endswith("(refused, worker_error); the first, 2 workers, batch 256: a worker raised")


def test_rows_that_failed_otherwise_are_on_neither_side_of_a_pattern() -> None:
    """Of all rows with workers some hung and others raised: each cause is held against what gave a number alone."""
    grid = tuple(LoaderConfig(batch_size=32 * size, num_workers=count) for size in (1, 2, 3, 4) for count in (0, 1, 2))
    statuses = {1: "hung", 2: "failed"}
    failed = [
        a_record(config, order=90 + place, status=statuses[config.num_workers])
        for place, config in enumerate(grid)
        if config.num_workers
    ]
    records = [*verified({config: (1000.0,) for config in grid if not config.num_workers}), *failed]
    told = [one.message for one in concluded(records, configs=grid).findings if one.code == "LT008"]
    assert len(told) == 2
    assert all("; all have workers, and the 4 that gave a number have none; " in message for message in told)


def test_limits_are_named() -> None:
    """Configurations over the limits are counted, with the limits."""
    machine = Machine(rate=by_workers)
    limits = MemoryLimits(host_memory_bytes=450 * MIB)
    result = concluded(machine.sweep(SweepPlan(target="x"), GRID, limits=limits), limits=limits)
    finding = found(result, "LT009")
    assert finding is not None
    assert finding.message.startswith("1 configuration is over the limit of 450 MiB of host memory")
    by_batch = SweepPlan(target="x", limits=Limits(max_batch_size=32))
    assert concluded(verified({BASE: (1000.0,) * 3}), plan=by_batch).best is None


def test_fresh_processes_are_explained() -> None:
    """Where trials were not forked, the reason is given."""
    probe = a_probe(isolation="fresh", isolation_reason="the data set left 2 threads running")
    finding = found(concluded(verified({BASE: (1000.0,) * 3}), probe=probe), "LT010")
    assert finding is not None
    assert "2 threads" in finding.message


def test_dropped_samples_are_counted() -> None:
    """A choice that leaves samples out says how many of how many."""
    grid = (replace(BASE, drop_last=True),)
    result = concluded(verified({BASE: (1000.0,) * 3}), configs=grid, probe=a_probe(baseline=grid[0]))
    finding = found(result, "LT011")
    assert finding is not None
    assert finding.numbers["dropped_samples"] == 16
    assert "16 of 50,000 samples" in finding.message


def test_throttled_trials_are_counted() -> None:
    """Trials held back for 1 % of their time or more are counted, with the seconds, the worst and what bounds."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID})
    held = [replace(record, throttled_seconds=0.0, seconds=2.0) for record in records]
    held[0] = replace(held[0], throttled_seconds=0.5)
    held[1] = replace(held[1], throttled_seconds=3.0)
    held[2] = replace(held[2], throttled_seconds=0.019)
    result = concluded(held)
    finding = found(result, "LT015")
    assert finding is not None
    assert (finding.severity, finding.numbers["trials"], finding.numbers["worst_share"]) == ("warning", 2, 1.5)
    assert finding.numbers["throttled_seconds"] == 3.5
    assert f"throttled 2 of {len(held)} trials: threads were held back for 3.50 s in all" in finding.message
    assert "most with 1 worker, batch 64; 2 CPUs are usable (affinity)" in finding.message
    assert [row.throttled_share for row in result.trials] == [0.25, 1.5, 0.0095]
    assert [marks(result, row).count("throttled") for row in result.trials] == [1, 1, 0]


@pytest.mark.parametrize("seconds", [None, 0.0, 0.019])
def test_no_word_where_nothing_was_throttled(seconds: float | None) -> None:
    """Counters that did not move, moved a little, or are not there give neither finding nor mark."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID})
    result = concluded([replace(record, throttled_seconds=seconds, seconds=2.0) for record in records])
    assert found(result, "LT015") is None
    assert not any("throttled" in marks(result, row) for row in result.trials)


def test_every_finding_has_a_title_and_no_exclamation() -> None:
    """Codes are known, in order, and the words are calm."""
    noisy = Machine(rate=by_workers, window_sd=0.05, trial_sd=0.05, slowing=0.01)
    result = swept(noisy)
    codes = [finding.code for finding in result.findings]
    assert codes == sorted(codes)
    assert set(codes) <= set(pages.codes())
    assert not any("!" in finding.message + finding.advice for finding in result.findings)
    assert all(finding.advice for finding in result.findings)


@pytest.mark.parametrize("shuffled", [False, True])
def test_order_of_records_does_not_matter(*, shuffled: bool) -> None:
    """The same trials give the same result in whatever order they are read."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID})
    expected = concluded(records)
    assert concluded(records[::-1] if shuffled else list(records)).trials == expected.trials


def test_one_step_time_for_several_batch_sizes_is_warned_of() -> None:
    """A step time is held per batch: with two sizes LT032 says that the larger is favoured, with one it is silent."""
    plan = SweepPlan(target="x", consumer=Consumer(step_seconds=0.02))
    grid = (BASE, LoaderConfig(batch_size=512))
    records = verified({grid[0]: (1000.0,) * 3, grid[1]: (2000.0,) * 3})
    finding = found(concluded(records, configs=grid, plan=plan), "LT032")
    assert finding is not None
    assert finding.message.startswith("the step of 20.0 ms is held for each batch, whatever its size: 512 samples")
    assert "--batch-size 64 --step-time 20ms" in finding.advice
    assert found(concluded(records, configs=grid), "LT032") is None
    one = concluded(verified({BASE: (1000.0,) * 3}), configs=(BASE,), plan=plan)
    assert found(one, "LT032") is None


def test_samples_that_were_never_loaded_are_named_where_others_failed() -> None:
    """Where a trial failed on a sample and the pick's trials read a tenth of the data each, LT033 says what is left."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID[:2]})
    records = [replace(one, steady=replace(one.steady, passes=0.1)) for one in records if one.steady is not None]
    evidence = FailureEvidence(alone=Alone(loaded=3, sample="37"))
    failed = replace(
        a_record(GRID[2], order=99, status="failed"), failure_kind="worker_killed", failure_evidence=evidence
    )
    finding = found(concluded([*records, failed]), "LT033")
    assert finding is not None
    assert "1 trial failed as one sample can make it (sample 37)" in finding.message
    assert finding.numbers["seen_share"] == pytest.approx(1 - 0.9**4)
    assert finding.numbers["samples_not_loaded"] == pytest.approx(50_000 * 0.9**4, abs=1)
    assert found(concluded(records), "LT033") is None
    whole = [replace(one, steady=replace(one.steady, passes=1.2)) for one in records if one.steady is not None]
    assert found(concluded([*whole, failed]), "LT033") is None
    other = replace(failed, failure_kind="shm_full")
    assert found(concluded([*records, other]), "LT033") is None
    well = replace(failed, failure_evidence=FailureEvidence(alone=Alone(loaded=64, all_well=True)))
    assert found(concluded([*records, well]), "LT033") is None, "all of its samples load without a worker"


def test_a_limit_that_decided_is_told_as_that() -> None:
    """Where what is told to be faster is over a limit, reason and LT007 name it, and nothing is put down to noise."""
    limit = Limits(host_memory=Size(bytes=360 * MIB))
    machine = Machine(
        rate=lambda config: 1000.0 if config.num_workers < 2 else 9000.0,
        peak=lambda config: (335 + 14 * config.num_workers) * MIB,
        trial_sd=0.03,
    )
    plan = SweepPlan(target="cifar10", limits=limit)
    limits = MemoryLimits(host_memory_bytes=360 * MIB)
    result = concluded(machine.sweep(plan, GRID, limits=limits), plan=plan, limits=limits)
    finding = found(result, "LT007")
    assert finding is not None
    assert finding.message.startswith("nothing within the limits is told to be faster than torch's defaults")
    needs = "but needs 363 MiB of host memory, over the limit of 360 MiB"
    assert needs in finding.message
    assert "2 workers would give 9" in finding.message
    assert finding.advice == "to have it, raise the limit: --host-memory 363MiB"
    assert result.best is not None
    assert needs in result.best.reason
    assert "nothing measured within the limits is told to be better" in (gain_sentence(result) or "")


def test_nothing_is_as_fast_as_can_be_told() -> None:
    """Where noise hides whether anything is faster than the defaults, LT007 does not call them as fast as any."""
    noisy = {GRID[0]: (1000.0, 1300.0, 800.0), GRID[1]: (1010.0, 700.0, 1200.0), GRID[2]: (900.0, 1400.0, 750.0)}
    finding = found(concluded(verified(noisy)), "LT007")
    assert finding is not None
    assert finding.message.startswith("nothing that was tried can be told to be faster than torch's defaults")


def disturbed(taken: float, *, of_trials: int, environment: Environment | None = None) -> RunResult:
    """Return a verified run in whose first ``of_trials`` trials other work took so many CPUs."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID})
    seen = [
        replace(one, steady=replace(one.steady, others_cpu_seconds=one.steady.measured_seconds * cpus))
        for one, cpus in zip(records, [taken] * of_trials + [0.02] * len(records), strict=False)
        if one.steady is not None
    ]
    return concluded(seen, environment=environment or replace(an_environment(), logical_cpus=2, usable_cpus=2.0))


def test_other_programs_are_named_with_what_they_took() -> None:
    """LT034 where others had 0.9 of 2 CPUs in a quarter of the trials; not for one trial, nor for crumbs."""
    finding = found(disturbed(0.9, of_trials=4), "LT034")
    assert finding is not None
    assert "other programs took 0.9 of the 2 usable CPUs during 4 of 12 trials" in finding.message
    assert (finding.numbers["taken_cpus"], finding.numbers["trials"]) == (pytest.approx(0.9), 4.0)
    assert found(disturbed(0.9, of_trials=2), "LT034") is None
    assert found(disturbed(0.1, of_trials=12), "LT034") is None


def test_other_programs_beside_the_trials_that_decide_are_named() -> None:
    """Three of twenty trials are few, and are half of the six that the rates of choice and baseline rest on."""
    grid = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in range(5))
    records = verified({config: (by_workers(config),) * 3 for config in grid})
    seen = []
    for one in records:
        assert one.steady is not None
        cpus = 1.0 if one.config == grid[4] and one.phase == "verify" else 0.02
        seen.append(replace(one, steady=replace(one.steady, others_cpu_seconds=one.steady.measured_seconds * cpus)))
    machine = replace(an_environment(), logical_cpus=2, usable_cpus=2.0)
    finding = found(concluded(seen, configs=grid, environment=machine), "LT034")
    assert finding is not None
    assert "of the 6 that choice, fastest and baseline rest on, during 3" in finding.message
    undisturbed = [one for one in seen if one.phase != "verify" or one.config != grid[4]] + records[-1:]
    assert found(concluded(undisturbed, configs=grid, environment=machine), "LT034") is None


def test_one_disturbed_trial_is_not_told_where_nothing_can_be_chosen() -> None:
    """Where no rate is chosen none rests on disturbed trials: a single one of five is not half of nothing."""
    seen = []
    for order in range(5):
        one = a_record(GRID[1 + order % 2], order=order)
        assert one.steady is not None
        cpus = 1.0 if order == 0 else 0.02
        seen.append(replace(one, steady=replace(one.steady, others_cpu_seconds=one.steady.measured_seconds * cpus)))
    machine = replace(an_environment(), logical_cpus=2, usable_cpus=2.0)
    result = concluded(seen, limits=MemoryLimits(host_memory_bytes=100 * MIB), environment=machine)
    assert result.best is None
    assert found(result, "LT034") is None


def test_what_others_take_of_cpus_that_are_not_ours_disturbs_nobody() -> None:
    """Of 16 CPUs 2 are usable: 10 that others take may be among the other 14, of 15 one at least was ours."""
    few_of_many = replace(an_environment(), logical_cpus=16, usable_cpus=2.0)
    assert found(disturbed(10.0, of_trials=12, environment=few_of_many), "LT034") is None
    finding = found(disturbed(15.0, of_trials=12, environment=few_of_many), "LT034")
    assert finding is not None
    assert finding.numbers["taken_cpus"] == pytest.approx(1.0)


def test_what_is_worst_is_said_first() -> None:
    """Errors stand before warnings and these before the rest, whatever their codes."""
    records = verified({config: (by_workers(config),) * 3 for config in GRID})
    result = concluded(records, limits=MemoryLimits(host_memory_bytes=100 * MIB))
    severities = [finding.severity for finding in result.findings]
    assert severities[0] == "error"
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert len(set(severities)) > 1


def test_one_that_ran_out_of_memory_among_many_that_raised_is_not_the_cause() -> None:
    """Where one of three failed for want of memory and two raised, smaller batches would not help: that is not said."""
    plan = SweepPlan(target="x", space=SearchSpace(batch_size=(64,), num_workers=(1, 2, 3)))
    asked = tuple(LoaderConfig(batch_size=64, num_workers=count) for count in (1, 2, 3))
    failed = [
        replace(a_record(one, order=at, status="failed"), failure_kind="user_error") for at, one in enumerate(asked)
    ]
    starved = replace(failed[0], failure_kind="host_oom")
    raised = concluded([starved, *failed[1:]], configs=asked, plan=plan)
    assert lack(raised.trials, raised.plan, raised.probe).cause == "failed"
    short = concluded([starved, replace(failed[1], failure_kind="host_oom"), failed[2]], configs=asked, plan=plan)
    assert lack(short.trials, short.plan, short.probe).cause == "memory"


def test_a_rate_that_still_rises_at_the_most_workers_is_said() -> None:
    """LT035 where 2 workers are the most and twice as fast as 1; not where 1 is as fast, nor where 3 were asked for."""
    rising = verified(
        {BASE: (1000.0, 1001.0, 1002.0), GRID[1]: (2000.0, 2003.0, 1999.0), GRID[2]: (4000.0, 4005.0, 3998.0)}
    )
    finding = found(concluded(rising), "LT035")
    assert finding is not None
    assert "1 worker, batch 64, is 50 % slower" in finding.message
    assert "--num-workers 2..8:x2" in finding.advice
    flat = verified(
        {BASE: (1000.0, 1001.0, 1002.0), GRID[1]: (3990.0, 4003.0, 3999.0), GRID[2]: (4000.0, 4005.0, 3998.0)}
    )
    assert found(concluded(flat), "LT035") is None
    more = (*GRID, LoaderConfig(batch_size=64, num_workers=3))
    assert found(concluded(rising, configs=more), "LT035") is None


@pytest.mark.parametrize(("cached", "told"), [(4100.0, False), (8000.0, True)])
def test_where_the_step_hardly_waits_no_more_workers_are_advised(cached: float, *, told: bool) -> None:
    """At 4,000 samples/s of a step that takes 4,100 from memory nothing is to win; of one that takes 8,000, half is."""
    rising = verified(
        {BASE: (1000.0, 1001.0, 1002.0), GRID[1]: (2000.0, 2003.0, 1999.0), GRID[2]: (4000.0, 4005.0, 3998.0)}
    )
    fed = Feeding(wait_share=0.02, step_share=0.98, cached_samples_per_second=cached)
    behind = [replace(one, steady=replace(one.steady, feeding=fed)) for one in rising if one.steady is not None]
    assert (found(concluded(behind), "LT035") is not None) is told


def test_a_baseline_over_a_limit_is_not_said_to_have_been_left_out() -> None:
    """Torch's defaults are in the grid and over the limit of memory: the reason is the limit, not the axes."""
    small = LoaderConfig(batch_size=32)
    records = [
        replace(record, memory=replace(record.memory, host_peak_bytes=(600 if record.config == BASE else 300) * MIB))
        for record in verified({BASE: (2000.0, 2001.0, 1999.0), small: (1000.0, 1001.0, 999.0)})
    ]
    limits = MemoryLimits(host_memory_bytes=500 * MIB)
    result = concluded(records, configs=(BASE, small), limits=limits)
    finding = found(result, "LT007")
    assert result.best is not None
    assert result.best.config == small
    assert finding is not None
    assert "not among what was asked" not in finding.message
    assert "600 MiB of host memory, over the limit of 500 MiB" in finding.message


def test_only_limits_that_are_exceeded_are_named() -> None:
    """A batch above the largest allowed is not told as over a limit of memory that it meets."""
    small = LoaderConfig(batch_size=32)
    records = verified({BASE: (1000.0, 1001.0, 999.0), small: (1000.0, 1001.0, 999.0)})
    plan = SweepPlan(target="x", limits=Limits(max_batch_size=32))
    limits = MemoryLimits(host_memory_bytes=8 * 2**30)
    finding = found(concluded(records, configs=(small,), plan=plan, limits=limits), "LT009")
    assert finding is not None
    assert finding.message == "1 configuration is over the limit of batch 32, and not to be chosen"


def test_what_was_refused_is_one_cause_whatever_it_needs() -> None:
    """Three refused for want of shared memory, in MiB and GiB, are told once."""
    grid = tuple(LoaderConfig(batch_size=size, num_workers=2) for size in (64, 128, 256))
    refused = [
        replace(
            a_record(config, order=90 + at, status="refused"), failure_kind="shm_full", failure_reason=f"needs {size}"
        )
        for at, (config, size) in enumerate(zip(grid, ("305 MiB each", "1.0 GiB each", "2 GiB, not each"), strict=True))
    ]
    run = concluded([*verified({BASE: (1000.0,) * 3}), *refused], configs=(BASE, *grid))
    assert [one.numbers["configurations"] for one in run.findings if one.code == "LT008"] == [3]


def test_one_worker_that_ends_and_two_are_one_cause() -> None:
    """How many workers ended in the same way is no other cause: LT008 tells of all of them once."""
    ends = (
        "worker 0 ended with exit code 7; the 64 samples load alone",
        "worker 1 ended with exit code 7, worker 3 ended with exit code 7; the 128 samples load alone",
    )
    result = concluded(verified({config: (by_workers(config),) * 3 for config in GRID}))
    rows = [
        replace(row, status="failed", failure_kind="worker_error", failure_reason=reason)
        for row, reason in zip(result.trials[1:], ends, strict=True)
    ]
    assert [len(rows) for rows in by_cause(rows)] == [2]
    other = replace(rows[0], failure_reason="worker 0 ended with exit code 7, and said nothing")
    assert [len(rows) for rows in by_cause([*rows, other])] == [2, 1]


def test_one_sample_that_raises_is_one_cause_with_and_without_workers() -> None:
    """The kinds differ, what the sample raises does not: LT008 tells of it once, with both kinds."""
    words = ("sample 7 raised ValueError: bad", "sample 7 raises ValueError: bad, in a worker and alone in one process")
    records = [
        replace(a_record(one, order=at, status="failed"), failure_kind=kind, failure_reason=reason)
        for at, (one, kind, reason) in enumerate(
            zip(GRID, ("user_error", *("worker_error",) * 2), (words[0], *(words[1],) * 2), strict=True)
        )
    ]
    told = [finding for finding in concluded(records).findings if finding.code == "LT008"]
    assert len(told) == 1
    assert "3 of 3 configurations gave no usable number (failed, user_error or worker_error)" in told[0].message


def test_only_trials_of_its_own_cause_are_counted_by_a_failure() -> None:
    """A row that hung and then raised counts one trial that hung, not two."""
    records = [a_record(config, order=at) for at, config in enumerate(GRID)]
    for at, config in enumerate(GRID[1:]):
        records.append(replace(a_record(config, order=10 + at, status="hung"), failure_kind="hung", failure_reason="x"))
    records.append(replace(a_record(GRID[1], order=20, status="failed"), failure_kind="user_error", failure_reason="y"))
    finding = found(concluded(records), "LT008")
    assert finding is not None
    assert finding.message.startswith("2 of 3 configurations gave no usable number (hung)")


def test_what_gave_a_number_before_it_failed_otherwise_is_held_against_a_cause() -> None:
    """Every row fails in the end of a sample; that large batches fail at once of memory is told all the same."""
    grid = [LoaderConfig(batch_size=size, num_workers=count) for size in (32, 64, 128, 256) for count in (0, 1, 2, 4)]
    records = []
    for at, config in enumerate(grid):
        if config.batch_size == 256:
            bad = replace(a_record(config, order=at, status="failed"), failure_kind="host_oom", failure_reason="memory")
            records.append(bad)
            continue
        records.append(a_record(config, order=at))
        bad = replace(a_record(config, order=100 + at, status="failed"), failure_kind="user_error", failure_reason="x")
        records.append(bad)
    messages = [f.message for f in concluded(records, configs=tuple(grid)).findings if f.code == "LT008"]
    assert any(
        "all have batch 256, and the 12 that gave a number first have 32 to 128" in message for message in messages
    )


def test_where_nothing_else_was_measured_nothing_is_compared() -> None:
    """A sweep of one configuration calls it the only one, and does not say that settings do not matter."""
    result = concluded(verified({BASE: (1000.0,) * 3}), configs=(BASE,))
    assert result.best is not None
    assert "nothing else that can be chosen was measured" in result.best.reason
    assert found(result, "LT007") is None
    assert gain_sentence(result) == "That is torch's defaults (0 workers, batch 64): nothing else was measured."
