"""SearchSpace: the axes, the range grammar, the grid."""

from __future__ import annotations

from typing import Any

import pytest

from loadtune.describe.config import LoaderConfig
from loadtune.describe.space import SearchSpace, auto_workers, parse_integers
from loadtune.errors import UsageError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("64", (64,)),
        ("32,64,96", (32, 64, 96)),
        ("96, 32 ,32", (32, 96)),
        ("0..3", (0, 1, 2, 3)),
        ("0..16:+4", (0, 4, 8, 12, 16)),
        ("0..10:+4", (0, 4, 8)),
        ("16..1024:x2", (16, 32, 64, 128, 256, 512, 1024)),
        ("10..30:x1.5", (10, 15, 22)),
        ("1,8..16:+8", (1, 8, 16)),
        ("5..5", (5,)),
    ],
)
def test_ranges_are_read(text: str, values: tuple[int, ...]) -> None:
    """Lists, arithmetic and geometric ranges give ascending values without repeats."""
    assert parse_integers(text, name="batch-size", least=0) == values


@pytest.mark.parametrize(
    "text",
    [
        "64..32",
        "",
        "a",
        "1.5",
        "0..8:x2",
        "8..64:x1",
        "0..8:+0",
        "0..8:+1.5",
        "1..2..3",
        "8..",
        "1..1000000",
        "0",
        "8..64:x1.0001",
        "1,,2",
    ],
)
def test_what_is_no_range_is_refused_by_name(text: str) -> None:
    """Each text that gives no sensible axis is refused in one sentence with the option and the value."""
    with pytest.raises(UsageError, match="--batch-size") as refused:
        SearchSpace.parse(batch_size=text)
    assert "\n" not in str(refused.value)


def test_a_backwards_range_is_turned_round_in_the_message() -> None:
    """64..32 is answered with what was probably meant."""
    with pytest.raises(UsageError, match=r"write 32\.\.64"):
        SearchSpace.parse(batch_size="64..32")


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ({"num_workers": "-1"}, "--num-workers -1"),
        ({"num_workers": "0", "prefetch_factor": "2"}, "--prefetch-factor"),
        ({"pin_memory": "yes"}, "--pin-memory 'yes'"),
        ({"drop_last": "auto"}, "--drop-last 'auto'"),
        ({"multiprocessing_context": "forks"}, "did you mean 'fork'"),
        ({"batch_sizes": "3"}, "did you mean 'batch_size'"),
        ({"batch_size": [1.5]}, "--batch-size 1.5"),
        ({"batch_size": [True]}, "--batch-size True"),
        ({"batch_size": []}, "--batch-size is empty"),
        ({"drop_last": [1]}, "--drop-last"),
        ({"num_workers": "auto,4"}, "--num-workers 'auto'"),
        ({"multiprocessing_context": 3}, "--multiprocessing-context"),
        ({"batch_size": 2.5}, "--batch-size 2.5"),
        ({"batch_size": [2**24 + 1]}, "it must be at most 16,777,216"),
        ({"batch_size": "32..9999999999999999999:x2"}, "at most 18 digits"),
        ({"batch_size": " "}, "--batch-size is empty"),
        ({"num_workers": 0, "persistent_workers": True}, "--persistent-workers needs workers"),
        ({"num_workers": 0, "in_order": False}, "--in-order off needs workers"),
        ({"num_workers": 0, "multiprocessing_context": "spawn"}, "--multiprocessing-context needs workers"),
        ({"multiprocessing_context": []}, "--multiprocessing-context is empty"),
    ],
)
def test_bad_axes_are_refused(axes: dict[str, Any], names: str) -> None:
    """A value that an axis cannot take is refused with the axis and the value."""
    with pytest.raises(UsageError) as refused:
        SearchSpace.parse(**axes)
    assert names in str(refused.value)


def test_python_values_and_text_mean_the_same() -> None:
    """The API's ranges and lists give the axes that the command line's text gives."""
    text = SearchSpace.parse(batch_size="32,64", num_workers="0..4", pin_memory="both", multiprocessing_context="fork")
    python = SearchSpace.parse(
        batch_size=[64, 32], num_workers=range(5), pin_memory=[True, False], multiprocessing_context=["fork"]
    )
    assert text == python


def test_none_is_the_default_of_an_axis() -> None:
    """An axis that is not given keeps its default."""
    assert SearchSpace.parse(batch_size=None, num_workers=None) == SearchSpace()


@pytest.mark.parametrize(
    ("cores", "workers"), [(0.5, (0, 1)), (1, (0, 1)), (2, (0, 1, 2)), (6, (0, 1, 2, 4, 6)), (8, (0, 1, 2, 4, 8))]
)
def test_auto_workers_are_seeded_by_the_usable_cores(cores: float, workers: tuple[int, ...]) -> None:
    """0 and 1 are always tried, then powers of two, then the cores themselves."""
    assert auto_workers(cores) == workers


def test_pinning_is_dropped_without_an_accelerator() -> None:
    """Without an accelerator even pinning that was asked for is not swept; with one, auto is both."""
    space = SearchSpace.parse(pin_memory="both", num_workers="0")
    assert space.resolve(usable_cpus=2, has_accelerator=False).pin_memory == (False,)
    assert SearchSpace().resolve(usable_cpus=2, has_accelerator=True).pin_memory == (False, True)
    assert SearchSpace.parse(pin_memory="on").resolve(usable_cpus=2, has_accelerator=True).pin_memory == (True,)


def test_the_grid_has_each_point_once() -> None:
    """Axes that mean nothing without workers do not multiply the points without workers."""
    space = SearchSpace.parse(
        batch_size="8,16", num_workers="0,2", pin_memory="off", drop_last="off", prefetch_factor="2,4",
        persistent_workers="both", in_order="both",
    )  # fmt: skip
    configs = space.configs()
    assert len(configs) == len(set(configs)) == 2 * (1 + 2 * 2 * 2)
    assert configs[0] == LoaderConfig(batch_size=8)


def test_an_unresolved_space_has_no_grid() -> None:
    """A space with an axis on auto is not enumerated by guessing."""
    with pytest.raises(UsageError, match="auto"):
        SearchSpace().configs()
