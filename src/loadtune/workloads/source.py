"""What trials load from: a workload, or the user's own way of building a loader for a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, default_collate
from torch.utils.data._utils.collate import default_convert

from loadtune.describe.config import ARTICLE_BATCH_SIZE, LoaderConfig
from loadtune.describe.workload import KEPT_ARGUMENTS, Workload
from loadtune.errors import TargetError
from loadtune.units import words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A resolved target."""

    name: str
    workload: Workload | None
    """None where a factory builds loaders of a kind of their own."""
    build_loader: Callable[[LoaderConfig], Any] | None = None
    """The user's function of a configuration, where the target is one."""
    baseline: LoaderConfig
    baseline_is_given: bool = False
    """Whether it is that of a given loader."""
    kept_arguments: tuple[str, ...] = ()
    """Arguments of a given loader that every trial keeps."""
    by_value: bool = False
    """Whether it came from a running script by value, and so goes to workers that are not forked."""

    @property
    def dataset_kind(self) -> str:
        """``map``, ``iterable`` or ``loader``."""
        if self.workload is None:
            return "loader"
        return "iterable" if isinstance(self.workload.dataset, IterableDataset) else "map"

    @property
    def samples(self) -> int | None:
        """N, the samples of an epoch; None where nothing says how many there are."""
        if self.workload is None or self.items_are_batches:
            return None
        return _length(_counted(self.workload))

    @property
    def items_are_batches(self) -> bool:
        """Whether the data set itself hands out batches, so that its length counts them and not samples."""
        return self.forms_batches and self.workload is not None and self.workload.batch_sampler is None

    @property
    def forms_batches(self) -> bool:
        """Whether batches are formed by the data set or its batch sampler, so that ``batch_size`` means nothing."""
        return self.workload is not None and self.baseline.batch_size is None


class ByValue:
    """Stands for an object on its way to a worker, and arrives as the object itself.

    What a script or notebook defines is not importable in a worker that is not a fork; Python's own pickle would name
    it and fail, where in the script itself it is found.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *arguments: Any) -> Any:
        """Do what the object does, in this process."""
        return self.inner(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return cloudpickle.loads, (cloudpickle.dumps(self.inner),)


def source_from_workload(workload: Workload, name: str) -> Source:
    """Return the source of a workload, with torch's defaults and batch 64 as the baseline.

    Raises:
        TargetError: The data set is empty.
    """
    own_batches = workload.batch_sampler is not None
    baseline = LoaderConfig(batch_size=None if own_batches else ARTICLE_BATCH_SIZE)
    _refuse_empty(workload, name)
    return Source(name=workload.name or name, workload=workload, baseline=baseline, kept_arguments=_kept_of(workload))


def source_from_loader(loader: DataLoader[Any], name: str) -> Source:
    """Return the source of a loader: its settings are the baseline, everything else is kept.

    Raises:
        TargetError: A subclass of DataLoader, whose own arguments a rebuilt loader would lose; or an empty data set.
    """
    if type(loader) is not DataLoader:
        raise TargetError(
            f"'{name}' gives a {type(loader).__qualname__}, a subclass of DataLoader whose own arguments would be lost"
            " when it is rebuilt: give a function of a LoaderConfig that returns such a loader"
        )
    workload = _workload_of(loader, name)
    _refuse_empty(workload, name)
    kept = _kept_of(workload)
    return Source(name=name, workload=workload, baseline=config_of(loader), baseline_is_given=True, kept_arguments=kept)


def config_of(loader: DataLoader[Any]) -> LoaderConfig:
    """Return the swept settings of a loader."""
    context = loader.multiprocessing_context
    return LoaderConfig.normalised(
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        pin_memory=bool(loader.pin_memory),
        drop_last=bool(loader.drop_last),
        prefetch_factor=loader.prefetch_factor if loader.num_workers else None,
        persistent_workers=bool(loader.persistent_workers),
        in_order=bool(getattr(loader, "in_order", True)),
        multiprocessing_context=context.get_start_method() if context is not None else None,
    )


def _workload_of(loader: DataLoader[Any], name: str) -> Workload:
    iterable = isinstance(loader.dataset, IterableDataset)
    own_batches = loader.batch_size is None and loader.batch_sampler is not None
    plain = iterable or own_batches or _is_plain_random(loader.sampler)
    return Workload(
        dataset=loader.dataset,
        name=name,
        sampler=None if plain else loader.sampler,
        batch_sampler=loader.batch_sampler if own_batches else None,
        collate_fn=None if loader.collate_fn in (default_collate, default_convert) else loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        timeout=loader.timeout,
    )


def _kept_of(workload: Workload) -> tuple[str, ...]:
    """Return the arguments of a loader that every trial has from what was given."""
    unused: tuple[str, ...] = ("sampler",) if workload.batch_sampler is not None else ()
    if isinstance(workload.dataset, IterableDataset):
        unused = ("sampler", "batch_sampler")
    return tuple(name for name in KEPT_ARGUMENTS if name not in unused and _is_telling(getattr(workload, name)))


def _is_telling(value: Any) -> bool:
    """Return whether an argument is more than torch's default; its own length is nobody's business here."""
    return (
        value is not None
        and not isinstance(value, SequentialSampler)
        and not (isinstance(value, (int, float)) and value == 0)
    )


def _is_plain_random(sampler: Any) -> bool:
    """Return whether the sampler is what ``shuffle=True`` makes: trials draw such permutations themselves, seeded."""
    return type(sampler) is RandomSampler and not sampler.replacement and sampler._num_samples is None  # noqa: SLF001


def _counted(workload: Workload) -> Any:
    return workload.sampler if workload.sampler is not None else workload.dataset


def _refuse_empty(workload: Workload, name: str) -> None:
    if _length(_counted(workload)) == 0:
        raise TargetError(f"the data set of '{name}' is empty: there is nothing to load")


def _length(sized: Any) -> int | None:
    if not hasattr(type(sized), "__len__"):
        return None
    try:
        return len(sized)
    except (TypeError, NotImplementedError) as error:
        # Of these an iterable data set need not know its length, and torch's own raise so.
        if "object cannot be interpreted as an integer" not in words_of(error):
            return None
        raise _no_length(sized, error) from error
    except Exception as error:
        raise _no_length(sized, error) from error


def _no_length(sized: Any, error: Exception) -> TargetError:
    """Return the error of what is asked for its length: negative, no whole number, beyond what len() may return."""
    words = " ".join(words_of(error, 400).split()) or "no message"
    return TargetError(
        f"len() of a {type(sized).__qualname__} raised {type(error).__name__[:200]}: {words}; "
        "__len__ has to return a whole number of samples, 0 or more"
    )
