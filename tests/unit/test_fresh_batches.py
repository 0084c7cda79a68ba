"""Batches of different samples: which, in what order, and how the data set is asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

from loadtune.describe.config import LoaderConfig
from loadtune.measure.fresh_batches import fresh_batches, keeps_its_order
from loadtune.workloads.resolve import resolve_object
from loadtune.workloads.source import Source


def source_of(given: Any) -> Source:
    return resolve_object(given, "given")


class Stream(IterableDataset[Any]):
    """The numbers from 0 to 99, one after another."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(100))


class Numbers(Dataset[int]):
    """The numbers from 0 to 99."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize("dataset", [Stream(), Numbers()], ids=["stream", "map"])
def test_no_sample_comes_twice(dataset: Any) -> None:
    """Batches of 30 and 5 of 100 samples: two pairs, all of different samples, and then none."""
    take = fresh_batches(source_of(dataset), seed=3)
    batches = [take(30), take(5), take(30), take(5), take(30), take(30)]
    assert [None if one is None else len(one) for one in batches] == [30, 5, 30, 5, 30, None]
    assert len({int(number) for one in batches if one is not None for number in one}) == 100


def test_samples_come_in_a_random_order_of_the_seed() -> None:
    """Two seeds give two orders, one seed one."""
    first, again, other = (fresh_batches(source_of(Numbers()), seed=seed)(20).tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_a_loader_of_its_own_is_gone_through_once() -> None:
    """A loader of 25 numbers gives batches of 10 twice, and no third of those that are left."""

    def loaders(config: LoaderConfig) -> Any:
        size = config.batch_size or 1
        return [torch.arange(start, min(start + size, 25)) for start in range(0, 25, size)]

    source = Source(name="l", workload=None, build_loader=loaders, baseline=LoaderConfig(batch_size=64))
    take = fresh_batches(source, seed=0)
    assert [None if one is None else one.tolist()[0] for one in (take(10), take(10), take(10))] == [0, 10, None]


def test_a_loader_of_one_batch_is_made_anew() -> None:
    """What makes a batch when it is asked for is asked for each."""
    made = iter(range(9))

    def loaders(config: LoaderConfig) -> Any:
        yield torch.full((config.batch_size or 1,), next(made))

    source = Source(name="l", workload=None, build_loader=loaders, baseline=LoaderConfig(batch_size=64))
    take = fresh_batches(source, seed=0)
    assert [take(size).tolist()[0] for size in (8, 2, 8, 2)] == [0, 1, 2, 3]


def test_a_loader_of_one_batch_that_has_a_length_is_not_gone_through_again() -> None:
    """Where a length says that one batch is all, a second would be of the same samples."""
    source = Source(
        name="l", workload=None, build_loader=lambda _: [torch.arange(8)], baseline=LoaderConfig(batch_size=64)
    )
    take = fresh_batches(source, seed=0)
    assert take(8) is not None
    assert take(8) is None


def test_a_loader_that_does_not_shuffle_is_shuffled() -> None:
    """Of DataLoader(shuffle=False) the samples come in a random order, each once: its own order may be by class."""
    source = source_of(DataLoader(Numbers(), batch_size=10, shuffle=False))
    take = fresh_batches(source, seed=3)
    taken = [int(number) for number in (*take(50), *take(50))]
    assert sorted(taken) == list(range(100))
    assert taken[:50] != sorted(taken[:50])
    assert not keeps_its_order(source)


def test_a_sampler_that_draws_with_replacement_is_left_its_order() -> None:
    """What such a sampler draws first comes first: it may be without end, and is random already."""
    weights = [1.0] * 50 + [0.0] * 50
    sampler = WeightedRandomSampler(weights, 1_000, generator=torch.Generator().manual_seed(5))
    drawn = list(WeightedRandomSampler(weights, 1_000, generator=torch.Generator().manual_seed(5)))
    take = fresh_batches(source_of(DataLoader(Numbers(), batch_size=10, sampler=sampler)), seed=3)
    assert take(20).tolist() == drawn[:20]


class Columns(Numbers):
    """The numbers from 0 to 99, several at once in one piece."""

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        return {"number": torch.tensor(indices)}


def test_a_batch_in_columns_goes_to_the_collate_function_as_it_is() -> None:
    """As by torch's loader: what one call gives for all indices is collated whole, not gone through."""
    source = source_of(DataLoader(Columns(), batch_size=10, collate_fn=lambda columns: columns["number"]))
    assert len(fresh_batches(source, seed=0)(20)) == 20


@pytest.mark.parametrize(("given", "is_own"), [(Stream(), True), (Numbers(), False)], ids=["stream", "map"])
def test_who_decides_about_the_order_is_known(given: Any, *, is_own: bool) -> None:
    """A stream does itself, of a map-style data set the samples are drawn."""
    assert keeps_its_order(source_of(given)) is is_own
