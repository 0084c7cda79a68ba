"""The searches side by side on real loaders: what each picks at the same cost, held against long runs.

In pieces, each within ``--minutes``: ``bench/search.py --only NAME`` goes on where the last call ended, with the whole
grid, the adaptive sweep and the long runs in this order, and keeps what it has in ``reports/bench/search/NAME.json``.
Each call renders ``reports/bench/search.md`` from what is there; ``--render`` does that alone.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from _report import REPORTS, Report

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, SweepPlan, TrialRequest
from loadtune.describe.space import SearchSpace
from loadtune.judge.costs import screen_measurement
from loadtune.judge.epoch import epoch_rate
from loadtune.judge.evidence import steady_of
from loadtune.judge.search import by_optuna
from loadtune.judge.state import State, group_configs
from loadtune.judge.statistics import student_t
from loadtune.record.results import MemoryLimits, Probe, RunResult, TrialRecord
from loadtune.run.events import Progress, SilentListener
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor
from loadtune.run.sweep import run_sweep

TARGETS = Path(__file__).parent / "search_targets.py"
KEPT = REPORTS / "search"
TOP = 10
"""Of the grid's trials: their best are measured long, beside each contender's pick."""
TRUTH_BLOCKS = 4
"""At least; ``--blocks`` asks for more where the machine is noisy."""
DRAWS = 9
"""Of each random contender; its regret is the median, and each other pick is measured long."""
TPE_DRAWS = 3
ABOUT = f"""**What is compared.** The adaptive sweep runs live. The *grid* is one trial of every configuration in
random order; its pick is the best trial. *Random*, Optuna's *TPE* and *coordinate descent* (one axis
after the other, all its values, from a random place) draw their trials from that table, until they have
cost as much as the whole adaptive sweep, races and verification included; they pick the best trial that
they have seen, the median of {DRAWS} draws (TPE: {TPE_DRAWS}). The *truth* are long trials in interleaved blocks,
{TRUTH_BLOCKS} or more, of every pick and of the {TOP} best trials of the grid. Regret is what a pick lacks in
each block of the best by the *other* blocks (the best of noisy figures, compared by the same figures,
would make everything else look worse), in the mean of the blocks; it can be below zero. The half-width
is that of the 95 % interval of the adaptive pick's: it is this machine's noise, and no claim is proven or
refuted within it. loadtune picks the cheapest of what is tied within 2 %, so that up
to 2 % is given away on purpose for fewer workers: *fastest* is the regret of the configuration that it
names as the fastest. The rate is the one that the choice goes by, over an epoch with its start.
"""


@dataclass(frozen=True)
class Case:
    """A loader and the grid that it is searched on."""

    name: str
    target: str
    space: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    step_seconds: float = 0.0
    thin: int = 1
    """Keeps every so many batch sizes and numbers of workers; above 1 for a trial run of the bench itself."""

    def plan(self, scale: float) -> SweepPlan:
        measurement = Measurement(window_seconds=0.5 * scale, max_seconds=scale, priming_seconds=0.5 * scale)
        space = SearchSpace.parse(drop_last="off", in_order="on", pin_memory="off", **self.space)
        workers = tuple(space.num_workers)[:: self.thin]
        space = replace(space, batch_size=space.batch_size[:: self.thin], num_workers=workers)
        return SweepPlan(
            target=self.target,
            target_args=self.arguments,
            space=space,
            consumer=Consumer(step_seconds=self.step_seconds, device="cpu"),
            measurement=measurement,
            time_budget_seconds=60.0 * scale,
        )

    def groups(self, scale: float) -> list[LoaderConfig]:
        return [group.config for group in group_configs(self.plan(scale).space.configs(), LoaderConfig(batch_size=64))]


WIDE = {"batch_size": "8..512:x1.4", "num_workers": "0,1,2,3,4,6,8,12", "prefetch_factor": "2,4"}
MANY = {"batch_size": "8..128:x1.4", "num_workers": "0,1,2,4,6,8,12,16,24,32,48,64", "prefetch_factor": "2,4"}
CASES = (
    Case("cifar10", "cifar10", WIDE),
    Case("images", "images", {**WIDE, "batch_size": "4..64:x1.25"}),
    Case("images-64", f"{TARGETS}:small_images", {**WIDE, "batch_size": "8..128:x1.25"}),
    Case("texts", f"{TARGETS}:texts", WIDE),
    Case("in-memory", f"{TARGETS}:in_memory", WIDE),
    Case("storage", f"{TARGETS}:storage", MANY, {"seconds": "0.004"}),
    Case("heavy-tail", f"{TARGETS}:storage", MANY, {"seconds": "0.004", "tail": "1.5"}),
    Case("consumer", f"{TARGETS}:storage", MANY, {"seconds": "0.004"}, step_seconds=0.02),
    Case("300-samples", f"{TARGETS}:storage", MANY, {"seconds": "0.004", "samples": "300"}),
)


class Kept(msgspec.Struct, kw_only=True):
    """What there is of one loader; the probe comes with the first piece."""

    scale: float
    digest: str
    """Of the plan: trials of another grid or budget are not gone on with."""
    thin: int = 1
    probe: Probe | None = None
    table: list[TrialRecord] = []
    live: list[TrialRecord] = []
    result: RunResult | None = None
    truth: list[TrialRecord] = []


class Piece:
    """The work on one loader, ended when its time is over and taken up again by the next call."""

    def __init__(self, case: Case, scale: float, minutes: float, blocks: int) -> None:
        self.case, self._ends, self._blocks = case, time.monotonic() + 60 * minutes, blocks
        self._path = KEPT / f"{case.name}.json"
        self.kept = read(self._path) or Kept(scale=scale, digest=case.plan(scale).digest(), thin=case.thin)
        assert self.kept.digest == case.plan(scale).digest(), (
            f"{self._path} is of another plan (--scale {self.kept.scale}): give that, or remove it"
        )

    def run(self) -> bool:
        """Do what is left within the time; return whether all is done."""
        todo = list(self._table_requests())
        done = self._trials(todo, self.kept.table)
        if done and self.kept.result is None and time.monotonic() < self._ends - 120 * self.kept.scale:
            self._sweep()
        if done and self.kept.result is not None:
            done = self._trials(list(self._truth_requests()), self.kept.truth)
        return done and self.kept.result is not None

    def _keep(self) -> None:
        KEPT.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(msgspec.json.encode(self.kept))

    def _trials(self, requests: Sequence[TrialRequest], into: list[TrialRecord]) -> bool:
        waiting = requests[len(into) :]
        if not waiting:
            return True
        setup = Setup(target=self.case.target, arguments=self.case.arguments, device="cpu", seed=0, warm_seconds=5.0)
        with Supervisor(setup, trial_timeout_seconds=60) as supervisor:
            self.kept.probe = self.kept.probe or supervisor.probe
            for request in waiting:
                if time.monotonic() > self._ends:
                    break
                into.append(supervisor.run(request, within_seconds=60.0))
                print(".", end="", flush=True)
        self._keep()
        return len(into) == len(requests)

    def _request(self, order: int, block: int, config: LoaderConfig, measurement: Measurement) -> TrialRequest:
        consumer = Consumer(step_seconds=self.case.step_seconds)
        return TrialRequest(
            order=order,
            block=block,
            phase="screen",
            config=config,
            measurement=measurement,
            consumer=consumer,
            seed=block,
        )

    def _table_requests(self) -> Iterator[TrialRequest]:
        order = self.case.groups(self.kept.scale)
        random.Random(0).shuffle(order)
        measurement = screen_measurement(self.case.plan(self.kept.scale))
        yield from (self._request(place, 0, config, measurement) for place, config in enumerate(order))

    def _truth_requests(self) -> Iterator[TrialRequest]:
        judged = Judged(self.case, self.kept)
        members = sorted(judged.of_interest(), key=lambda config: config.config_id)
        longer = replace(self.case.plan(self.kept.scale).measurement, max_seconds=3 * self.kept.scale, extensions=1)
        order = 0
        for block in range(self._blocks):
            random.Random(block).shuffle(members)
            for config in members:
                yield self._request(order, 1 + block, config, longer)
                order += 1

    def _sweep(self) -> None:
        listener = Listening()
        self.kept.result = run_sweep(self.case.plan(self.kept.scale), listener=listener)
        self.kept.live = listener.records
        self._keep()


class Listening(SilentListener):
    """Keeps the trials."""

    def __init__(self) -> None:
        self.records: list[TrialRecord] = []

    def measured(self, record: TrialRecord, progress: Progress) -> None:  # noqa: ARG002
        self.records.append(record)
        print(record.phase[0], end="", flush=True)

    failed = measured


class Judged:
    """What the pieces of one loader say."""

    def __init__(self, case: Case, kept: Kept) -> None:
        self.case, self.kept = case, kept
        assert kept.probe is not None
        self._probe = kept.probe
        self.table = {record.config: record for record in kept.table}
        self.grid = case.groups(kept.scale)
        assert kept.result is not None
        self.result = kept.result
        self.seconds = self.result.cost.seconds
        self.search_seconds = sum(record.seconds for record in kept.live if record.phase in ("screen", "race"))
        self.grid_seconds = sum(record.seconds for record in kept.table)

    def rate(self, record: TrialRecord) -> float:
        own = epoch_rate(record, record.config, self._probe) if self._probe.dataset_samples else steady_of(record)
        return own or 0.0

    def picks(self) -> dict[str, list[LoaderConfig]]:
        """Return what each contender picks, of several draws where it draws."""
        assert self.result.best is not None
        assert self.result.fastest is not None
        return {
            "adaptive": [self.result.best.config.steady],
            "fastest": [self.result.fastest.config.steady],
            "grid": [max(self.table, key=lambda config: self.rate(self.table[config]))],
            "random": [self._spend(self._random(draw)) for draw in range(DRAWS)],
            "TPE": [self._spend(self._tpe(draw)) for draw in range(TPE_DRAWS)],
            "coordinates": [self._spend(self._coordinates(draw)) for draw in range(DRAWS)],
        }

    def of_interest(self) -> set[LoaderConfig]:
        best = sorted(self.table, key=lambda config: -self.rate(self.table[config]))[:TOP]
        return {*best, *(config for picks in self.picks().values() for config in picks)}

    def _spend(self, order: Iterator[LoaderConfig]) -> LoaderConfig:
        """Return the best trial of those that the adaptive sweep's time pays for."""
        seen: list[LoaderConfig] = []
        spent = 0.0
        while (config := next(order, None)) is not None:
            spent += self.table[config].seconds if config not in seen else 0.0
            if spent > self.seconds and seen:
                break
            seen.append(config)
        return max(seen, key=lambda config: self.rate(self.table[config]))

    def _random(self, draw: int) -> Iterator[LoaderConfig]:
        yield from random.Random(draw).sample(self.grid, len(self.grid))

    def _coordinates(self, draw: int) -> Iterator[LoaderConfig]:
        """Yield all values of one axis after the other, in a random order of axes, around the best so far."""
        source = random.Random(draw)
        best = source.choice(self.grid)
        for _ in range(4):
            for axis in source.sample(("batch_size", "num_workers", "prefetch_factor"), 3):
                line = [config for config in self.grid if is_on_line(config, best, axis)]
                yield from line
                best = max(line, key=lambda config: self.rate(self.table[config]))

    def _tpe(self, draw: int) -> Iterator[LoaderConfig]:
        """Yield what Optuna's TPE proposes, told of each trial before the next."""
        plan = replace(self.case.plan(self.kept.scale), search="optuna:tpe", seed=draw)
        seen: list[TrialRecord] = []
        while len(seen) < len(self.grid):
            state = State(
                plan=plan, configs=tuple(self.grid), records=tuple(seen), probe=self._probe, limits=MemoryLimits()
            )
            group = by_optuna.next_group(state)
            assert group is not None
            seen.append(replace(self.table[group.config], order=len(seen)))
            yield group.config

    @cached_property
    def logs(self) -> dict[LoaderConfig, list[float]]:
        """Return the logarithm of the long trials' rates of each member, one a block that was measured whole."""
        logs: dict[LoaderConfig, list[float]] = {}
        for record in self.kept.truth[: self.whole_blocks * len(self.of_interest())]:
            if (rate := self.rate(record)) > 0:
                logs.setdefault(record.config, []).append(math.log(rate))
        blocks = max(map(len, logs.values()))
        return {config: rates for config, rates in logs.items() if len(rates) == blocks}

    @cached_property
    def whole_blocks(self) -> int:
        """How many blocks of long trials came to their end."""
        return len(self.kept.truth) // len(self.of_interest())

    @cached_property
    def best_of_others(self) -> list[LoaderConfig]:
        """Return, for each block, the best by the other blocks: the best of noisy figures is not compared by itself."""
        blocks = range(len(next(iter(self.logs.values()))))
        return [
            max(self.logs, key=lambda config: sum(self.logs[config]) - self.logs[config][left_out])
            for left_out in blocks
        ]

    def lacks(self, config: LoaderConfig) -> list[float]:
        """Return, for each block, the logarithm of the best's rate over this one's."""
        own = self.logs[config]
        return [self.logs[best][block] - own[block] for block, best in enumerate(self.best_of_others)]

    def regrets(self) -> dict[str, float]:
        """Return what each contender's pick lacks of the best in the mean of the blocks, the median of its draws."""
        return {
            name: statistics.median(1 - math.exp(-statistics.fmean(self.lacks(config))) for config in picks)
            for name, picks in self.picks().items()
        }

    def half_width(self) -> float:
        """Return that of the 95 % interval of the adaptive pick's regret, over blocks."""
        seen = self.lacks(self.picks()["adaptive"][0])
        return student_t(0.975, len(seen) - 1) * statistics.stdev(seen) / math.sqrt(len(seen))

    def workers(self) -> tuple[int, float]:
        """Return the workers of the adaptive pick, and those of the fastest truth."""
        best = max(self.logs, key=lambda config: sum(self.logs[config]))
        return self.picks()["adaptive"][0].num_workers, best.num_workers

    def unseen_errors(self) -> list[float]:
        """Return how far the model is off on what the adaptive sweep did not try, by the grid's single trials."""
        tried = {record.config for record in self.kept.live}
        rates = {row.config: row.predicted_samples_per_second for row in self.result.trials}
        pairs = ((rates.get(config), steady_of(record)) for config, record in self.table.items() if config not in tried)
        return [abs(predicted / seen - 1) for predicted, seen in pairs if predicted and seen]

    def repeated_errors(self) -> list[float]:
        """Return how far two single trials of one configuration differ: the sweep's first, and the grid's."""
        first = {record.config: record for record in reversed(self.kept.live)}
        pairs = (
            (steady_of(record), steady_of(self.table[config]))
            for config, record in first.items()
            if config in self.table
        )
        return [abs(one / other - 1) for one, other in pairs if one and other]


