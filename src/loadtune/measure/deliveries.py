"""How many of the samples that the workers of an iterable data set deliver are unique, in passes outside of trials.

Workers run as in a real loader, but hand over fingerprints. All have equal seeds, so that random augmentation does not
make two copies of a sample look like two samples. What looks the same then is looked at again with torch's own seeds:
a data set that draws its samples at random repeats nothing, and is not to be accused.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, get_worker_info

from loadtune.describe.workload import Workload
from loadtune.measure import page_cache, witness
from loadtune.measure.fingerprints import Fingerprint, fingerprint, seed_all
from loadtune.measure.lifeline import WorkerStart
from loadtune.measure.stream import StandIn
from loadtune.record.contents import Delivery, Length

LONE_SECONDS = 1.0
"""Longest pass of one worker alone, which shows how many samples there are."""
PASS_SECONDS = 0.4
"""Longest pass of several."""
ALL_SECONDS = 4.0
"""No further number of workers is begun after this."""
MOST_SAMPLES = 50_000
"""Of a worker, in any pass."""
FEWEST_SAMPLES = 20
"""A pass over slow samples goes on for about so many."""
LONGEST_SECONDS = 2.0
"""For one number of workers, however slow a sample is."""
TELLING = 0.99
"""A share of unique samples below this is worth looking into."""
DISTINCT = 0.9
"""Fingerprints tell samples apart where so many of one worker's are distinct."""
IDENTICAL = 1.1
"""Workers have the same samples, as far as one can see, where unique ones are at most so many times one worker's."""
CHANCE = 1e-9
"""Probability below which workers that deliver the same in the same order do so by no accident."""
FEWEST_SHARED = 3
"""So many samples that two workers both delivered are no accident, where none repeats one of its own."""


class Report(NamedTuple):
    """What one worker delivered."""

    ended: bool
    prints: list[Fingerprint]


class Deliveries(NamedTuple):
    """What all the passes gave."""

    deliveries: tuple[Delivery, ...]
    length: Length | None
    alike: bool
    """Whether equal samples under equal seeds were all that was seen, which proves nothing."""


class _Reporter(StandIn):
    """Yields one item a worker: its report."""

    def __init__(self, workload: Workload, seconds: float, seed: int | None) -> None:
        super().__init__(workload.dataset)
        object.__setattr__(self, "_seconds", seconds)
        object.__setattr__(self, "_seed", seed)

    def __iter__(self) -> Iterator[Report]:
        if self._seed is not None:
            seed_all(self._seed)
            with contextlib.suppress(AttributeError, TypeError):  # of no torch that is known
                object.__setattr__(get_worker_info(), "seed", self._seed)
        deadline = time.perf_counter() + self._seconds
        prints: list[Fingerprint] = []
        for sample in self._inner:
            prints.append(fingerprint(sample))
            if len(prints) >= MOST_SAMPLES or time.perf_counter() > deadline:
                yield Report(ended=False, prints=prints)
                return
        yield Report(ended=True, prints=prints)


def look(
    workload: Workload, *, counts: Collection[int], claimed: int | None, seconds_per_sample: float, seed: int
) -> Deliveries:
    """Return what the workers deliver, for each number of workers from 2 on that there is time for.

    Args:
        workload: With an iterable data set.
        counts: Numbers of workers.
        claimed: What the data set says its length is; None where it says nothing.
        seconds_per_sample: Of one sample, in one process.
        seed: What all workers are seeded with.

    Raises:
        Exception: Whatever the data set raises in a worker.
    """
    began = time.perf_counter()
    least = min(LONGEST_SECONDS, FEWEST_SAMPLES * seconds_per_sample)
    lone = _reports(workload, 1, max(least, LONE_SECONDS), seed)[0]
    judge = _Judge(workload, lone, max(least, PASS_SECONDS), seed)
    found = []
    for count in sorted({count for count in counts if count > 1}):
        if time.perf_counter() - began > ALL_SECONDS:
            break
        try:
            found.append(judge.delivery(count))
        except Exception:
            if not found:
                raise
            break  # so many workers cannot be had here, which is their trial's to say
    return Deliveries(tuple(found), _length(lone, claimed), judge.alike)


