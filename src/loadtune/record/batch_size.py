"""What the search for a batch size asks and finds: probes, each a training step at one batch size, and the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from loadtune.describe.plan import Consumer
from loadtune.record.noise_scale import Goodput, GradientRequest, NoiseScale

SCHEMA = "loadtune.batch-size/1"

Fit = Literal["fits", "over", "out_of_memory", "late", "refused", "failed"]
"""``over`` ran and took more than a limit, ``late`` did not end in its time, which tells nothing of its memory, and
``refused`` was known not to fit and did not run."""
Resource = Literal["host", "address_space", "device"]
STEPS = 2
"""That a probe takes before it times one or more: the optimiser's state exists after the first."""
Purpose = Literal["start", "slope", "jump", "bisect", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One probe: run the training step at this batch size, in a process of its own."""

    batch_size: int
    consumer: Consumer
    step_path: str | None = None
    """A file with the pickled step, in place of the one that the consumer names."""
    steps: int = STEPS
    """Steps before the clock starts."""
    seconds: float = 0.5
    """Least time of the steps that are timed; at least one is."""
    seed: int = 0
    gradients: GradientRequest | None = None
    """Gradients that are asked for in place of the steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeasurement:
    """What the process of a probe saw."""

    steps: int
    """Training steps that ran to their end."""
    step_seconds: float | None
    """Mean time of a step on a batch that was there already; None where it did not come to it."""
    evaluated: bool
    """Whether an evaluation step ran as well."""
    batch_bytes: int
    """Bytes of the batch, at its largest."""
    resident_peak_bytes: int | None
    """Most memory resident in this process, from the first batch on."""
    address_peak_bytes: int | None
    """Most address space of this process."""
    device_peak_bytes: int | None = None
    """Most that torch's allocator reserved on the device, with what the device's context takes."""
    device_retries: int = 0
    """How often the allocator had to give back what it kept, to find room: it did not fit well."""
    samples_looked_at: int | None = None
    """Samples among which the largest were looked for; None where the loader gives batches only."""
    samples_vary: bool = False
    """Whether they differ in size, so that the batch was made of the largest."""
    error_type: str | None = None
    """What was raised; None where nothing was."""
    error_message: str = ""
    error_traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProbe:
    """A probe and what became of it: a line of ``probes.jsonl``."""

    order: int
    batch_size: int
    purpose: Purpose
    why: str
    """Why this batch size was probed, in words."""
    fit: Fit
    kind: str | None = None
    """Kind of failure, as in a sweep."""
    reason: str = ""
    """Why it does not fit, or failed."""
    seconds: float = 0.0
    """What the probe cost."""
    measured: StepMeasurement | None = None
    predicted_bytes: dict[str, int] = field(default_factory=dict)
    """What each limited resource was predicted to take, by the probes before."""
    used_bytes: dict[str, int] = field(default_factory=dict)
    """What each limited resource took; the host's has the batches that a loader holds as well."""

    @property
    def samples_per_second(self) -> float | None:
        """Rate of the step alone, on batches that are there already."""
        seconds = self.measured.step_seconds if self.measured is not None else None
        return self.batch_size / seconds if seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A limit that a batch must keep to."""

    resource: Resource
    limit_bytes: int
    source: str
    """Where the limit comes from, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderHolds:
    """What a loader holds beside the step, by its settings: the sum that a batch must fit with."""

    num_workers: int = 0
    prefetch_factor: int = 2
    worker_bytes: int = 0
    """Memory of a worker of its own, without batches."""

    @property
    def batches(self) -> int:
        """Batches in flight."""
        return self.num_workers * self.prefetch_factor

    def bytes(self, batch_bytes: int) -> int:
        """Return what all of it takes."""
        return self.num_workers * self.worker_bytes + self.batches * batch_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizePlan:
    """What is searched for, and within what."""

    target: str
    consumer: Consumer
    multiple_of: int = 1
    """Only multiples of this are probed and reported."""
    most: int | None = None
    """Largest batch to consider: ``--max-batch-size``."""
    tie: float = 0.02
    """Rates no further apart than this count as equal."""
    most_probes: int = 10
    """For the largest batch, where a line of memory leads the way: six as a rule. Those for the rate come on top."""
    find_best: bool = True
    """Whether the fastest is looked for too."""
    noise_scale: float | Literal["measure"] | None = None
    """The gradient noise scale in samples, for the goodput; None is neither asked for."""
    global_batch: int | None = None
    """Samples of one optimiser step that are to stay the same, by accumulation where they do not fit at once; None is
    that of a given loader, or none."""
    loader: LoaderHolds = field(default_factory=LoaderHolds)
    time_budget_seconds: float = 120.0
    """After this no probe begins."""
    probe_timeout_seconds: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizeResult:
    """The largest and the best batch, and how they were found."""

    plan: BatchSizePlan
    bounds: tuple[Bound, ...]
    samples: int | None
    """N of the data set; None where it has no length."""
    largest: int | None
    """The largest batch that ran within all limits; None where none did."""
    exact: bool = False
    """Whether the next one is known not to fit; otherwise ``largest`` is a lower bound."""
    because: str = ""
    """What bounds it, in words."""
    best: int | None = None
    """The smallest batch whose rate is tied with the fastest's."""
    fastest: int | None = None
    notes: tuple[str, ...] = ()
    """What a person should know, in words."""
    probes: tuple[StepProbe, ...] = ()
    seconds: float = 0.0
    noise_scale: NoiseScale | None = None
    """The gradient noise scale; None where it was not asked for, or nothing fits."""
    goodputs: tuple[Goodput, ...] = ()
    """Of each batch size that fits, by the noise scale, the smallest first."""
    best_goodput: int | None = None
    """The smallest batch size tied with the best goodput: beside ``largest`` and ``best``, which it does not change."""
    best_goodput_range: tuple[int, int] | None = None
    """The smallest and the largest that it may be over the noise scale's interval; None where both are the same, or
    the scale was given."""
    baseline_batch_size: int | None = None
    """B_0, in a batch of which a sample is worth one in ``goodputs``: a unit only; None where there are none."""
