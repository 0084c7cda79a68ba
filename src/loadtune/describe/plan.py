"""What a sweep does: how each trial is measured, under which limits, in how much time."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from loadtune.describe.config import LoaderConfig
from loadtune.describe.space import SearchSpace
from loadtune.errors import UsageError
from loadtune.units import Size, format_seconds

CacheState = Literal["as-is", "warm", "cold"]
Search = Literal["adaptive", "grid", "optuna:tpe", "optuna:random", "optuna:grid"]
SEARCHES: tuple[Search, ...] = get_args(Search)
Phase = Literal["screen", "race", "verify", "threads"]
"""The last asks what threads cost; its trials tell nothing of a configuration's rate (``judge.evidence.speaking``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How one trial is measured (docs/measuring.md)."""

    precision: float = 0.02
    """Half-width of the 95 % interval, as a share of the rate, at which a trial stops."""
    window_seconds: float = 0.5
    """Least length of a window; a window is a whole number of rounds of all workers."""
    min_windows: int = 2
    """Windows a trial takes before it may stop."""
    max_seconds: float = 1.0
    """Time for windows in one trial, after which it stops whatever its precision."""
    extensions: int = 0
    """How often a trial that is not steady at its time goes on for half of that time again."""
    priming_seconds: float = 0.5
    """Time from the first batch after which a trial is primed by one whole round, were 2·P·W batches to take longer."""
    pause_seconds: float | None = None
    """Most time that the consumer pauses at the end for the workers to fill their queue, before memory is looked at;
    None is no pause and no look."""
    look_early: bool = False
    """Whether memory is looked at before the windows and halfway too: growth needs two looks, its kind three."""
    real_epoch_seconds: float = 1.0
    """An epoch expected to take no longer than this is run whole."""
    one_pass: bool = False
    """Whether windows end with the first pass over the data, once there is one: what is read again is cached."""

    @property
    def rung_wait_seconds(self) -> float:
        """Time that batches ahead may take, for a smaller batch size to be measured behind them: as its windows do."""
        return self.priming_seconds + self.max_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """What takes the batches."""

    step_seconds: float = 0.0
    """Time the consumer needs for a batch, without holding the interpreter; 0 takes batches as fast as they come."""
    device: str = "cpu"
    """Where each batch is copied before the step: ``cpu`` (not copied) or ``cuda:0``."""
    step: str | None = None
    """The training step, ``module:callable`` or ``file.py:callable``; ``model`` is that of the target; None is none."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """The type that the target's model computes in."""

    @property
    def step_words(self) -> str:
        """What takes a batch, in words."""
        if self.step is None:
            return f"{format_seconds(self.step_seconds)} a batch" if self.step_seconds else "none"
        return self.step if self.amp == "off" else f"{self.step}, {self.amp}"


LEAST_MEMORY_BYTES = 1 << 20
"""A limit below this is a number without its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a configuration may use; None is no limit beyond the machine's own.

    Raises:
        UsageError: A limit of memory below 1 MiB.
    """

    host_memory: Size | None = None
    gpu_memory: Size | None = None
    max_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("host_memory", "gpu_memory"):
            size = getattr(self, name)
            if size is not None and size.bytes is not None and size.bytes < LEAST_MEMORY_BYTES:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} of {size.bytes} B is less than anything needs: give a unit, as in 8GiB or 50%"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Everything that decides what a sweep measures and chooses.

    Raises:
        UsageError: No time to measure in.
    """

    target: str
    """A built-in name, ``module:name``, ``file.py:name``, or ``<object>`` from the Python API."""
    target_args: dict[str, str] = field(default_factory=dict)
    """Keyword arguments for the target, from ``--arg``."""
    space: SearchSpace = field(default_factory=SearchSpace)
    consumer: Consumer = field(default_factory=Consumer)
    measurement: Measurement = field(default_factory=Measurement)
    limits: Limits = field(default_factory=Limits)
    search: Search = "adaptive"
    """How the space is searched (docs/choosing.md)."""
    time_budget_seconds: float = 60.0
    """Hard bound on the time from the first trial to the choice."""
    trial_timeout_seconds: float = 60.0
    """A trial that takes longer is killed and recorded as hung."""
    tie: float = 0.02
    """Rates no further apart than this count as equal."""
    cache: CacheState = "as-is"
    """What is done to the page cache before measuring; ``cold`` before each trial."""
    seed: int = 0
    """Of the order of trials and of the samples that are drawn."""

    def __post_init__(self) -> None:
        for name in ("time_budget_seconds", "trial_timeout_seconds"):
            seconds = getattr(self, name)
            if not 0 < seconds < math.inf:
                raise UsageError(f"{name.removesuffix('_seconds')} {seconds:g} s is no time: it must be above 0")

    def digest(self) -> str:
        """Return a short hash of the plan: equal plans, equal digests."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """One trial: the settings to measure, in which block, and how."""

    order: int
    """Position in the run, from 0."""
    block: int
    """Trials of one block draw the same sequence of samples."""
    phase: Phase
    config: LoaderConfig
    """With ``drop_last`` off; the steady rate does not depend on it."""
    drop_last: tuple[bool, ...] = (False,)
    """The values whose epoch is measured beside the steady rate."""
    measurement: Measurement
    consumer: Consumer
    seed: int = 0
    one_thread: bool = False
    """Whether libraries are held to one thread in each process of the trial."""
    ladder: tuple[int, ...] = ()
    """Smaller batch sizes that the same workers are given after the windows, where starting others takes seconds."""
