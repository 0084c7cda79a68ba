"""Samples and bytes counted from batches of every structure that users have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from loadtune.measure.batches import count_bytes, count_samples


class Pair(NamedTuple):
    image: torch.Tensor
    label: torch.Tensor


@dataclass
class Boxed:
    pixels: torch.Tensor
    names: list[str]


class Plain:
    def __init__(self, count: int) -> None:
        self.values = torch.zeros(count, 3)


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(8, 3, 4, 4), torch.zeros(8)),
        {"image": {"left": torch.zeros(8, 2)}, "id": torch.zeros(8)},
        Pair(torch.zeros(8, 2), torch.zeros(8)),
        Boxed(torch.zeros(8, 2), ["name"] * 8),
        Plain(8),
        [(torch.zeros(3, 4, 4), 1)] * 8,
        [torch.zeros(length) for length in range(1, 9)],
        (torch.zeros(50, 8), torch.zeros(8)),
        (torch.zeros(50, 8, 3), [1] * 8),
        ["a sentence"] * 8,
        np.zeros((8, 5)),
    ],
    ids=["pair", "nested", "named", "dataclass", "object", "list", "ragged", "time first", "mixed", "text", "array"],
)
def test_a_batch_of_eight_counts_as_eight_whatever_its_structure(batch: Any) -> None:
    """Nested, named, ragged, time-first and text batches that were asked to hold 8 samples hold 8."""
    assert count_samples(batch, 8) == 8


def test_samples_that_collate_left_out_are_not_counted() -> None:
    """Of 8 samples asked for, a collate function that drops two unreadable ones hands out 6."""
    assert count_samples((torch.zeros(6, 3, 4, 4), torch.zeros(6)), 8) == 6
    assert count_samples([{"image": torch.zeros(3, 4, 4)}] * 6, 8) == 6


def test_a_batch_formed_by_the_data_set_is_counted_by_what_its_tensors_share() -> None:
    """Without a batch size, 13 token rows with 13 labels are 13 samples."""
    assert count_samples({"tokens": torch.zeros(13, 80), "labels": torch.zeros(13)}, None) == 13


def test_a_single_sample_is_not_taken_for_a_batch() -> None:
    """Without a batch size, an image of 3 channels with a bare label is one sample, not three."""
    assert count_samples((torch.zeros(3, 32, 32), 7), None) == 1


def test_bytes_are_those_of_all_tensors_and_arrays() -> None:
    """A float32 batch of 64 CIFAR images is 64 · 12,288 bytes, and its int64 labels 512 more."""
    assert count_bytes((torch.zeros(64, 3, 32, 32), torch.zeros(64, dtype=torch.int64))) == 64 * 12_288 + 512
    assert count_bytes({"a": np.zeros(10, dtype=np.uint8), "b": ["xy", b"z"]}) == 13
