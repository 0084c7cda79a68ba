"""What is in a batch, whatever its structure: samples and bytes, counted from the batch that really arrived."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

_DEEPEST = 6


def leaves(batch: Any, depth: int = 0) -> Iterator[Any]:
    """Yield every tensor, array, string and number in a batch of nested containers, data classes and plain objects."""
    if isinstance(batch, (torch.Tensor, np.ndarray, str, bytes, int, float)) or batch is None or depth > _DEEPEST:
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from leaves(value, depth + 1)
    elif isinstance(batch, (list, tuple, set)):
        for value in batch:
            yield from leaves(value, depth + 1)
    else:
        for value in _fields(batch):
            yield from leaves(value, depth + 1)


def count_bytes(batch: Any) -> int:
    """Return the bytes of all tensors, arrays and strings in a batch."""
    total = 0
    for leaf in leaves(batch):
        if isinstance(leaf, torch.Tensor):
            total += leaf.numel() * leaf.element_size()
        elif isinstance(leaf, np.ndarray):
            total += int(leaf.nbytes)
        elif isinstance(leaf, (str, bytes)):
            total += len(leaf)
    return total


def shared_tensors(batch: Any) -> tuple[int, int]:
    """Return how many memories of tensors a batch has, and their bytes: what a worker hands over by shared memory.

    Views of one memory are sent as one, and whole; tensors of a device and empty ones go another way.
    """
    memories = [leaf.untyped_storage() for leaf in leaves(batch) if _is_shared(leaf)]
    sizes = {memory.data_ptr(): memory.nbytes() for memory in memories}
    return len(sizes), sum(sizes.values())


def _is_shared(leaf: Any) -> bool:
    plain = isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided and leaf.device.type == "cpu"
    return plain and leaf.untyped_storage().nbytes() > 0


def count_samples(batch: Any, expected: int | None) -> int:
    """Return how many samples a batch holds.

    Args:
        batch: What the loader handed out.
        expected: How many indices the batch was asked to hold; None where the data set forms its own batches.

    A length equal to ``expected`` is the batch's, whichever part has it; a collate function that left samples out shows
    in a shorter length that most parts share. Without ``expected``, an item with a bare number in it is one sample, and
    otherwise the leading dimension that its tensors share is the batch.
    """
    if expected is not None:
        return _count_against(batch, expected)
    sizes: Counter[int] = Counter()
    for leaf in leaves(batch):
        size = _leading(leaf)
        if size is None and not isinstance(leaf, (str, bytes, type(None))):
            return 1
        if size is not None:
            sizes[size] += 1
    if not sizes:
        return 1
    size, votes = sizes.most_common(1)[0]
    return size if votes == sizes.total() else 1


def _count_against(batch: Any, expected: int) -> int:
    """Return ``expected`` where any part of the batch has that length, else the shorter length most parts share."""
    if any(size == expected for size in _lengths(batch)):
        return expected
    if isinstance(batch, list) and batch and not isinstance(batch[0], (torch.Tensor, np.ndarray)):
        return len(batch)
    sizes = Counter(size for size in map(_leading, leaves(batch)) if size is not None and size < expected)
    return max(sizes, key=lambda size: (sizes[size], size)) if sizes else expected


def _lengths(batch: Any, depth: int = 0) -> Iterator[int]:
    """Yield every length that may be the batch's: leading dimensions, then the lengths of lists and tuples."""
    size = _leading(batch)
    if size is not None:
        yield size
    elif depth > _DEEPEST or isinstance(batch, (str, bytes, torch.Tensor, np.ndarray)):
        return
    elif isinstance(batch, (list, tuple)):
        yield len(batch)
        for value in batch:
            yield from _lengths(value, depth + 1)
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _lengths(value, depth + 1)
    else:
        for value in _fields(batch):
            yield from _lengths(value, depth + 1)


def _fields(record: Any) -> list[Any]:
    """Return the values in a data class or a plain object, none for anything else."""
    if dataclasses.is_dataclass(record):
        return [getattr(record, field.name) for field in dataclasses.fields(record)]
    return list(vars(record).values()) if hasattr(record, "__dict__") else []


def _leading(leaf: Any) -> int | None:
    if isinstance(leaf, (torch.Tensor, np.ndarray)) and leaf.ndim:
        return int(leaf.shape[0])
    return None
