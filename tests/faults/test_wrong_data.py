"""Data sets that deliver samples twice, not as claimed, or wrong: found with real loaders, and nobody else accused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import contents_targets as targets
import pytest

from faults import loadtune
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.judge import wrong_data
from loadtune.measure import deliveries
from loadtune.measure.aside import aside
from loadtune.measure.contents import check
from loadtune.measure.open_files import descriptors, opened_since
from loadtune.record.contents import Contents
from loadtune.record.results import Finding, Probe
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor
from loadtune.workloads.resolve import resolve_object

TARGETS = Path(__file__).parent / "contents_targets.py"
MANY = 600
"""Samples beyond what a pass has time for."""


def contents_of(
    given: Any, *, counts: Iterable[int] = (0, 2, 4), seconds: float = 0.002, forks: bool = True, samples: int = 0
) -> Contents:
    """Return what the check finds, its files being those opened since the test began.

    With MANY samples passes are cut short; with few they have the time that a busy machine takes for them.
    """
    longest = 0.25 if samples == MANY else 10.0
    patient = {"LONE_SECONDS": 1.5 * longest, "PASS_SECONDS": longest, "ALL_SECONDS": 60.0}
    source = resolve_object(given, "given")
    probe = Probe(
        dataset_kind="iterable" if source.dataset_kind == "iterable" else "map",
        dataset_samples=source.samples,
        seconds_per_sample=seconds,
        cpu_seconds_per_sample=None,
        bytes_per_sample=None,
        samples_probed=1,
        baseline=source.baseline,
    )
    look = partial(check, source, probe, counts=tuple(counts), files=opened_since(BEFORE), forks=forks, seed=0)
    with patch.multiple(deliveries, **patient):
        found = aside(look, within_seconds=60)
    assert isinstance(found, Contents)
    return found


BEFORE: set[int] = set()


@pytest.fixture(autouse=True)
def _what_is_open() -> None:
    """Take what is open before a test for nothing that its data set opened."""
    BEFORE.clear()
    BEFORE.update(descriptors())


def shares(found: Contents) -> dict[int, float | None]:
    assert found.skipped is None
    return {one.num_workers: one.unique_share for one in found.deliveries}


def said(found: Contents) -> dict[str, Finding]:
    return {finding.code: finding for finding in wrong_data.findings(found, (), None)}


@pytest.mark.parametrize(
    ("draw", "samples"),
    [
        ("whole", 40),
        ("whole", MANY),
        ("shuffled", MANY),
        ("augmented", MANY),
        ("augmented_without_labels", 40),
        ("constant", 40),
        ("endless", MANY),
    ],
)
def test_what_is_not_divided_is_delivered_once_a_worker(draw: str, samples: int) -> None:
    """W workers of an iterable that is not sharded have 1/W unique samples, in any order, augmented, or without end."""
    found = contents_of(targets.iterable(draw, str(samples)), samples=samples)
    assert shares(found) == pytest.approx({2: 1 / 2, 4: 1 / 4})
    assert said(found)["LT019"].numbers == pytest.approx(
        {"unique_share_2_workers": 0.5, "unique_share_4_workers": 0.25}
    )


@pytest.mark.parametrize(
    ("draw", "samples"),
    [
        ("by_stride", 40),
        ("by_stride", MANY),
        ("by_block", 41),
        ("by_file", 40),
        ("shuffled_then_divided", 40),
        ("shuffled_by_the_common_seed", 40),
        ("shuffled_by_the_common_seed", MANY),
        ("augmented_by_stride", 40),
        ("constant_by_stride", 40),
        ("endless_by_stride", MANY),
    ],
)
def test_what_is_divided_is_not_accused(draw: str, samples: int) -> None:
    """By stride, block, file, or after a common shuffle: all samples of a sharded iterable are unique."""
    found = contents_of(targets.iterable(draw, str(samples)), counts=(2,), samples=samples)
    assert shares(found) == {2: 1.0}
    assert said(found) == {}


def test_what_worker_init_fn_divides_is_not_accused() -> None:
    """The way of torch's documentation, where worker_init_fn sets the part of each copy, has only unique samples."""
    found = contents_of(targets.by_init())
    assert shares(found) == {2: 1.0, 4: 1.0}