def is_on_line(config: LoaderConfig, best: LoaderConfig, axis: str) -> bool:
    others = [name for name in ("batch_size", "num_workers", "prefetch_factor") if name != axis]
    if axis == "num_workers":
        others = ["batch_size"] if 0 in (config.num_workers, best.num_workers) else others
    return all(getattr(config, name) == getattr(best, name) for name in others)


def read(path: Path) -> Kept | None:
    return msgspec.json.decode(path.read_bytes(), type=Kept) if path.exists() else None


def render() -> None:
    """Make the report of all loaders that are done."""
    report = Report("search", "The searches on real loaders")
    report.line(ABOUT)
    names = ["adaptive", "fastest", "grid", "random", "TPE", "coordinates"]
    report.table(
        [
            "loader",
            "grid",
            "regret: adaptive, ±",
            *(f"regret: {name}" for name in names[1:]),
            "workers (pick / fastest)",
            "cost",
            "unseen",
            "measured twice",
        ]
    )
    swept = [
        Judged(replace(case, thin=kept.thin), kept)
        for case in CASES
        if (kept := read(KEPT / f"{case.name}.json")) is not None and kept.result is not None
    ]
    judged = [one for one in swept if one.whole_blocks > 1]
    everything: dict[str, list[float]] = {name: [] for name in names}
    shares, errors = [], []
    for one in judged:
        regrets = one.regrets()
        for name in names:
            everything[name].append(regrets[name])
        shares.append((one.seconds / one.grid_seconds, one.search_seconds / one.grid_seconds))
        unseen = one.unseen_errors()
        errors += unseen
        off = both(unseen) if unseen else "nothing predicted"
        cost = f"{shares[-1][0]:.0%} ({shares[-1][1]:.0%}) of {one.grid_seconds:.0f} s"
        counts = "{} / {}".format(*one.workers())
        told = [f"{regrets['adaptive']:.1%} ± {one.half_width():.1%}", *(f"{regrets[name]:.1%}" for name in names[1:])]
        report.row(one.case.name, len(one.grid), *told, counts, cost, off, both(one.repeated_errors()))
    if judged:
        scales = sorted({one.kept.scale for one in judged})
        budgets = " or ".join(f"{60 * scale:g} s of time, windows of {0.5 * scale:g} s" for scale in scales)
        report.line(f"\nEach adaptive sweep had {budgets}; by default it is 60 s, with windows of 0.5 s.")
        totals(report, everything, shares, errors)
    report.keep()


