"""Where a sweep stands, with what each phase asks of it."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Phase, SweepPlan
from loadtune.judge.choose import Choice, choose
from loadtune.judge.evidence import by_group, group_of, spoilt
from loadtune.judge.summary import all_configs, summarise
from loadtune.record.results import Environment, MemoryLimits, Probe, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Configurations that one trial speaks for."""

    config: LoaderConfig
    """With ``drop_last`` off."""
    drop_last: tuple[bool, ...]
    """The values of ``drop_last`` among them."""


def group_configs(configs: Sequence[LoaderConfig], baseline: LoaderConfig) -> tuple[Group, ...]:
    """Return the grid and the baseline, joined where they differ in ``drop_last`` alone."""
    values: dict[LoaderConfig, set[bool]] = {}
    for config in (*configs, baseline):
        values.setdefault(config.steady, set()).add(config.drop_last)
    return tuple(Group(config=config, drop_last=tuple(sorted(drops))) for config, drops in values.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that the next trial is decided from, but the time."""

    plan: SweepPlan
    configs: tuple[LoaderConfig, ...]
    records: tuple[TrialRecord, ...]
    """The trials that speak for a configuration (``evidence.speaking``)."""
    probe: Probe
    limits: MemoryLimits
    asides: tuple[TrialRecord, ...] = ()
    """The other trials, in the order they ran."""
    usable_cpus: float | None = None
    """None is not known: threads are not asked about then."""
    environment: Environment | None = None
    """The machine; None is not known: no model is fitted then."""
    workers_open_ended: bool = False
    """Whether the number of workers was left to the sweep, so that it may go beyond the grid."""
    _choices: dict[frozenset[str], Choice] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Those that were asked for: several of a step's questions begin with the same one, and it is dear."""
    _narrowed: list[State] = field(default_factory=list, init=False, repr=False, compare=False)

    def in_phase(self, phase: Phase) -> tuple[TrialRecord, ...]:
        """Return the records of a phase."""
        return tuple(record for record in self.records if record.phase == phase)

    def with_records(self, records: Sequence[TrialRecord]) -> State:
        """Return the state as it was, or would be, with these records."""
        return self if tuple(records) == self.records else replace(self, records=tuple(records))

    def narrowed(self) -> State:
        """Return the state with what was tried in place of the whole grid: a choice among thousands is dear."""
        if not self._narrowed:
            tried = {record.config for record in self.records}
            configs = tuple(config for config in self.configs if group_of(config) in tried)
            self._narrowed.append(self if configs == self.configs else replace(self, configs=configs))
        return self._narrowed[0]

    def eligible(self) -> frozenset[LoaderConfig]:
        """Return the configurations that may be chosen: all but a baseline outside of the grid."""
        everything = set(all_configs(self.configs, self.records, self.probe))
        return frozenset(everything - ({self.probe.baseline} - set(self.configs)))

    def choice(self, excluded: Collection[str] = ()) -> Choice:
        """Return what would be chosen now."""
        key = frozenset(excluded)
        if key not in self._choices:
            self._choices[key] = choose(
                summarise(self.records, all_configs(self.configs, self.records, self.probe), self.probe),
                self.records,
                limits=self.limits,
                tie=self.plan.tie,
                probe=self.probe,
                max_batch_size=self.plan.limits.max_batch_size,
                eligible=self.eligible(),
                excluded=excluded,
            )
        return self._choices[key]

    def group(self, config: LoaderConfig) -> Group:
        """Return the group that a measured configuration belongs to, with the epochs its trials measure."""
        grid = {group.config: group for group in group_configs(self.configs, self.probe.baseline)}
        if config in grid:
            return grid[config]
        drops = {drop for record in self.records if record.config == config for drop in record.drop_last}
        return Group(config=config, drop_last=tuple(sorted(drops)) or (False,))

    def spoilt(self) -> frozenset[LoaderConfig]:
        """Return the groups that are out because a trial failed, hung or was refused."""
        return frozenset(group for group, trials in by_group(self.records).items() if spoilt(trials))

    def shuffled(self, members: Sequence[LoaderConfig], phase: Phase, block: int) -> list[LoaderConfig]:
        """Return the members in the random order of a block; each second block is the mirror of the one before.

        What drifts evenly then cancels over two blocks, whoever was drawn first.
        """
        order = sorted(members, key=lambda config: config.config_id)
        pair = block // 2
        random.Random(f"{self.plan.seed}/{phase}/{pair}").shuffle(order)  # noqa: S311 - an order, not a secret
        return order[::-1] if block % 2 else order
