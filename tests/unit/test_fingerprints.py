"""Fingerprints of samples: equal for equal contents, different for any other, whatever a sample is made of."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loadtune.measure.fingerprints import MOST_BYTES, fingerprint, seed_all


@dataclass
class Pair:
    one: Any
    two: Any


class Opaque:
    __slots__ = ()


MAKERS: dict[str, Callable[[int], Any]] = {
    "tensor": lambda n: torch.tensor([1.0, n]),
    "half": lambda n: torch.tensor([1.0, n], dtype=torch.bfloat16),
    "transposed": lambda n: torch.arange(6).reshape(2, 3).t() + n,
    "conjugated": lambda n: torch.tensor([1 + n * 1j]).conj(),
    "sparse": lambda n: torch.tensor([[0.0, n + 1]]).to_sparse(),
    "scalar tensor": torch.tensor,
    "array": lambda n: np.array([1, n]),
    "array of objects": lambda n: np.array([{"a": n}, None], dtype=object),
    "strided array": lambda n: np.arange(10)[::2] + n,
    "numpy number": np.float32,
    "date": lambda n: np.datetime64("2025-01-01") + n,
    "text": lambda n: f"label {n}",
    "odd text": lambda n: f"\ud800{n}",
    "bytes": lambda n: b"%d" % n,
    "number": lambda n: n,
    "picture": lambda n: Image.new("RGB", (4, 4), (n, 0, 0)),
    "tuple": lambda n: (torch.zeros(2), n),
    "dict": lambda n: {"image": torch.zeros(2), "label": n},
    "set": lambda n: {"a", "b", n},
    "data class": lambda n: Pair(torch.zeros(2), n),
    "object": lambda n: SimpleNamespace(value=n),
}


@pytest.mark.parametrize("name", MAKERS)
def test_equal_contents_and_only_those_are_equal(name: str) -> None:
    """Two samples made alike have one fingerprint, and a change of one number in them shows."""
    make = MAKERS[name]
    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))


def test_kinds_types_and_shapes_are_told_apart() -> None:
    """A number is not its text, an int is not a float, and four values in a row are not two by two."""
    samples = [1, "1", 1.0, True, b"1", torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), None]
    assert len({fingerprint(sample) for sample in samples}) == len(samples)


def test_each_part_has_a_number_of_its_own() -> None:
    """A label can be compared without its picture: of (tensor, label) only one number of two changes."""
    first, second = fingerprint((torch.zeros(2), 7)), fingerprint((torch.ones(2), 7))
    assert len(first) == len(second) == 2
    assert first[0] != second[0]
    assert first[1] == second[1]


def test_what_tells_nothing_is_equal() -> None:
    """An object that shows neither fields nor text has the fingerprint of its type: no address."""
    assert fingerprint(Opaque()) == fingerprint(Opaque())


@pytest.mark.parametrize("place", [0, 3 * MOST_BYTES - 1])
def test_large_memories_are_looked_at_from_end_to_end(place: int) -> None:
    """Of 12 MiB pieces are taken, the first and the last byte among them."""
    one = torch.zeros(3 * MOST_BYTES, dtype=torch.uint8)
    two = one.clone()
    two[place] = 1
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(one) == fingerprint(one.clone())


def test_seeding_makes_all_random_numbers_the_same() -> None:
    """After one seed torch, NumPy and Python draw what they drew after it before."""

    def drawn() -> tuple[Any, ...]:
        seed_all(5)
        return torch.rand(2).tolist(), np.random.random(2).tolist(), random.random()  # noqa: NPY002, S311

    assert drawn() == drawn()
