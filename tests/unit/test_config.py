"""LoaderConfig: valid by construction."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loadtune.describe.config import LoaderConfig
from loadtune.errors import UsageError
from loadtune.record.results import CSV_COLUMNS


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 4, "num_workers": -1}, "num_workers -1"),
        ({"batch_size": 4, "num_workers": 1, "prefetch_factor": 0}, "prefetch_factor 0"),
        ({"batch_size": 4, "prefetch_factor": 2}, "prefetch_factor 2"),
        ({"batch_size": 4, "persistent_workers": True}, "persistent_workers"),
        ({"batch_size": 4, "num_workers": 1, "multiprocessing_context": "thread"}, "'thread'"),
        ({"batch_size": None, "drop_last": True}, "drop_last"),
    ],
)
def test_what_torch_would_refuse_cannot_be_built(settings: dict[str, Any], names: str) -> None:
    """Each impossible combination raises one sentence that names the setting."""
    with pytest.raises(UsageError) as refused:
        LoaderConfig(**settings)
    assert names in str(refused.value)
    assert "\n" not in str(refused.value)


def test_torchs_silent_default_is_made_explicit() -> None:
    """With workers an absent prefetch_factor is torch's 2; without workers it stays absent."""
    assert LoaderConfig(batch_size=8, num_workers=1).prefetch_factor == 2
    assert LoaderConfig(batch_size=8).prefetch_factor is None


def test_normalising_drops_what_means_nothing() -> None:
    """Without workers, settings of workers vanish, so that a crossed grid has each point once."""
    full = LoaderConfig.normalised(
        batch_size=8, num_workers=0, prefetch_factor=4, persistent_workers=True, in_order=False, drop_last=True
    )
    assert full == LoaderConfig(batch_size=8, drop_last=True)
    assert LoaderConfig.normalised(batch_size=None, num_workers=2, drop_last=True).drop_last is False


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LoaderConfig(batch_size=64), "b64-w0"),
        (LoaderConfig(batch_size=64, num_workers=4, prefetch_factor=4, drop_last=True), "b64-w4-pf4-drop"),
        (LoaderConfig(batch_size=None, num_workers=2), "bown-w2"),
        (
            LoaderConfig(
                batch_size=1,
                num_workers=1,
                pin_memory=True,
                persistent_workers=True,
                in_order=False,
                multiprocessing_context="spawn",
            ),
            "b1-w1-pin-keep-anyorder-spawn",
        ),
    ],
)
def test_the_id_says_what_is_not_default(config: LoaderConfig, name: str) -> None:
    """The short name lists every setting that differs from torch's defaults, and nothing else."""
    assert config.config_id == name


def test_batches_in_flight_are_p_times_w() -> None:
    """Torch keeps exactly prefetch_factor times num_workers batches ahead."""
    assert LoaderConfig(batch_size=2, num_workers=3, prefetch_factor=4).batches_in_flight == 12
    assert LoaderConfig(batch_size=2).batches_in_flight == 0


def test_the_steady_rate_does_not_depend_on_drop_last() -> None:
    """Configurations that differ in drop_last alone share one steady configuration."""
    dropping = LoaderConfig(batch_size=2, num_workers=1, drop_last=True)
    assert dropping.steady == LoaderConfig(batch_size=2, num_workers=1)


def test_settings_stand_in_the_order_of_the_csv() -> None:
    """The eight settings have the names and the order of the CSV columns."""
    names = list(LoaderConfig(batch_size=2).as_dict())
    start = CSV_COLUMNS.index("batch_size")
    assert tuple(names) == CSV_COLUMNS[start : start + len(names)]


def test_a_configuration_cannot_be_changed() -> None:
    """A configuration is frozen, so it can be a key."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        LoaderConfig(batch_size=2).batch_size = 3  # type: ignore[misc]
    assert len({LoaderConfig(batch_size=2), LoaderConfig(batch_size=2)}) == 1
