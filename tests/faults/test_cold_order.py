"""Files on a disk, cold and warm: the winner and its rate do not depend on which configuration reads them first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from single_trials import TRIES, asked, rate_of, trial_host

from loadtune.describe.plan import Measurement
from loadtune.measure import page_cache

FILES, SIZE = 600, 40_000
pytestmark = pytest.mark.alone

ONE_PASS = Measurement(max_seconds=1.0, real_epoch_seconds=0.0, one_pass=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are written to the disk."""
    place = tmp_path_factory.mktemp("data")
    for number in range(FILES):
        (place / f"{number:04d}.bin").write_bytes(os.urandom(SIZE))
    return place


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked as Linux is")
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_the_winner_of_files_is_the_same_in_either_order(folder: Path, cold: bool) -> None:  # noqa: FBT001
    """2 workers beat 0, each at its own rate, whichever reads first; cold, each trial found cold what it read."""
    rates = {(num_workers, workers_first): 0.0 for num_workers in (0, 2) for workers_first in (True, False)}
    with trial_host("in_files", folder=str(folder), warm_seconds=20.0, cold=cold) as running:
        for _ in range(TRIES):
            for workers_first in (True, False):
                for num_workers in (2, 0) if workers_first else (0, 2):
                    record = running.run(asked(batch_size=8, num_workers=num_workers, measurement=ONE_PASS))
                    rates[num_workers, workers_first] = max(rates[num_workers, workers_first], rate_of(record))
                    if cold and can_be_dropped(folder):
                        assert record.cache is not None
                        assert record.cache.cached_after_bytes == 0
                        assert record.cache.opened_cold_files == record.cache.opened_files > 0
            if agree(rates):
                return
    raise AssertionError(f"the winner or a rate depends on the order: {rates}")


def agree(rates: dict[tuple[int, bool], float]) -> bool:
    """Whether 2 workers win in both orders, and each configuration has one rate; noise only ever slows down."""
    wins = all(rates[2, order] > 1.4 * rates[0, order] for order in (True, False))
    return wins and all(rates[count, True] == pytest.approx(rates[count, False], rel=0.25) for count in (0, 2))


def can_be_dropped(folder: Path) -> bool:
    """Whether this file system lets go of a file that was read: one in memory does not."""
    file = next(folder.iterdir())
    file.read_bytes()
    dropped = page_cache.drop(str(file))
    return dropped is not None and dropped.cached_after == 0
