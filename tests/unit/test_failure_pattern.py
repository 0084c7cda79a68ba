"""What configurations that failed have in common: the sentence, and where there is none."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from loadtune.describe.config import LoaderConfig
from loadtune.judge.failure_pattern import failure_pattern

Fails = Callable[[LoaderConfig], bool]
METHOD = "multiprocessing_context="
BATCHES, WORKERS = (32, 64, 128), (0, 1, 2, 3, 4)


def a_grid(
    batches: Sequence[int | None] = BATCHES, workers: Sequence[int] = WORKERS, **settings: Any
) -> list[LoaderConfig]:
    pairs = itertools.product(batches, workers)
    grid = (LoaderConfig.normalised(batch_size=batch, num_workers=count, **settings) for batch, count in pairs)
    return list(dict.fromkeys(grid))


def pattern(configs: Sequence[LoaderConfig], fails: Fails) -> str | None:
    failed = [config for config in configs if fails(config)]
    return failure_pattern(failed, [config for config in configs if not fails(config)])


@pytest.mark.parametrize(
    ("fails", "sentence"),
    [
        (lambda c: c.num_workers >= 3, "all have 3 or 4 workers, and the 9 that gave a number have 0 to 2"),
        (lambda c: c.num_workers == 4, "all have 4 workers, and the 12 that gave a number have 0 to 3"),
        (lambda c: c.num_workers == 1, "all have 1 worker, and the 12 that gave a number have 0 or 2 to 4"),
        (lambda c: c.num_workers >= 1, "all have workers, and the 3 that gave a number have none"),
        (lambda c: c.num_workers == 0, "all have 0 workers, and the 12 that gave a number have 1 to 4"),
        (lambda c: c.batch_size >= 64, "all have batch 64 or 128, and the 5 that gave a number have 32"),
        (lambda c: c.batch_size == 128, "all have batch 128, and the 10 that gave a number have 32 or 64"),
    ],
)
def test_one_setting_that_sets_the_failed_apart_is_named(fails: Fails, sentence: str) -> None:
    """A range of workers or batch sizes that all failures have, and nothing that worked, is told with both counts."""
    assert pattern(a_grid(), fails) == sentence


@pytest.mark.parametrize(
    ("name", "bad", "good", "sentence"),
    [
        ("pin_memory", True, False, "all have pin_memory=True, and the 9 that gave a number have pin_memory=False"),
        ("prefetch_factor", 8, 2, "all have prefetch 8, and the 6 with workers that gave a number have 2"),
        (
            "persistent_workers", True, False,
            "all have persistent_workers=True, and the 6 with workers that gave a number have persistent_workers=False",
        ),
        (
            "in_order", False, True,
            "all have in_order=False, and the 6 with workers that gave a number have in_order=True",
        ),
        (
            "multiprocessing_context", "spawn", "fork",
            f"all have {METHOD}'spawn', and the 6 with workers that gave a number have {METHOD}'fork'",
        ),
    ],
)  # fmt: skip
def test_any_other_knob_is_named_too(name: str, bad: object, good: object, sentence: str) -> None:
    """What means nothing without workers is held against rows with workers alone, so that it is the knob that tells."""
    grid = [*a_grid(workers=(0, 1, 2), **{name: good}), *a_grid(workers=(0, 1, 2), **{name: bad})]
    assert pattern(grid, lambda config: getattr(config, name) == bad) == sentence


def test_a_range_that_few_which_worked_share_is_told_as_no_more_than_that() -> None:
    """Where one with 4 workers went well too, it is said beside how many worked."""
    failing = {(32, 3), (64, 3), (64, 4), (128, 3), (128, 4)}
    told = pattern(a_grid(), lambda config: (config.batch_size, config.num_workers) in failing)
    assert told == "all have 3 or 4 workers, as has 1 of the 10 that gave a number"


def test_of_two_settings_that_fail_together_the_more_telling_one_is_named() -> None:
    """Where large batches fail with many workers, neither separates: the one that fewer which worked share is told."""
    told = pattern(a_grid(), lambda config: config.batch_size != 32 and config.num_workers >= 2)
    assert told == "all have 2 to 4 workers, as have 3 of the 9 that gave a number"


def test_a_fault_in_some_rows_with_workers_and_in_none_without_is_told() -> None:
    """Where rows with any number of workers went well and others failed, the failures still all have workers."""
    well = {(32, 1), (64, 4)}
    fails: Fails = lambda config: config.num_workers > 0 and (config.batch_size, config.num_workers) not in well  # noqa: E731
    assert pattern(a_grid(), fails) == "all have workers, as have 2 of the 5 that gave a number"


def test_workers_against_none_is_told_of_few_rows() -> None:
    """Four failures with workers beside a baseline without them are told; two beside it are not."""
    base = a_grid((64,), (0,))
    told = failure_pattern(a_grid((32, 64), (1, 2)), base)
    assert told == "all have workers, and the one that gave a number has none"
    assert failure_pattern(a_grid((64,), (1, 2)), base) is None


def test_two_failures_are_told_only_beside_many_that_worked() -> None:
    """Two of two worker counts prove little: beside three that worked nothing is said, beside ten it is."""
    failed = a_grid((64,), (3, 4))
    assert failure_pattern(failed, a_grid((64,), (0, 1, 2))) is None
    told = failure_pattern(failed, a_grid((32, 64, 128, 256, 512), (0, 1)))
    assert told == "both have 3 or 4 workers, and the 10 that gave a number have 0 or 1"


def test_settings_that_cannot_be_told_apart_are_both_named() -> None:
    """Where the failures have both more workers and larger batches than all that worked, neither is blamed alone."""
    assert failure_pattern(a_grid((256, 512), (3, 4)), a_grid((32, 64), (0, 1))) == (
        "all have 3 or 4 workers, and the 4 that gave a number have 0 or 1; "
        "all have batch 256 or 512, and the 4 that gave a number have 32 or 64"
    )


def test_pairs_that_share_their_trials_prove_no_more_than_one() -> None:
    """A pair that differs in drop_last alone is one failure, without a pattern; the counts are those of the rows."""
    pairs = [replace(config, drop_last=drop) for config in a_grid() for drop in (False, True)]
    assert pattern(pairs, lambda config: (config.batch_size, config.num_workers) == (128, 4)) is None
    told = pattern(pairs, lambda config: config.num_workers == 4)
    assert told == "all have 4 workers, and the 24 that gave a number have 0 to 3"


@pytest.mark.parametrize(
    "fails",
    [
        lambda c: (c.batch_size, c.num_workers) in {(32, 0), (128, 4), (64, 2)},
        lambda c: c.num_workers in {0, 2, 4},
        lambda _: True,
        lambda _: False,
    ],
    ids=["here and there", "every other", "all", "none"],
)
def test_where_no_single_setting_separates_nothing_is_said(fails: Fails) -> None:
    """Failures here and there, on both sides of what worked, or of all have no pattern."""
    assert pattern(a_grid(), fails) is None


def test_batches_of_the_data_set_have_no_size_to_blame() -> None:
    """Where the data set forms the batches, the workers alone are told."""
    told = pattern(a_grid((None,), (0, 1, 2, 3, 4, 5, 6, 7)), lambda config: config.num_workers >= 5)
    assert told == "all have 5 to 7 workers, and the 5 that gave a number have 0 to 4"


@pytest.mark.parametrize("failures", [3, 4, 5])
def test_failures_that_fall_anywhere_seldom_show_a_pattern(failures: int) -> None:
    """Of 400 sets of failures drawn at random from 108 configurations at most 15 % are given a pattern."""
    grid = [c for pin in (False, True) for c in a_grid((32, 64, 128, 256, 512, 1024), range(9), pin_memory=pin)]
    source = random.Random(0)  # noqa: S311 - a test
    told = sum(pattern(grid, set(source.sample(grid, failures)).__contains__) is not None for _ in range(400))
    assert 0 < told <= 60
