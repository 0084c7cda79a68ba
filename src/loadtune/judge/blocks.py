"""Least squares for ``log rate = configuration + block + error``, complete blocks or not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFit:
    """The sums of squares of a two-way layout, and what each block shares."""

    blocks: dict[int, float] = field(default_factory=dict)
    """Log rate of a block over the others', by its number; their mean is zero."""
    error_squares: float = 0.0
    error_df: int = 0
    block_squares: float = 0.0
    """Taken up by the blocks after the configurations."""
    block_df: int = 0
    block_weight: float = 1.0
    """Coefficient of the block variance in the expected mean square of blocks (Henderson's method 3)."""

    @property
    def error_variance(self) -> float:
        """Mean square of the error; 0 without freedom."""
        return self.error_squares / self.error_df if self.error_df else 0.0

    def trial_variance(self) -> tuple[float, float]:
        """Return block variance plus error variance, and its degrees of freedom by Satterthwaite."""
        total_df = self.error_df + self.block_df
        pooled = (self.error_squares + self.block_squares) / total_df if total_df else 0.0
        if not self.block_df or not self.error_df:
            return pooled, float(total_df)
        share = min(1.0, 1 / self.block_weight)
        of_blocks = share * self.block_squares / self.block_df
        of_error = (1 - share) * self.error_variance
        combined = of_blocks + of_error
        if combined <= self.error_variance:  # no more between blocks than within: one mean square tells more
            return pooled, float(total_df)
        return combined, combined**2 / (of_blocks**2 / self.block_df + of_error**2 / self.error_df)


def fit_blocks(table: Mapping[Key, Sequence[tuple[int, float]]]) -> BlockFit:
    """Return the fit of ``table``: for each configuration its (block, log rate) pairs.

    A configuration that was measured once says nothing about blocks or error, and takes no part.
    """
    import numpy as np  # noqa: PLC0415 - costs start-up where nothing was measured yet

    repeated = [pairs for pairs in table.values() if len(pairs) > 1]
    numbers = sorted({block for pairs in repeated for block, _ in pairs})
    if not repeated:
        return BlockFit()
    levels = np.concatenate([np.full(len(pairs), index) for index, pairs in enumerate(repeated)])
    places = np.array([numbers.index(block) for pairs in repeated for block, _ in pairs])
    values = np.array([value for pairs in repeated for _, value in pairs])
    centred = values - _means(np, levels, values)[levels]
    indicators = np.eye(len(numbers))[places]
    indicators = indicators - np.stack([_means(np, levels, column)[levels] for column in indicators.T], axis=1)
    effects, _, rank, _ = np.linalg.lstsq(indicators, centred, rcond=1e-9)
    total, error = float(centred @ centred), float(np.sum((centred - indicators @ effects) ** 2))
    effects = effects - effects.mean()
    block_df = int(rank)
    return BlockFit(
        blocks={block: float(effect) for block, effect in zip(numbers, effects, strict=True)},
        error_squares=error,
        error_df=len(values) - len(repeated) - block_df,
        block_squares=max(total - error, 0.0),
        block_df=block_df,
        block_weight=float(np.sum(indicators**2)) / block_df if block_df else 1.0,
    )


def block_effects(table: Mapping[Key, Sequence[tuple[int, float]]], error_share: float) -> dict[int, float]:
    """Return what the trials of each block share over those of the others, drawn towards zero as its evidence is weak.

    Blocks are taken for draws from a normal distribution (best linear unbiased prediction: Robinson, *Statistical
    Science* 6, 1991).

    Args:
        table: For each configuration its (block, log rate) pairs; one that was measured once takes no part.
        error_share: Variance between two trials of a block over that between blocks; above zero.
    """
    import numpy as np  # noqa: PLC0415 - costs start-up where nothing was measured yet

    repeated = [pairs for pairs in table.values() if len(pairs) > 1]
    numbers = sorted({block for pairs in repeated for block, _ in pairs})
    if not repeated:
        return {}
    levels = np.concatenate([np.full(len(pairs), index) for index, pairs in enumerate(repeated)])
    values = np.array([value for pairs in repeated for _, value in pairs])
    indicators = np.eye(len(numbers))[[numbers.index(block) for pairs in repeated for block, _ in pairs]]
    indicators = indicators - np.stack([_means(np, levels, column)[levels] for column in indicators.T], axis=1)
    values = values - _means(np, levels, values)[levels]
    effects = np.linalg.solve(indicators.T @ indicators + error_share * np.eye(len(numbers)), indicators.T @ values)
    return {block: float(effect) for block, effect in zip(numbers, effects, strict=True)}


def _means(np: Any, levels: Any, values: Any) -> Any:
    """Return the mean of ``values`` in each level."""
    return np.bincount(levels, weights=values) / np.bincount(levels)