def _reports(workload: Workload, count: int, seconds: float, seed: int | None) -> list[Report]:
    start = WorkerStart(workload.worker_init_fn, os.getpid(), notes=page_cache.place(), stands=witness.place())
    loader = DataLoader(
        _Reporter(workload, seconds, seed),
        batch_size=None,
        num_workers=count,
        worker_init_fn=start,
        collate_fn=_as_it_is,
        multiprocessing_context="fork",
        generator=torch.Generator().manual_seed(seed or 0),
    )
    return list(loader)


def _as_it_is(report: Any) -> Any:
    return report


def _length(lone: Report, claimed: int | None) -> Length | None:
    seen = len(lone.prints)
    lies = claimed is not None and (seen != claimed if lone.ended else seen > claimed)
    return Length(claimed=claimed, seen=seen, ended=lone.ended) if lies and claimed is not None else None


class _Judge:
    """Tells duplicates in the reports of several workers.

    Args:
        workload: What they load from.
        lone: Of one worker alone.
        seconds: Longest pass.
        seed: What all are seeded with.
    """

    def __init__(self, workload: Workload, lone: Report, seconds: float, seed: int) -> None:
        self._workload, self._lone, self._seconds, self._seed = workload, lone, seconds, seed
        self._real: bool | None = None
        self._natural: float | None = None
        self.alike = False

    def delivery(self, count: int) -> Delivery:
        """Return what ``count`` workers deliver."""
        reports = _reports(self._workload, count, self._seconds, self._seed)
        share, compared = _unique_share(reports, self._lone), _comparable(reports)
        if share is not None and share < TELLING and not self._is_real(count, share):
            by_count = _share_by_count(reports, self._lone)
            if by_count is None and share * count < IDENTICAL:
                self.alike = True
            share = by_count if by_count is not None or self.alike else self._natural
        return Delivery(
            num_workers=count,
            samples=sum(map(len, compared)),
            unique_share=share,
            idle_workers=sum(report.ended and not report.prints for report in reports),
        )

    def _is_real(self, count: int, share: float) -> bool:
        """Return whether workers with seeds of their own repeat samples too; found out once."""
        if self._real is None:
            reports = _reports(self._workload, count, self._seconds, None)
            self._natural, compared = _unique_share(reports, self._lone), _comparable(reports)
            overlap = self._natural is not None and 1 - self._natural >= (1 - share) / 2
            self._real = overlap or _in_step(compared) or _shuffled_alike(compared)
        return self._real


def _comparable(reports: Sequence[Report]) -> list[list[Fingerprint]]:
    """Return as much of each report as all workers that did not end came to; whole reports where all ended."""
    longest = min((len(report.prints) for report in reports if not report.ended), default=None)
    return [report.prints[:longest] for report in reports]


def _unique_share(reports: Sequence[Report], lone: Report) -> float | None:
    """Return distinct samples over delivered ones; by number alone where samples cannot be told apart."""
    compared = _comparable(reports)
    delivered = sum(map(len, compared))
    distinct = len(set(lone.prints)) / len(lone.prints) if lone.prints else 0.0
    if not delivered or distinct < DISTINCT:
        return _share_by_count(reports, lone)
    return min(1.0, len(set().union(*compared)) / delivered / distinct)


def _share_by_count(reports: Sequence[Report], lone: Report) -> float | None:
    """Return the samples of one worker alone over those of all; None where either did not end."""
    delivered = sum(len(report.prints) for report in reports)
    if not delivered or not lone.ended or not all(report.ended for report in reports):
        return None
    return min(1.0, len(lone.prints) / delivered)


def _in_step(compared: Sequence[Sequence[Fingerprint]]) -> bool:
    """Return whether some part of the samples, such as their labels, is the same in all workers, and not by chance.

    Augmentation changes a picture and leaves its label.
    """
    length = min(map(len, compared), default=0)
    for columns in zip(*(list(zip_longest(*prints[:length])) for prints in compared), strict=False):
        alike = sum((seen / length) ** 2 for seen in Counter(columns[0]).values())
        if alike**length < CHANCE and all(column == columns[0] for column in columns):
            return True
    return False


def _shuffled_alike(compared: Sequence[Sequence[Fingerprint]]) -> bool:
    """Return whether workers share samples and repeat none of their own, as the beginnings of several orders do.

    Draws at random from all samples repeat a worker's own as well; parts of a divided data set share none.
    """
    own = [set(prints) for prints in compared]
    delivered = sum(map(len, compared))
    return sum(map(len, own)) == delivered and delivered - len(set().union(*own)) >= FEWEST_SHARED
