"""What was measured: units in the names, absent is None, a failed trial is a result like any other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Phase, SweepPlan
from loadtune.record.contents import Contents
from loadtune.record.failure import FailureEvidence

SCHEMA = "loadtune.run/1"

Status = Literal["ok", "refused", "failed", "hung", "interrupted"]
Severity = Literal["info", "warning", "error"]


WAIT_SHARES = (0.0, *(share / 20 for share in range(1, 20)), 0.98, 0.99, 1.0)
"""Shares of the batches that had come after the waits in ``batch_wait_quantiles_seconds``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMeasurement:
    """An epoch that was run whole, start-up and tail included."""

    drop_last: bool
    seconds: float
    """From asking for the first batch to the end of the last."""
    samples: int
    """Samples received; those in a dropped last batch are not among them."""
    batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """How a training step, real or simulated, was fed during the windows."""

    wait_share: float
    """Part of the time for which the step waited for a batch: near 0 it is fed, near 1 the loader is all there is."""
    step_share: float | None
    """Utilisation: part of the time in which the step ran, as MLPerf Storage defines it; None where it is not known."""
    cached_samples_per_second: float | None = None
    """Rate of the step on a batch that is there already; None where another trial measured it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyMeasurement:
    """What the measuring process saw of one loader."""

    startup_seconds: float
    """From asking for an iterator until it exists: the workers have been started."""
    first_batch_seconds: float
    """From asking for an iterator to the first batch."""
    window_samples_per_second: tuple[float, ...]
    """Rate in each window; a window is a whole number of rounds of all workers."""
    batches_measured: int
    samples_measured: int
    measured_seconds: float
    """Time in windows."""
    discarded_seconds: float = 0.0
    """Time after priming that is in no window: a transient that was cut off, a rest too short for a window."""
    steady: bool
    """Whether the halves of the windows agree within 5 %, or within what the spread of the windows explains."""
    batch_wait_p50_seconds: float
    batch_wait_p95_seconds: float
    batch_wait_p99_seconds: float
    batch_wait_quantiles_seconds: tuple[float, ...] = ()
    """Waits at the shares of ``WAIT_SHARES``, ascending: their distribution, however many batches there were."""
    cpu_seconds: float | None
    """Processor time of the loader's process tree during the windows."""
    bytes_per_batch: float
    """Bytes of all tensors and arrays in a full batch as it is received."""
    samples_per_batch: float
    epochs: tuple[EpochMeasurement, ...] = ()
    gpu_reserved_peak_bytes: int | None = None
    """Peak of the memory that torch's allocator reserved on the device."""
    start_method: str | None = None
    """How the workers were started; None without workers."""
    reshuffled_passes: bool = True
    """Whether the samples came as an endless stream of passes; False where a loader of its own kind had to restart."""
    passes: float | None = None
    """How often the data set was read by the end of the windows; None where its length is not known."""
    others_cpu_seconds: float | None = None
    """Processor time that all other work of the machine took during the windows; None where it is not known."""
    feeding: Feeding | None = None
    """How the training step was fed; None where there was none."""
    backlog_samples: int = 0
    """Samples taken in the windows that had been made before them, and do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What the workers of a trial did with a smaller batch size, after the trial's own windows: for the model alone."""

    batch_size: int
    seconds: float
    """From asking for the first such batch to the end of the windows."""
    window_samples_per_second: tuple[float, ...] = ()
    samples_measured: int = 0
    cpu_seconds: float | None = None
    """Processor time of the loader's process tree during the windows."""
    failure_reason: str | None = None
    """What went wrong; the trial had been measured by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLook:
    """Memory of a trial at one moment. The last four sizes leave out batches in shared memory, and pages of files."""

    batches: int
    """Batches taken so far."""
    resident_bytes: int
    """Sum of proportional set sizes, plus shared memory that no process maps."""
    shm_bytes: int
    """Growth of /dev/shm over what was used before the trial."""
    main_bytes: int
    """What the main process maps, whoever else maps it: it rises with what is allocated, not with copies."""
    workers_bytes: int
    """The same, summed over the workers."""
    held_bytes: int
    """What they take together, a page that several share counted once: it rises with copies too."""
    shared_bytes: int
    """About the part of ``workers_bytes`` that is shared still: the most that copies can add."""
    open_files: int | None = None
    """Most descriptors that one of the processes has open."""
    main_free_bytes: int | None = None
    """The part of ``main_bytes`` that its allocator keeps free; None where it did not tell."""
    workers_free_bytes: int | None = None
    """The same of ``workers_bytes``; None where not all workers told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMeasurement:
    """Memory of the measuring process tree, sampled from outside."""

    host_peak_bytes: int | None = None
    """Largest sum of proportional set sizes, plus shared memory that no process maps."""
    private_peak_bytes: int | None = None
    """Largest of these sums with shared memory left out: what stays when the queue is empty."""
    shm_peak_bytes: int | None = None
    """Largest growth of /dev/shm over what was used before the trial."""
    gpu_peak_bytes: int | None = None
    """Device-wide use at its largest, less what was used before the trial (NVML)."""
    growth_bytes_per_batch: float | None = None
    """Growth between the first and last look, shared memory left out. Of runs from before there were ``looks``."""
    samples: int = 0
    looks: tuple[MemoryLook, ...] = ()
    """What was seen each time, in order; where there are several, the queue is full at the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadMeasurement:
    """Threads of the measuring process tree during the windows, counted from outside at a few moments."""

    samples: int = 0
    """Moments at which they were counted; without any the rest is None."""
    runnable: float | None = None
    """Mean number of threads that ran or waited for a CPU, in the process that takes the batches and all workers."""
    runnable_each: float | None = None
    """The same in one process that loads: a worker, or without workers the process that takes the batches."""
    alive_each: float | None = None
    """Mean number of threads that such a process has, those that sleep included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """The CPUs that processes may run on, as the kernel lists them: ``0-3,8``."""

    sweep: str
    """Of the process that runs the sweep."""
    trial: str
    """Of the process that takes the batches; it has what building the data set left it."""
    workers: tuple[str, ...] = ()
    """Of each worker, by its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDrop:
    """What was taken out of the page cache before a trial, and how much of what the trial opened that was.

    Sizes are those of whole files, in bytes.
    """

    seconds: float
    """Time it took; no part of the trial's own."""
    files: int
    """Files dropped: those opened since the last time, and those that are kept open or mapped."""
    file_bytes: int
    checked_bytes: int
    """Of the files whose pages the system tells; the next two are of these."""
    cached_before_bytes: int
    cached_after_bytes: int
    """What could not be dropped."""
    unchecked_files: int
    """Files whose pages the system does not tell: they belong to another user, who alone may write them."""
    opened_files: int = 0
    """Files that the trial opened, or had open or mapped at its end."""
    opened_bytes: int = 0
    opened_cold_files: int = 0
    """Of these, files that were known and had been dropped."""
    opened_cold_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """What was there after a trial that was not there before it, and could not be ended or removed."""

    processes: tuple[int, ...] = ()
    """Process ids of the trial that did not end when they were killed."""
    shm_files: int = 0
    """Files of this user in /dev/shm; other programs of the same user may have made them meanwhile."""
    shm_bytes: int = 0
    shm_names: tuple[str, ...] = ()
    """Names of the first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial as it ran: a line of ``trials.jsonl``."""

    order: int
    """Position in the run, from 0."""
    block: int
    phase: Phase
    config: LoaderConfig
    """With ``drop_last`` off: the steady rate of both its values."""
    drop_last: tuple[bool, ...]
    """The values of ``drop_last`` that this trial speaks for."""
    status: Status
    failure_kind: str | None = None
    failure_reason: str | None = None
    started_at: str
    """UTC, ISO 8601."""
    seconds: float
    """What the trial cost, from request to cleared away."""
    steady: SteadyMeasurement | None = None
    rungs: tuple[Rung, ...] = ()
    """Smaller batch sizes that its workers were given too; they speak for no configuration."""
    memory: MemoryMeasurement = field(default_factory=MemoryMeasurement)
    isolation: Literal["fork", "fresh"] = "fork"
    """Whether the trial's process was forked from the host or started anew."""
    throttled_seconds: float | None = None
    """Time that a CPU quota held threads back, summed over CPUs; other processes in the quota's group count too."""
    stderr_tail: str = ""
    cache: CacheDrop | None = None
    """What was taken out of the page cache before it; None where nothing was to be."""
    left_behind: LeftBehind | None = None
    """What it left; None where there is nothing."""
    one_thread: bool = False
    """Whether libraries were held to one thread in each of its processes."""
    threads: ThreadMeasurement = field(default_factory=ThreadMeasurement)
    affinity: Affinity | None = None
    """None where all its processes may run wherever the sweep may, or where the system does not tell."""
    failure_evidence: FailureEvidence | None = None
    """What a failed trial left to be read."""
    failure_advice: str | None = None
    """The next step after a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one process sees of the data set, sample by sample, before the first trial."""

    dataset_kind: Literal["map", "iterable", "loader"]
    dataset_samples: int | None
    """N; None where the data set has no length."""
    seconds_per_sample: float | None
    """T: wall time to fetch and collate one sample, in one process."""
    cpu_seconds_per_sample: float | None
    bytes_per_sample: float | None
    """M: bytes of one sample after collate."""
    samples_probed: int
    baseline: LoaderConfig
    """Settings of the given loader, else torch's defaults with batch 64."""
    baseline_is_given: bool = False
    """Whether a loader was given, whose settings may be those of torch's defaults too."""
    batch_size_is_swept: bool = True
    """False where the data set or its batch sampler forms the batches."""
    isolation: Literal["fork", "fresh"] = "fork"
    isolation_reason: str | None = None
    """Why trials are not forked, when they are not."""
    name: str = ""
    kept_arguments: tuple[str, ...] = ()
    """Arguments of a given loader, or parts of a given workload, that every trial keeps."""
    torch_version: str = ""
    accelerator: str | None = None
    """Name of the device that batches go to, or None."""
    accelerator_device: str | None = None
    """How torch names it, such as ``cuda:0``."""
    accelerator_uuid: str | None = None
    accelerator_memory_bytes: int | None = None
    pass_samples: int | None = None
    """Samples read in an untimed pass before the first trial; None where there was none."""
    pass_read_bytes: int | None = None
    """Bytes that this pass read by system calls, from any file, cached or not; those of its first sample left out."""
    lists_files: bool = False
    """Whether the data set holds a list of paths of files, which it is likely to read from."""
    shared_bytes_per_sample: float | None = None
    """The part of M in tensors, which workers hand over through shared memory; None where it is not known."""
    tensors_per_batch: float | None = None
    """Tensors with memory of their own in a batch of any size; None where it is not known."""
    tensors_per_sample: float = 0.0
    """Tensors more for each sample of a batch: 0 where samples are stacked."""
    default_start_method: str | None = None
    """How Python starts a worker here where nothing is said."""
    resident_bytes: int | None = None
    """Host memory of one process that holds torch and the data set, before any trial; None where it is not known."""
    built_bytes: int | None = None
    """What the trial host has allocated to build the data set, imports included: forked workers share it at first."""
    sample_variation: float | None = None
    """Squared coefficient of variation of the time of one sample; None where it is not known."""
    unpicklable: str | None = None
    """What cannot be sent to a worker that is not a fork, and why; None where all can, or nobody needs it."""
    contents: Contents = field(default_factory=Contents)
    """What was seen of the samples themselves: duplicates, wrong data, files that workers share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine, and the limits in force on it."""

    hostname: str
    platform: str
    cpu_model: str
    logical_cpus: int
    usable_cpus: float
    usable_cpus_source: str
    host_memory_limit_bytes: int
    host_memory_limit_source: str
    shm_total_bytes: int | None
    shm_free_bytes: int | None
    open_files_limit: int | None
    load_average: float | None
    python_version: str
    loadtune_version: str
    packages: dict[str, str] = field(default_factory=dict)
    accelerators: tuple[str, ...] = ()
    open_files_most: int | None = None
    """What the limit of open files may be raised to, as it is for trials; None is no limit, or an unknown one."""
    tasks_free: int | None = None
    """Processes and threads that may still be started here; None where no control group limits them."""
    tasks_free_source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRun:
    """One trial of a configuration, as far as order, drift and repeats are told from it."""

    order: int
    """Position in the run, from 0."""
    phase: Phase
    samples_per_second: float
    """Rate over all its windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One configuration and all that is known of it: a row of the CSV, its columns in their order."""

    config_id: str
    status: Status
    failure_kind: str | None = None
    failure_reason: str | None = None
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    prefetch_factor: int | None
    persistent_workers: bool
    in_order: bool
    multiprocessing_context: str | None
    samples_per_second: float | None = None
    samples_per_second_low: float | None = None
    samples_per_second_high: float | None = None
    predicted_samples_per_second: float | None = None
    epoch_samples_per_second: float | None = None
    batches_measured: int | None = None
    repeats: int = 0
    startup_seconds: float | None = None
    first_batch_seconds: float | None = None
    batch_wait_p50_seconds: float | None = None
    batch_wait_p95_seconds: float | None = None
    batch_wait_p99_seconds: float | None = None
    cpu_seconds_per_1000_samples: float | None = None
    host_peak_bytes: int | None = None
    predicted_host_peak_bytes: int | None = None
    shm_peak_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    batches_per_epoch: int | None = None
    kbt_epoch_seconds: float | None = None
    epoch_seconds: float | None = None
    kbm_epoch_bytes: int | None = None
    bytes_per_batch: float | None = None
    within_limits: bool | None = None
    pareto: bool = False
    tied_with_best: bool = False
    chosen: bool = False
    windows: tuple[float, ...] = ()
    """Samples per second in each window, in the order they were measured. JSON only."""
    order: tuple[int, ...] = ()
    """When its trials ran. JSON only."""
    epoch_was_run: bool = False
    """Whether the epoch was run whole, or ``epoch_seconds`` put together from start-up and steady rate. JSON only."""
    dropped_samples: int | None = None
    """Samples that an epoch leaves out. JSON only."""
    measured_again: bool = False
    """Whether its rate rests on trials made after the pick; otherwise it is from earlier in the run. JSON only."""
    throttled_share: float | None = None
    """Seconds that a CPU quota held threads back, by second of trial, in the worst of its trials. JSON only."""
    delivered_samples_per_second: float | None = None
    """The rate with every copy of a sample counted, where ``unique_share`` is known. JSON only."""
    unique_share: float | None = None
    """Share of the delivered samples that count as unique; None where that was not looked for. JSON only."""
    failure_evidence: FailureEvidence | None = None
    """What the failed trial left to be read. JSON only."""
    failure_advice: str | None = None
    """The next step after the failure. JSON only."""
    predicted_samples_per_second_low: float | None = None
    """Lower end of the 95 % interval of ``predicted_samples_per_second``. JSON only, as is the upper one."""
    predicted_samples_per_second_high: float | None = None
    predicted_shm_peak_bytes: int | None = None
    """Of ``predicted_host_peak_bytes``, batches in shared memory. JSON only, as are the next two."""
    predicted_pinned_bytes: int | None = None
    """Of it, page-locked memory."""
    predicted_gpu_peak_bytes: int | None = None
    runs: tuple[TrialRun, ...] = ()
    """Its trials that gave a rate, in the order they ran. JSON only."""
    batch_wait_quantiles_seconds: tuple[float, ...] = ()
    """Waits at the shares of ``WAIT_SHARES``, medians over the trials that the rate rests on. JSON only."""
    looks: tuple[MemoryLook, ...] = ()
    """Memory as it was seen in the trial with the highest peak, at most ``LOOKS_KEPT`` times. JSON only."""
    rate_over_pick: Interval | None = None
    """The rate that it is judged by (over an epoch where N is known) over the pick's, by their
    differences in the blocks that they share where there are any. JSON only."""

    @property
    def config(self) -> LoaderConfig:
        """The settings of this row."""
        return _config(*_settings_of(self))

    @property
    def fresh_trials(self) -> int:
        """How many of its trials were made after it was picked out; one of them does not stand alone."""
        return sum(run.phase == "verify" for run in self.runs)


