"""How torch's loader asks a map-style data set for the samples of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def several(dataset: Any) -> Callable[[list[Any]], Any] | None:
    """Return what gives the samples of a list of indices by one call, where the data set has it.

    It may give samples, an iterator of them, or a whole batch in columns: nobody but the collate function knows.
    """
    return getattr(dataset, "__getitems__", None) or None


def of_one(dataset: Any, index: Any, *, in_lists: bool = True) -> Any:
    """Return what a data set gives for one index, with an iterator gone through.

    Args:
        dataset: Map-style.
        index: Of the sample.
        in_lists: Whether the loader asks for lists of indices; else each is a batch, and is asked for by itself.

    Raises:
        Exception: Whatever the data set raises.
    """
    at_once = several(dataset) if in_lists else None
    given = dataset[index] if at_once is None else at_once([index])
    return list(given) if isinstance(given, Iterator) else given


def together(dataset: Any, indices: list[Any]) -> Any:
    """Return what the collate function is given for a list of indices: samples, or a whole batch in columns.

    Raises:
        Exception: Whatever the data set raises.
    """
    at_once = several(dataset)
    return at_once(indices) if at_once is not None else [dataset[index] for index in indices]