def test_padding_counts_and_is_not_accused() -> None:
    """61 samples padded to 64 for 4 workers are 61/64 unique, which is no finding."""
    found = contents_of(targets.iterable("padded", "61"), counts=(4,))
    assert shares(found) == {4: pytest.approx(61 / 64)}
    assert said(found) == {}


def test_samples_drawn_at_random_are_not_called_duplicates() -> None:
    """An endless synthetic data set is alike under equal seeds alone: no share is given, and the doubt is said."""
    found = contents_of(targets.iterable("synthetic"), counts=(2,), samples=MANY)
    assert shares(found) == {2: None}
    assert found.alike_under_equal_seeds
    assert "cannot be told" in said(found)["LT019"].message


def test_workers_beyond_the_shards_are_idle() -> None:
    """Of 4 workers on 2 files 2 deliver nothing, which is named with the number of useful workers."""
    found = contents_of(targets.iterable("by_file", "40"))
    assert [one.idle_workers for one in found.deliveries] == [0, 2]
    assert said(found)["LT019"].numbers == {"useful_workers": 2.0}
    assert "workers beyond 2 are idle: 2 of 4" in said(found)["LT019"].message


@pytest.mark.parametrize(("claimed", "text"), [(30, "says 30"), (500, "says 500")])
def test_a_length_that_lies_is_named_with_both_numbers(claimed: int, text: str) -> None:
    """An iterable of 40 samples that claims fewer or more is found out by one worker's pass."""
    found = contents_of(targets.sized("by_stride", "40", str(claimed)), counts=(2,))
    assert found.length is not None
    assert (found.length.claimed, found.length.seen, found.length.ended) == (claimed, 40, True)
    message = said(found)["LT019"].message
    assert text in message
    assert "delivers 40 samples" in message


def test_the_right_length_is_not_accused() -> None:
    """An iterable that gives what it claims has no finding."""
    found = contents_of(targets.sized("by_stride", "40", "40"), counts=(2,))
    assert found.length is None
    assert said(found) == {}


@pytest.mark.parametrize("way", ["seek", "buffered", "checked"])
def test_an_offset_that_workers_share_gives_wrong_data_which_is_proven(way: str) -> None:
    """Two workers that seek and read on one inherited file load other bytes, or raise; with own offsets it is right."""
    found = contents_of(targets.records(way), seconds=0.0006)
    sums = found.checksums
    assert sums is not None, found.skipped
    assert sums.differing > 5
    assert sums.cured is True
    assert said(found)["LT020"].severity == "error"
    assert said(found)["LT021"].severity == "warning"
    assert Path(found.shared_files[0].path).name.startswith("loadtune-records-")


def test_a_stream_that_workers_read_together_is_warned_of() -> None:
    """Workers of an iterable that read on in one inherited file look divided; that its offset moved is said."""
    found = contents_of(targets.Stream(), counts=(2,))
    assert [file.moved for file in found.shared_files] == [True]
    assert said(found)["LT021"].severity == "warning"


def test_a_file_that_is_read_by_place_is_clean() -> None:
    """With os.pread on the same inherited file nothing differs: it is listed, its offset stood, and no more is said."""
    found = contents_of(targets.records("pread"))
    assert found.checksums is not None
    assert found.checksums.differing == 0
    assert {code: finding.severity for code, finding in said(found).items()} == {"LT021": "info"}


def test_a_file_that_each_worker_opens_is_clean() -> None:
    """A file opened with the first sample is no worker's inheritance, though the process of the check opened it too."""
    found = contents_of(targets.records("lazy"))
    assert found.checksums is not None
    assert found.checksums.differing == 0
    assert found.shared_files == ()
    assert said(found) == {}


@pytest.mark.parametrize("way", ["plain", "augmented"])
def test_what_depends_on_index_and_seed_is_the_same_in_workers(way: str) -> None:
    """Plain samples and those with torch's random numbers compare as equal, hundreds of them."""
    found = contents_of(targets.indexed(way), seconds=0.0001)
    assert found.checksums is not None
    assert (found.checksums.samples, found.checksums.differing) == (300, 0)


