"""What is known of a trial that gave no numbers: its kind, why, what the machine said at its end, what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FailureKind = Literal[
    "cuda_in_worker",
    "device_oom",
    "environment",
    "host_oom",
    "hung",
    "last_batch",
    "library",
    "main_guard",
    "open_files",
    "pickle",
    "pin_memory",
    "shards",
    "shm_full",
    "size_limit",
    "trial_killed",
    "user_error",
    "worker_error",
    "worker_killed",
]
"""The classes of docs/failures.md, each with a page in ``explain/codes``. Records keep them as text: later versions
may know more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnd:
    """How a process of a trial ended by itself."""

    worker: int | None = None
    """Number of the worker; None for the process that takes the batches."""
    exit_code: int | None = None
    signal: str | None = None
    """Such as ``SIGKILL``; None where it exited."""

    @property
    def who(self) -> str:
        """``worker 2``, or ``the measuring process``."""
        return "the measuring process" if self.worker is None else f"worker {self.worker}"

    def __str__(self) -> str:
        how = f"was killed by {self.signal}" if self.signal is not None else f"ended with exit code {self.exit_code}"
        return f"{self.who} {how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOn:
    """What torch hands on of an exception in a worker, before it makes another of it, which may not be possible."""

    type_name: str
    message: str
    """Where it was raised, and the end of its traceback there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What the process that takes the batches sees when something raises, before its workers are gone."""

    workers: tuple[ProcessEnd, ...] = ()
    """Those that ended by themselves."""
    batch_bytes: float | None = None
    """Size of the last batch that came; None where none came."""
    shm_free_bytes: int | None = None
    open_files: int | None = None
    """Descriptors that this process had open."""
    open_files_limit: int | None = None
    device_free_bytes: int | None = None
    """On the whole device, whoever uses the rest; None without one, or where it does not answer any more."""
    device_total_bytes: int | None = None
    handed_on: HandedOn | None = None
    """What a worker raised, where it was that."""
    is_loading: bool = False
    """Whether it was raised in this process while the samples of a batch were fetched."""
    sample: str | None = None
    """Index of the sample that raised in this process."""
    batch: tuple[str, ...] = ()
    """Indices of the samples that the worker which raised or ended was loading, or had ahead of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What became of the samples at which a worker failed, loaded one by one in one process."""

    loaded: int
    """Samples that gave no trouble."""
    all_well: bool = False
    """Whether these are all there were, and their batches could be put together."""
    sample: str | None = None
    """Index of the one that raised, or that ended the process or the time; None where it was putting them together."""
    together: bool = False
    """Whether it was all samples of a batch in one call, where each of them loads by itself."""
    raised: str = ""
    """Exception and message, in a line; empty where nothing was raised."""
    traceback: str = ""
    died: str = ""
    """How the process ended; empty where it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureEvidence:
    """What a failed trial left to be read: nobody has to take the kind of failure on trust. Absent is not known."""

    trial: ProcessEnd | None = None
    """How the measuring process ended, where it gave no result."""
    workers: tuple[ProcessEnd, ...] = ()
    """Workers that ended by themselves."""
    oom_counters: dict[str, int] = field(default_factory=dict)
    """Counters of the kernel that moved during the trial, by the file that has them, and by how much."""
    oom_kills: int | None = None
    """Processes of this control group that the kernel killed for want of memory; None where nothing counts them."""
    host_peak_bytes: int | None = None
    """Most memory charged to the control group whose limit is the tightest, else used on the machine: by everybody."""
    host_limit_bytes: int | None = None
    host_limit_source: str = ""
    host_free_bytes: int | None = None
    """Available on the machine after the trial."""
    shm_free_bytes: int | None = None
    """Of /dev/shm, the least that was seen; files of a process that died are gone at once."""
    shm_total_bytes: int | None = None
    shm_before_bytes: int | None = None
    """Of /dev/shm, what was used before the trial, by whomever: no batch finds room there."""
    device_free_bytes: int | None = None
    device_total_bytes: int | None = None
    batch_bytes: float | None = None
    """Size of the last batch that came."""
    open_files: int | None = None
    """Descriptors of the process that takes the batches."""
    open_files_limit: int | None = None
    """What one process of the trial may have open; None where nothing limits it."""
    open_files_first: int | None = None
    """Most descriptors of one process of the trial, workers included, when they were first counted."""
    open_files_last: int | None = None
    """The same when they were last counted before the end."""
    batch: tuple[str, ...] = ()
    """Indices of the samples that were being loaded, as far as they are known."""
    sample: str | None = None
    """Index of the sample that raised in the process that takes the batches."""
    is_loading: bool | None = None
    """Whether a process of a trial that hung was loading a sample; None where nothing hung, or where of those that
    answered none did and another did not answer."""
    alone: Alone | None = None
    """What loading the samples alone gave; None where that was not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial gave no numbers."""

    kind: FailureKind | None
    """None where it says nothing against the configuration: the time was over."""
    reason: str
    hung: bool = False
    """Whether it was ended from outside, for it did not go on."""
