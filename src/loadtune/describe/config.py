"""One point of the search space: the DataLoader settings that a sweep varies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from loadtune.errors import UsageError

DEFAULT_PREFETCH_FACTOR = 2
"""What torch uses when workers are on and nothing is said."""

ARTICLE_BATCH_SIZE = 64
"""Batch size of the baseline where the target has no loader settings of its own, as in the article."""

START_METHODS = ("fork", "forkserver", "spawn")

WITHOUT_WORKERS: dict[str, Any] = {
    "prefetch_factor": None,
    "persistent_workers": False,
    "in_order": True,
    "multiprocessing_context": None,
}
"""Settings that mean nothing without workers, and the value that each has there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """Settings that ``torch.utils.data.DataLoader`` accepts together; valid by construction.

    Raises:
        UsageError: A value out of range, or a combination that DataLoader refuses.
    """

    batch_size: int | None
    """Samples a batch; None where the data set or its batch sampler forms the batches."""
    num_workers: int = 0
    """Worker processes; 0 loads in the main process."""
    pin_memory: bool = False
    """Copy each batch to page-locked host memory."""
    drop_last: bool = False
    """Leave out the last batch when it is not full."""
    prefetch_factor: int | None = None
    """Batches a worker loads ahead; None without workers, torch's 2 made explicit with them."""
    persistent_workers: bool = False
    """Keep the workers between epochs."""
    in_order: bool = True
    """Hand batches out in the sampler's order."""
    multiprocessing_context: str | None = None
    """How workers are started; None is Python's default on this machine."""

    def __post_init__(self) -> None:
        if self.num_workers > 0 and self.prefetch_factor is None:
            object.__setattr__(self, "prefetch_factor", DEFAULT_PREFETCH_FACTOR)
        problem = _first_problem(self)
        if problem:
            raise UsageError(problem)

    @classmethod
    def normalised(cls, **settings: Any) -> LoaderConfig:
        """Return the configuration for these settings, less those that mean nothing together.

        Without workers there is nothing to prefetch, keep, order or start; without a batch size there is no last batch
        to drop. A grid that crosses its axes meets both.
        """
        if settings.get("num_workers", 0) == 0:
            settings.update(WITHOUT_WORKERS)
        if settings["batch_size"] is None:
            settings["drop_last"] = False
        return cls(**settings)

    @property
    def config_id(self) -> str:
        """A short name that says every setting that is not torch's default, such as ``b64-w4-pf4-drop``."""
        parts = [f"b{self.batch_size}" if self.batch_size is not None else "bown", f"w{self.num_workers}"]
        if self.num_workers and self.prefetch_factor != DEFAULT_PREFETCH_FACTOR:
            parts.append(f"pf{self.prefetch_factor}")
        flags = (
            (self.pin_memory, "pin"),
            (self.drop_last, "drop"),
            (self.persistent_workers, "keep"),
            (not self.in_order, "anyorder"),
            (self.multiprocessing_context is not None, self.multiprocessing_context or ""),
        )
        return "-".join(parts + [name for on, name in flags if on])

    @property
    def batches_in_flight(self) -> int:
        """Batches that are loaded or being loaded ahead of the consumer: P·W."""
        return self.num_workers * (self.prefetch_factor or 0)

    @property
    def batches_at_once(self) -> int:
        """Batches that are in memory behind a slow training step: P·W ahead, and the one in use."""
        return self.batches_in_flight + 1

    @property
    def steady(self) -> LoaderConfig:
        """The same settings with ``drop_last`` off: all that the steady rate depends on.

        Away from the end of an epoch there is no last batch, so configurations that differ in ``drop_last`` alone share
        one measurement of the steady rate and differ in their epoch.
        """
        return dataclasses.replace(self, drop_last=False) if self.drop_last else self

    def as_dict(self) -> dict[str, Any]:
        """Return the eight settings by name, in the order of the CSV columns."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def loader_kwargs(self) -> dict[str, Any]:
        """Return exactly what ``DataLoader(dataset, **kwargs)`` takes; valid without workers too."""
        kwargs = self.as_dict()
        if self.num_workers == 0:
            for name in ("prefetch_factor", "persistent_workers", "in_order"):
                del kwargs[name]
        if self.multiprocessing_context is None:
            del kwargs["multiprocessing_context"]
        return kwargs


def _first_problem(config: LoaderConfig) -> str | None:
    """Return one sentence on the first thing wrong with ``config``, or None."""
    checks = (
        (
            config.batch_size is not None and config.batch_size < 1,
            f"batch_size {config.batch_size} is not a batch: it must be 1 or more",
        ),
        (
            config.num_workers < 0,
            f"num_workers {config.num_workers} is negative: it must be 0 (load in the main process) or more",
        ),
        (
            config.prefetch_factor is not None and config.prefetch_factor < 1,
            f"prefetch_factor {config.prefetch_factor} gives a worker nothing to load: it must be 1 or more",
        ),
        (
            config.num_workers == 0 and config.prefetch_factor is not None,
            f"prefetch_factor {config.prefetch_factor} needs workers: with num_workers 0 nothing is loaded ahead",
        ),
        (config.num_workers == 0 and config.persistent_workers, "persistent_workers needs num_workers of 1 or more"),
        (
            config.multiprocessing_context not in (None, *START_METHODS),
            (
                f"multiprocessing_context '{config.multiprocessing_context}' is not a start method: "
                f"it must be one of {', '.join(START_METHODS)}"
            ),
        ),
        (
            config.batch_size is None and config.drop_last,
            "drop_last needs a batch_size: without one there is no last batch to drop",
        ),
    )
    return next((message for wrong, message in checks if wrong), None)
