"""How torch's loader asks a map-style data set for the samples of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def several(dataset: Any) -> Callable[[list[Any]], Any] | None:
    """Return what gives the samples of a list of indices by one call, where the data set has it.

    It may give samples, an iterator of them, or a whole batch in columns: nobody but the collate function knows.
    """
    return getattr(dataset, "__getitems__", None) or None
