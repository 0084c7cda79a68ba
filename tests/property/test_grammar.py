"""Properties of the grammar of ranges, sizes and times, and of normalised configurations."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from loadtune.describe.config import START_METHODS, LoaderConfig
from loadtune.describe.space import MAX_POINTS_ON_AN_AXIS, SearchSpace, parse_integers
from loadtune.errors import UsageError
from loadtune.units import (
    BYTES,
    SECONDS,
    format_bytes,
    format_estimate,
    format_seconds,
    parse_duration,
    parse_share,
    parse_size,
)

counts = st.integers(min_value=1, max_value=900)


class Numbers(Dataset[int]):
    """Eight numbers."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return index


@given(values=st.lists(counts, min_size=1, max_size=20))
def test_a_list_gives_its_values_in_order(values: list[int]) -> None:
    """A list of numbers gives those numbers, ascending, each once."""
    text = ",".join(map(str, values))
    assert parse_integers(text, name="batch-size", least=1) == tuple(sorted(set(values)))


@given(first=counts, steps=st.integers(0, 50), step=st.integers(1, 20))
def test_an_arithmetic_range_is_pythons_range(first: int, steps: int, step: int) -> None:
    """``a..b:+s`` is ``range(a, b + 1, s)``."""
    last = first + steps
    assert parse_integers(f"{first}..{last}:+{step}", name="n", least=0) == tuple(range(first, last + 1, step))


@given(first=counts, last=counts, factor=st.integers(2, 10))
def test_a_geometric_range_multiplies(first: int, last: int, factor: int) -> None:
    """``a..b:xk`` starts at a, multiplies by k and stops at b or before; backwards it is refused."""
    text = f"{first}..{last}:x{factor}"
    if first > last:
        with pytest.raises(UsageError):
            parse_integers(text, name="n", least=1)
        return
    values = parse_integers(text, name="n", least=1)
    assert values[0] == first
    assert values[-1] <= last < values[-1] * factor
    assert all(after == before * factor for before, after in itertools.pairwise(values))


@given(values=st.lists(counts, min_size=1, max_size=20))
def test_an_axis_written_out_is_read_back(values: list[int]) -> None:
    """Text of an axis, its values and those values written out again are one and the same axis."""
    axis = SearchSpace.parse(batch_size=values).batch_size
    assert SearchSpace.parse(batch_size=",".join(map(str, axis))).batch_size == axis


@given(text=st.text(alphabet="0123456789.,:x+- ", max_size=16))
def test_any_text_gives_an_axis_or_a_sentence(text: str) -> None:
    """Whatever is typed, the answer is a sane axis or a UsageError of one line, never another error."""
    try:
        values = parse_integers(text, name="num-workers", least=0)
    except UsageError as error:
        sentence = str(error)
    else:
        sentence = "--num-workers"
        assert 0 < len(values) <= MAX_POINTS_ON_AN_AXIS
        assert list(values) == sorted(set(values))
    assert "--num-workers" in sentence
    assert "\n" not in sentence


@given(text=st.text(max_size=12))
def test_any_text_gives_a_number_or_a_usage_error(text: str) -> None:
    """Sizes, times and shares answer any text with a number in range or a UsageError."""
    for parse in (parse_size, parse_duration, parse_share):
        try:
            value: Any = parse(text)
        except UsageError:
            continue
        if isinstance(value, float):
            assert value >= 0


@given(count=st.integers(1, 10**6), unit=st.sampled_from(sorted(BYTES)))
def test_sizes_scale_with_their_unit(count: int, unit: str) -> None:
    """``nU`` is n times U bytes, whatever the case of the unit."""
    assert parse_size(f"{count}{unit}").bytes == parse_size(f"{count} {unit.lower()}").bytes == count * BYTES[unit]


@given(count=st.integers(0, 10**6), unit=st.sampled_from(sorted(SECONDS)))
def test_durations_scale_with_their_unit(count: int, unit: str) -> None:
    """``nU`` is n times U seconds."""
    assert parse_duration(f"{count}{unit}") == pytest.approx(count * SECONDS[unit])


@given(count=st.integers(1, 2**50))
def test_a_size_survives_being_written(count: int) -> None:
    """A size as it is shown is read back to within what three digits hold."""
    assert parse_size(format_bytes(count)).bytes == pytest.approx(count, rel=0.06)


@given(seconds=st.floats(1e-6, 119.0))
def test_a_time_survives_being_written(seconds: float) -> None:
    """A time as it is shown is read back to within what three digits hold."""
    assert parse_duration(format_seconds(seconds).replace("µ", "u")) == pytest.approx(seconds, rel=0.01)


@given(estimate=st.floats(1e-3, 1e9), half=st.floats(1e-6, 1e8))
def test_an_estimate_is_shown_within_a_tenth_of_its_half_width(estimate: float, half: float) -> None:
    """Rounding for display never moves an estimate by more than a tenth of its half-width."""
    shown = format_estimate(estimate, estimate - half, estimate + half, unit="")
    number = float(shown.split("±")[0].split("(")[0].replace(",", ""))
    assert abs(number - estimate) <= 0.1 * half + 1e-6 * estimate


loose_settings = st.fixed_dictionaries(
    {
        "batch_size": st.one_of(st.none(), st.integers(1, 16)),
        "num_workers": st.integers(0, 3),
        "drop_last": st.booleans(),
        "pin_memory": st.just(False),  # torch warns without an accelerator
        "prefetch_factor": st.one_of(st.none(), st.integers(1, 4)),
        "persistent_workers": st.booleans(),
        "in_order": st.booleans(),
        "multiprocessing_context": st.one_of(st.none(), st.sampled_from(START_METHODS)),
    }
)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than cores: not the point
@given(loose=loose_settings)
@settings(max_examples=200)
def test_every_normalised_configuration_is_accepted_by_torch(loose: dict[str, Any]) -> None:
    """Whatever axes are crossed, the configuration is valid and DataLoader takes its keyword arguments."""
    config = LoaderConfig.normalised(**loose)
    loader = DataLoader(Numbers(), **config.loader_kwargs())
    assert loader.num_workers == config.num_workers
    assert loader.prefetch_factor == config.prefetch_factor
    assert loader.persistent_workers is config.persistent_workers
    assert LoaderConfig(**config.as_dict()) == config
    assert LoaderConfig.normalised(**config.as_dict()) == config


@given(loose=loose_settings, other=loose_settings)
def test_ids_tell_configurations_apart(loose: dict[str, Any], other: dict[str, Any]) -> None:
    """Two configurations have the same id exactly when they are the same."""
    one, two = LoaderConfig.normalised(**loose), LoaderConfig.normalised(**other)
    assert (one.config_id == two.config_id) == (one == two)
