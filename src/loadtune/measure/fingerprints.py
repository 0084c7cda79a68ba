"""Fingerprints of samples: equal for equal contents, whatever a sample is made of."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

MOST_BYTES = 1 << 22
"""Of a larger memory pieces are taken, spread over it."""
PIECES = 64
_DEEPEST = 6
_SEEDS = 2**32

Fingerprint = tuple[int, ...]
"""One number for each part of a sample, in the order of its parts."""


def fingerprint(sample: Any) -> Fingerprint:
    """Return a fingerprint of each tensor, array, text and number in a sample."""
    return tuple(_digest(part) for part in _parts(sample, 0))


def seed_all(seed: int) -> None:
    """Set the random state of torch's CPU generator, NumPy and Python in this process."""
    random.seed(seed)
    np.random.seed(seed % _SEEDS)  # noqa: NPY002 - the state that data sets use
    torch.default_generator.manual_seed(seed)  # not torch's own function, which would wake devices too


def _parts(value: Any, depth: int) -> Iterator[bytes | memoryview]:
    """Yield the bytes of every part, each kind of value with a mark of its own before it."""
    plain = _plain(value)
    if plain is not None:
        yield from plain
    elif depth > _DEEPEST:
        yield type(value).__qualname__.encode()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield repr(key).encode()
            yield from _parts(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item, depth + 1)
    elif isinstance(value, (set, frozenset)):
        yield repr(sorted(map(repr, value))).encode()
    else:
        yield from _of_object(value, depth)


def _plain(value: Any) -> tuple[bytes | memoryview, ...] | None:
    """Return the bytes of a value that has no parts, or None."""
    if isinstance(value, torch.Tensor):
        return (_of_tensor(value),)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return (_of_array(value),)
    if isinstance(value, (bytes, bytearray)):
        return (b"b" + value,)
    if value is None or isinstance(value, (str, int, float, complex, np.generic)):
        return (f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass"),)
    return None


def _of_tensor(tensor: torch.Tensor) -> bytes:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return repr(tensor).encode()
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return f"{tensor.dtype} {tuple(tensor.shape)}".encode() + _condensed(flat.view(torch.uint8).numpy())


def _of_array(array: np.ndarray[Any, Any]) -> bytes:
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return f"{array.dtype} {array.shape}".encode() + _condensed(flat)


def _condensed(flat: np.ndarray[Any, Any]) -> bytes:
    """Return all bytes, or those of pieces that begin with the first and end with the last."""
    if flat.size <= MOST_BYTES:
        return flat.tobytes()
    length = MOST_BYTES // PIECES
    starts = np.linspace(0, flat.size - length, PIECES).astype(int)
    return b"".join(flat[start : start + length].tobytes() for start in starts)


def _of_object(value: Any, depth: int) -> Iterator[bytes | memoryview]:
    """Yield what an object holds: pixels, fields, or what its own text says."""
    if isinstance(value, np.ndarray):
        yield from _parts(value.tolist(), depth + 1)
    elif hasattr(value, "__array_interface__"):
        yield from _parts(np.asarray(value), depth + 1)  # a picture of Pillow's
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name), depth + 1)
    elif "__repr__" in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}:
        yield repr(value).encode("utf-8", "surrogatepass")
    else:
        yield from _parts(getattr(value, "__dict__", None) or type(value).__qualname__, depth + 1)


def _digest(part: bytes | memoryview) -> int:
    return int.from_bytes(blake2b(part, digest_size=8).digest(), "little")
