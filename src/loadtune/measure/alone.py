"""The samples of a batch at which a worker failed, loaded one by one in one process: for the true traceback."""

from __future__ import annotations

import itertools
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import IterableDataset, SequentialSampler

from loadtune.describe.plan import TrialRequest
from loadtune.measure.fetch import of_one, several
from loadtune.measure.stream import Stream
from loadtune.record.failure import Alone
from loadtune.units import as_utf8, brief, words_of
from loadtune.workloads.source import ByValue, Source

_TRACEBACK_LINES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Batches that a worker was loading or had ahead of it when it failed."""

    dataset: Any
    collate: Callable[[Any], Any]
    batches: Sequence[Any]
    """What the sampler gave for each: lists of indices, or one index where the data set forms the batches."""
    in_lists: bool

    @property
    def indices(self) -> list[Any]:
        """Every index, in the order in which a worker comes to it."""
        return [index for batch in self.batches for index in (batch if self.in_lists else [batch])]

    def load(self, seconds: float, trying: Callable[[str | None], None]) -> Alone:
        """Load sample by sample, then put each batch together, until something raises or the time is over.

        Where the data set gives a list at once, a list that is well makes good what raised for a sample by itself.

        Args:
            seconds: When to stop; looked at between two samples.
            trying: Told the index before each sample, and None before a batch, for the process may not survive it.
        """
        deadline, loaded = time.monotonic() + seconds, 0
        for batch in self.batches:
            samples: list[Any] = []
            fault = None
            for index in batch if self.in_lists else [batch]:
                if time.monotonic() > deadline:
                    return Alone(loaded=loaded)
                trying(brief(index))
                try:
                    samples.append(of_one(self._dataset, index, in_lists=self.in_lists))
                except BaseException as error:  # noqa: BLE001 - it is looked for
                    fault = _raised(error, loaded + len(samples), sample=brief(index))
                    break
            if fault is not None and self._at_once is None:
                return fault
            trying(None)
            failed = self._put_together(batch, samples, loaded + len(samples))
            if failed is not None:
                return fault or failed
            loaded += len(batch) if self.in_lists else 1
        return Alone(loaded=loaded, all_well=True)

    def _put_together(self, batch: Any, samples: list[Any], loaded: int) -> Alone | None:
        """Return what was raised when a batch was made as torch makes it; None where it is well."""
        given: Any = samples if self.in_lists else samples[0]
        try:
            given = given if self._at_once is None else self._at_once(batch)
        except BaseException as error:  # noqa: BLE001 - it is looked for
            return replace(_raised(error, loaded, sample=None), together=True)
        try:
            self.collate(given)
        except BaseException as error:  # noqa: BLE001 - as above
            return _raised(error, loaded, sample=None)
        return None

    @property
    def _dataset(self) -> Any:
        return self.dataset.inner if isinstance(self.dataset, ByValue) else self.dataset

    @property
    def _at_once(self) -> Callable[[list[Any]], Any] | None:
        return several(self._dataset) if self.in_lists else None


def suspects_of(source: Source, request: TrialRequest, batch: int) -> Suspects | None:
    """Return the samples of a trial's batch by its number; None where the order of samples cannot be had again."""
    workload = source.workload
    if source.build_loader is not None or workload is None or workload.batch_sampler is not None:
        return None
    if isinstance(workload.dataset, IterableDataset) or type(workload.sampler) not in (type(None), SequentialSampler):
        return None
    loader = Stream(source, request.config, request.seed).loader
    in_lists = request.config.batch_size is not None
    batches = list(itertools.islice(loader.batch_sampler if in_lists else loader.sampler, batch, batch + 1))
    return Suspects(dataset=loader.dataset, collate=loader.collate_fn, batches=batches, in_lists=in_lists)


def _raised(error: BaseException, loaded: int, sample: str | None) -> Alone:
    lines = "".join(traceback.format_exception(error)).splitlines()
    said = words_of(error).strip().splitlines()
    return Alone(
        loaded=loaded,
        sample=sample,
        raised=as_utf8(
            ": ".join(part for part in (type(error).__name__[:200], said[-1] if said else "") if part)[:400]
        ),
        traceback=as_utf8("\n".join(lines[-_TRACEBACK_LINES:])[:4000]),
    )