_SETTINGS = tuple(LoaderConfig.__dataclass_fields__)
_settings_of = attrgetter(*_SETTINGS)


@lru_cache(maxsize=1 << 14)
def _config(*settings: Any) -> LoaderConfig:
    """Return the configuration of these settings; a row is asked for it all the time, and has no place to keep it."""
    return LoaderConfig(**dict(zip(_SETTINGS, settings, strict=True)))


JSON_ONLY_FIELDS = (
    "windows",
    "order",
    "epoch_was_run",
    "dropped_samples",
    "measured_again",
    "throttled_share",
    "delivered_samples_per_second",
    "unique_share",
    "failure_evidence",
    "failure_advice",
    "predicted_samples_per_second_low",
    "predicted_samples_per_second_high",
    "predicted_shm_peak_bytes",
    "predicted_pinned_bytes",
    "predicted_gpu_peak_bytes",
    "runs",
    "batch_wait_quantiles_seconds",
    "looks",
    "rate_over_pick",
)
CSV_COLUMNS = tuple(name for name in TrialResult.__dataclass_fields__ if name not in JSON_ONLY_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A configuration that is pointed out: the chosen one, the fastest, the baseline."""

    config_id: str
    config: LoaderConfig
    samples_per_second: Interval
    host_peak_bytes: int | None
    gpu_peak_bytes: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should know, with its number and the next step."""

    code: str
    severity: Severity
    message: str
    advice: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """The limits in force, in bytes; None is no limit."""

    host_memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The pipeline model: its parameters, fitted once for all configurations, and how well they predict."""

    parameters: dict[str, float] = field(default_factory=dict)
    """By name, which ends in the unit; a ratio has none."""
    median_abs_error: float | None = None
    """Of its rates for configurations that the fit did not see, as a share of the measured ones; in the median."""
    p90_abs_error: float | None = None
    """The same, for nine of ten."""
    pick_bounded_by: str | None = None
    """The part of the pipeline that bounds the pick's rate: workers, cores, main process, consumer, pinning."""
    note: str | None = None
    """Why nothing is predicted; None where something is."""
    memory_parameters: dict[str, float] = field(default_factory=dict)
    """Of the resident-memory model, by name; empty where memory is not predicted."""
    memory_median_abs_error: float | None = None
    """Of its host memory for configurations that the fit did not see, as a share of the measured; in the median."""
    memory_p90_abs_error: float | None = None
    """The same, for nine of ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the sweep took."""

    seconds: float
    trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A time at which a run was taken up again."""

    order: int
    """Trials that were there: the first one after it has this order."""
    pause_seconds: float
    """From the end of the last trial before it until it was taken up again."""
    more_time: bool = False
    """Whether it was given a longer time budget, so that what was decided for want of time is open again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A whole sweep: the JSON export, field by field."""

    schema: str = SCHEMA
    target: str
    command: tuple[str, ...]
    started_at: str
    environment: Environment
    plan: SweepPlan
    limits: MemoryLimits
    probe: Probe
    best: Pick | None
    fastest: Pick | None
    baseline: Pick | None
    gain: Interval | None
    """Rate of the chosen configuration over the baseline's, with its interval."""
    tied: tuple[str, ...]
    trials: tuple[TrialResult, ...]
    findings: tuple[Finding, ...]
    model: Model
    cost: Cost
    finished: bool = True
    """Whether the sweep came to its end; False where it was interrupted or killed, so that there is more to measure."""
    resumes: tuple[Resume, ...] = ()
    """When it was taken up again, in order."""

    def trial(self, config_id: str) -> TrialResult | None:
        """Return the row of a configuration, or None."""
        return next((trial for trial in self.trials if trial.config_id == config_id), None)


def result_columns(config: LoaderConfig) -> dict[str, Any]:
    """Return the columns of a row that name its configuration."""
    return {"config_id": config.config_id, **config.as_dict()}