def both(errors: Sequence[float]) -> str:
    """Return the median and the ninth decile."""
    return f"{np.median(errors):.1%} / {np.quantile(errors, 0.9):.1%}" if errors else "–"


def totals(
    report: Report, everything: dict[str, list[float]], shares: Sequence[tuple[float, float]], errors: list[float]
) -> None:
    report.line("\nCost is of the whole adaptive sweep over the grid's one pass; in brackets without its verification.")
    report.line(
        "Unseen: error of the model on what the sweep did not try, in the median and for nine of ten, held against the "
        "grid's single trials. Measured twice: by how much the sweep's first trial of a configuration differs from the "
        "grid's trial of it, which is what that comparison would show of a model that is never wrong.\n"
    )
    for name, values in everything.items():
        report.line(f"- {name}: regret {statistics.median(values):.1%} in the median, {max(values):.1%} at worst")
    own, best = (
        everything["adaptive"],
        min(statistics.median(everything[name]) for name in ("random", "TPE", "coordinates")),
    )
    claim(
        report, "regret at most 1 % in the median and 5 % at worst", statistics.median(own) <= 0.01 and max(own) <= 0.05
    )
    claim(report, "cost at most 10 % of the grid's in the median", statistics.median(a for a, _ in shares) <= 0.1)
    claim(report, "no more than 1 % behind the best contender", statistics.median(own) <= best + 0.01)
    if errors:
        met = float(np.median(errors)) <= 0.03 and float(np.quantile(errors, 0.9)) <= 0.08
        claim(report, f"unseen within 3 % and 8 % ({np.median(errors):.1%}, {np.quantile(errors, 0.9):.1%})", met)


def claim(report: Report, text: str, met: bool) -> None:  # noqa: FBT001 - a sentence and whether it is so
    report.line(f"- The claim, {text}: {'holds' if met else 'DOES NOT HOLD here'}.")


def main() -> None:
    """Do the pieces that were asked for, then render what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one loader; all of them otherwise")
    parser.add_argument("--scale", type=float, default=1.0, help="of every time; 0.3 is a trial run")
    parser.add_argument("--thin", type=int, default=1, help="of batch sizes and workers; 3 is a trial run")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which a call ends, to be taken up again")
    parser.add_argument("--blocks", type=int, default=TRUTH_BLOCKS, help="of long trials, more narrow the truth")
    parser.add_argument("--render", action="store_true", help="make the report of what is there")
    given: Any = parser.parse_args()
    if not given.render:
        ends = time.monotonic() + 60 * given.minutes
        for case in CASES:
            if given.only in (None, case.name):
                left = (ends - time.monotonic()) / 60
                done = left > 0 and Piece(replace(case, thin=given.thin), given.scale, left, given.blocks).run()
                print(f"\n{case.name}: {'done' if done else 'call again to go on'}", flush=True)
    render()


if __name__ == "__main__":
    main()
