"""``--cache cold``: what is in the page cache when a trial begins, read from the kernel."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import loadtune
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.errors import UsageError
from loadtune.measure import page_cache
from loadtune.record.results import CacheDrop, Finding, TrialRecord
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "targets.py"
ONE_PASS = Measurement(max_seconds=1.0, real_epoch_seconds=0.0, one_pass=True)
FILES, SIZE = 2000, 20_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked as Linux is")


@contextmanager
def supervisor(name: str, *, warm_seconds: float = 30.0, **arguments: str) -> Iterator[Supervisor]:
    setup = Setup(target=f"{TARGETS}:{name}", arguments=arguments, device="cpu", seed=0, warm_seconds=warm_seconds)
    with Supervisor(setup, trial_timeout_seconds=60.0, cold=True) as running:
        yield running


def request(**settings: Any) -> TrialRequest:
    return TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig.normalised(**{"batch_size": 16, "num_workers": 2, **settings}),
        measurement=ONE_PASS,
        consumer=Consumer(),
    )


def cached_bytes(files: list[Path]) -> int:
    """Return how much of files the kernel holds in memory."""
    total = 0
    for file in files:
        with file.open("rb") as opened:
            found = page_cache.resident_bytes(opened.fileno(), file.stat().st_size)
        assert found is not None
        total += found
    return total


def watched(running: Supervisor, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrialRecord]:
    """Return ``running.run``, that notes how much of the files is cached when the trial itself begins."""
    inner = running._run

    def look_first(wanted: TrialRequest, within_seconds: float) -> TrialRecord:
        cached.append(cached_bytes(files))
        return inner(wanted, within_seconds)

    cached: list[int] = []
    monkeypatch.setattr(running, "_run", look_first)
    running.cached_at_start = cached  # type: ignore[attr-defined]
    return running.run


def drop_of(record: TrialRecord) -> CacheDrop:
    assert record.status == "ok", record.failure_reason
    assert record.cache is not None
    return record.cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files that are written to the disk, and cached."""
    place = tmp_path / "data"
    place.mkdir()
    for number in range(FILES):
        (place / f"{number:05d}.bin").write_bytes(os.urandom(SIZE))
    return place


def can_be_dropped(file: Path) -> bool:
    """Whether this file system lets go of a file that was read: one in memory does not."""
    file.read_bytes()
    dropped = page_cache.drop(str(file))
    assert dropped is not None
    return dropped.cached_after == 0


def test_what_the_kernel_holds_is_known(tmp_path: Path) -> None:
    """A file that was just written is cached to its last byte, and dropped it is not, unless it lies in memory."""
    file = tmp_path / "one"
    file.write_bytes(os.urandom(3 * page_cache.SAMPLE_BYTES + 5))
    assert cached_bytes([file]) == file.stat().st_size
    dropped = page_cache.drop(str(file))
    assert dropped is not None
    assert dropped.cached_before == dropped.size == file.stat().st_size
    assert dropped.cached_after == cached_bytes([file]) in (0, dropped.size)


@pytest.mark.parametrize("settings", [{"num_workers": 0}, {}, {"multiprocessing_context": "spawn"}])
def test_every_trial_begins_with_cold_files(
    folder: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the files is cached when a trial begins, and the second finds cold what the first has read."""
    files = sorted(folder.iterdir())
    coldest = 0 if can_be_dropped(files[0]) else FILES * SIZE
    with supervisor("in_files", folder=str(folder)) as running:
        run = watched(running, files, monkeypatch)
        first, second = run(request(**settings)), run(request(**settings))
        assert running.cached_at_start == [coldest, coldest]  # type: ignore[attr-defined]
    assert running.probe.pass_samples == FILES
    assert drop_of(first).files == FILES
    for record in (first, second):
        drop = drop_of(record)
        assert drop.cached_after_bytes == (coldest if drop.files == FILES else pytest.approx(0, abs=coldest))
        assert drop.unchecked_files == 0
        assert 0 < drop.opened_cold_files == drop.opened_files <= FILES
    # Only what the first has opened is dropped again: at most a file for each reader was open at its end besides.
    assert 0 <= drop_of(second).files - drop_of(first).opened_files <= 2


def test_files_that_the_pass_did_not_reach_are_no_silent_claim(folder: Path) -> None:
    """Where time did not suffice to find the files, the trial says how many it opened that had not been dropped."""
    with supervisor("in_files", folder=str(folder), warm_seconds=0.1) as running:
        assert (running.probe.pass_samples or 0) < FILES / 4
        drop = drop_of(running.run(request()))
    assert drop.opened_cold_files < 0.9 * drop.opened_files


def test_a_trial_of_cold_files_ends_with_the_first_pass(folder: Path) -> None:
    """2,000 samples of 1 ms, 3 workers: a second of windows is more than a pass, and no second one is begun."""
    with supervisor("in_files", folder=str(folder)) as running:
        steady = running.run(request(num_workers=3)).steady
    assert steady is not None
    assert steady.passes is not None
    assert 0.2 < steady.passes <= 1


@pytest.mark.parametrize("touch", ["no", "yes"])
def test_a_mapped_file_is_found_and_what_stays_of_it_is_told(tmp_path: Path, touch: str) -> None:
    """A file that is never opened by the workers is found; pages that the data set touched when built stay."""
    file = tmp_path / "mapped"
    file.write_bytes(os.urandom(64 << 20))
    assert page_cache.drop(str(file)) is not None
    in_memory = not can_be_dropped(file)
    with supervisor("mapped", file=str(file), touch=touch) as running:
        running.run(request())
        drop = drop_of(running.run(request()))
    assert drop.opened_files == drop.opened_cold_files == 1
    assert drop.file_bytes == drop.opened_bytes == 64 << 20
    share = drop.cached_after_bytes / drop.checked_bytes
    assert share > 0.99 if touch == "yes" or in_memory else share < 0.01


def told(run: loadtune.Run) -> Finding:
    return next(finding for finding in run.findings if finding.code == "LT014")


def test_a_sweep_of_cold_files_says_what_it_did(folder: Path) -> None:
    """The finding has the number of files and the share that stayed cached, and warns of a file system in memory."""
    run = loadtune.sweep(
        f"{TARGETS}:in_files", arguments={"folder": str(folder)}, batch_size=32, num_workers=1, cache="cold",
        time_budget="12s",
    )  # fmt: skip
    finding = told(run)
    if can_be_dropped(next(folder.iterdir())):
        assert finding.numbers["cached_share"] == 0
        # On a machine with other work the untimed pass may not reach all files in its time.
        assert (finding.severity == "info") is (finding.numbers["known_share"] > 0.99), finding.message
    else:
        assert finding.severity == "warning"
        assert "stayed cached" in finding.message
    assert 0 < finding.numbers["opened_files"] <= FILES
    assert run.result.plan.measurement.one_pass


def test_a_data_set_in_memory_says_that_cold_changed_nothing() -> None:
    """Samples that no file is opened for are no colder than before, and the result says so."""
    run = loadtune.sweep(f"{TARGETS}:sleeping", batch_size=32, num_workers=1, cache="cold", time_budget="6s")
    assert told(run).severity == "info"
    assert told(run).message.startswith("cold changed nothing")


def test_a_system_that_cannot_drop_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without posix_fadvise nothing is measured, and one sentence says why."""
    monkeypatch.delattr(os, "posix_fadvise")
    with pytest.raises(UsageError, match="posix_fadvise"):
        loadtune.sweep(f"{TARGETS}:sleeping", cache="cold", time_budget="6s")
