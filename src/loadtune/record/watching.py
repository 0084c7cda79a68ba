"""What was seen of a training loop that was watched: sums and blocks of batches, units in the names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Batches in a row, the first of an epoch never among them."""

    wait_seconds: float
    """Time in ``next()``, until each batch was there."""
    step_seconds: float
    """Time between handing out each batch and being asked for the next one."""
    samples: int
    batches: int

    @property
    def seconds(self) -> float:
        """Waits and steps."""
        return self.wait_seconds + self.step_seconds

    def __add__(self, other: Block) -> Block:
        return Block(
            wait_seconds=self.wait_seconds + other.wait_seconds,
            step_seconds=self.step_seconds + other.step_seconds,
            samples=self.samples + other.samples,
            batches=self.batches + other.batches,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSeen:
    """What a loader says of itself; None where it does not say."""

    batch_size: int | None = None
    num_workers: int | None = None
    persistent_workers: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMeasurement:
    """The loops over one loader so far."""

    loader: LoaderSeen
    epochs: int
    """Loops that were begun."""
    batches: int
    """Batches that were handed out."""
    samples: int
    seconds: float
    """Time in the loops, from the start of each to the last batch that it asked for."""
    first_batch_seconds: float
    """From the start of a loop to its first batch, summed over the loops."""
    steady: Block
    """All batches but the first of each loop; one whose step was left before its end is not among them."""
    blocks: tuple[Block, ...]
    """``steady`` in equal blocks of whole rounds of the workers; a rest too short for one is left out."""
    batch_wait_p50_seconds: float | None
    """Median wait for a batch that is not the first of its loop, to 2 %; None where there was none."""
    batch_wait_p95_seconds: float | None