@pytest.mark.parametrize("way", ["own_generator", "time"])
def test_what_changes_by_itself_is_not_judged(way: str) -> None:
    """Samples from a generator of the data set's own, or with the time in them, differ, and nobody is blamed for it."""
    found = contents_of(targets.indexed(way), seconds=0.0001)
    assert found.checksums is None
    assert "each time" in (found.skipped or "")
    assert said(found) == {}


def test_samples_that_name_their_worker_are_no_error() -> None:
    """What depends on get_worker_info() differs without any shared file, which is a warning of its own wording."""
    found = contents_of(targets.indexed("worker"), seconds=0.0001)
    assert said(found)["LT020"].severity == "warning"
    assert "no shared file explains it" in said(found)["LT020"].message


def test_nothing_is_compared_where_no_worker_is_forked() -> None:
    """Workers that are not forked inherit no file: nothing is listed or compared, and the reason is kept."""
    found = contents_of(targets.records("seek"), forks=False)
    assert (found.skipped, found.shared_files) == ("no workers are forked", ())


def test_the_trial_host_lists_what_building_the_data_set_left_open() -> None:
    """In the process that trials are forked from the record file is found, its offset moved, and the wrong data too."""
    setup = Setup(
        target=f"{TARGETS}:records", arguments={}, device="cpu", seed=0, warm_seconds=0.0, worker_counts=(0, 2)
    )
    with Supervisor(setup, trial_timeout_seconds=30) as running:
        found = running.probe.contents
    assert [(Path(file.path).name[:17], file.moved) for file in found.shared_files] == [("loadtune-records-", True)]
    assert found.checksums is not None
    assert found.checksums.cured is True


def test_an_endless_iterable_that_claims_a_length_hangs_nothing() -> None:
    """No length is taken for its own, and a trial that would run its short epoch gives rates and no epoch."""
    arguments = {"draw": "endless_by_stride", "claimed": "100"}
    setup = Setup(
        target=f"{TARGETS}:sized", arguments=arguments, device="cpu", seed=0, warm_seconds=0.0, worker_counts=(0, 2)
    )
    request = TrialRequest(
        order=0, block=0, phase="screen", config=LoaderConfig.normalised(batch_size=4, num_workers=2),
        drop_last=(False,), measurement=Measurement(max_seconds=0.5), consumer=Consumer(),
    )  # fmt: skip
    with Supervisor(setup, trial_timeout_seconds=30) as running:
        record = running.run(request)
        probe = running.probe
    assert probe.dataset_samples is None
    assert probe.contents.length is not None
    assert (probe.contents.length.claimed, probe.contents.length.ended) == (100, False)
    assert record.status == "ok", record.failure_reason
    assert record.steady is not None
    assert record.steady.epochs == ()


def test_a_sweep_ranks_unsharded_workers_by_unique_samples(tmp_path: Path) -> None:
    """The delivered rate grows with the workers and the unique one does not: the pick is no worker's copy of another.

    A sleep of 2 ms a sample: W workers deliver W times the rate, of which 1/W is unique.
    """
    done = loadtune(
        "sweep", f"{TARGETS}:sized", "--arg", "samples=200", "--arg", "claimed=200", "--batch-size", "8",
        "--num-workers", "0,4", "--drop-last", "off", "--time-budget", "10s", "--output", "run", "--export-json", "-",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    none, four = (
        next(row for row in result["trials"] if (row["num_workers"], row["batch_size"]) == (workers, 8))
        for workers in (0, 4)
    )
    assert (none["unique_share"], four["unique_share"]) == (1.0, 0.25)
    assert four["delivered_samples_per_second"] == pytest.approx(4 * four["samples_per_second"])
    assert four["delivered_samples_per_second"] > 2 * none["delivered_samples_per_second"]
    assert four["samples_per_second"] < 1.25 * none["samples_per_second"]
    # An epoch of the four delivers 4 · 200 samples, which are 200.
    assert four["epoch_seconds"] * four["epoch_samples_per_second"] == pytest.approx(200)
    assert result["best"]["config"]["num_workers"] == 0
    finding = next(one for one in result["findings"] if one["code"] == "LT019")
    assert finding["numbers"] == {"unique_share_4_workers": 0.25}
    assert finding["severity"] == "warning"
