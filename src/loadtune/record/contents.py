"""What was seen of the samples themselves, outside of all trials: duplicates, a wrong length, wrong data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the workers of one loader delivered of an iterable data set, in a pass that was bounded in time."""

    num_workers: int
    samples: int
    """Samples whose fingerprints were compared, of all workers together."""
    unique_share: float | None
    """Share of them that no other worker delivered too, each sample counted once; None where it cannot be told."""
    idle_workers: int = 0
    """Workers that ended without a sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """An iterable data set whose ``__len__`` is not what one worker delivers."""

    claimed: int
    seen: int
    """Samples that came."""
    ended: bool
    """Whether they came to an end; otherwise there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksums:
    """Samples of a map-style data set, loaded in one process and by workers side by side, under equal seeds."""

    num_workers: int
    samples: int
    """Compared, spread over the data set."""
    differing: int = 0
    """Whose contents in a worker were others, though one process loads the same each time."""
    first_index: str = ""
    """Index of the first of them."""
    cured: bool | None = None
    """Whether they were right as soon as each worker had its own file offsets; None where no shared one moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFile:
    """A regular file that was opened while the data set was built, and that forked workers inherit open."""

    path: str
    moved: bool = False
    """Whether its offset, which all of them share, moved while workers loaded samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the check of the contents found."""

    deliveries: tuple[Delivery, ...] = ()
    """One for each number of workers that was tried, in ascending order; of iterable data sets only."""
    alike_under_equal_seeds: bool = False
    """Whether the workers of an iterable deliver the same under equal seeds and not otherwise, and no pass ended."""
    length: Length | None = None
    checksums: Checksums | None = None
    shared_files: tuple[SharedFile, ...] = ()
    """Those whose offset moved first; of very many only some."""
    shared_file_count: int = 0
    skipped: str | None = None
    """Why contents were not compared, where they were not."""
    seconds: float = 0.0
    """What the check took."""
