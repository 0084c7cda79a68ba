"""Batches that fail by their size, and batches that are none: each its row and kind, and the others are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hard_targets import KERNEL_LIMIT, TOO_BIG, UNLUCKY
from single_trials import HARD, asked, steady_of, trial_host

import loadtune
from loadtune.errors import NothingFitsError, UsageError


def test_batches_that_fail_by_their_size_each_have_their_kind(tmp_path: Path) -> None:
    """In one sweep: 8 and 37 measured, 24 host_oom, 38 device_oom, 96 size_limit; the choice is of the measured."""
    sizes = {8: "", UNLUCKY: "host_oom", TOO_BIG: "", TOO_BIG + 1: "device_oom", 96: "size_limit"}
    assert max(sizes) > KERNEL_LIMIT
    run = loadtune.sweep(
        f"{HARD}:by_size", batch_size=sorted(sizes), num_workers=2, drop_last=False, time_budget="20s", precision=0.5,
        output=tmp_path / "run",
    )  # fmt: skip
    rows = {row.batch_size: row for row in run.trials if row.batch_size in sizes}
    assert len(rows) == len(sizes), "every row is there"
    for size, row in rows.items():
        kind = sizes[size or 0]
        assert row.failure_kind == (kind or None), row.failure_reason
        assert row.status == ("failed" if kind else "ok")
    assert "you tried to allocate" in (rows[UNLUCKY].failure_reason or ""), "a smaller batch fails, larger ones fit"
    assert not sizes[run.best.config.batch_size or 0]
    told = [finding for finding in run.findings if finding.code == "LT008"]
    # Torch's defaults with batch 64 are the baseline, and fail too.
    assert sum(finding.numbers["configurations"] for finding in told) == 4
    assert len(told) == len({row.failure_kind for row in run.trials if row.failure_kind}), "one for each cause"
    assert loadtune.load(tmp_path / "run").trials == run.trials


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_that_fails_only_on_its_longest_sample(num_workers: int) -> None:
    """One sample of 200 is too long for batches of 32, not for those of 8: it is met, and the row failed."""
    with trial_host("one_long_sample") as running:
        small = running.run(asked(batch_size=8, num_workers=num_workers))
        large = running.run(asked(batch_size=32, num_workers=num_workers))
        again = running.run(asked(batch_size=8, num_workers=num_workers))
    assert steady_of(small).passes is not None
    assert (large.status, large.failure_kind) == ("failed", "host_oom")
    assert again.status == "ok"


def test_a_data_set_smaller_than_its_batch_is_refused_with_drop_last() -> None:
    """100 samples, batch 128: with drop_last no batch ever comes, which is refused; without it is measured."""
    run = loadtune.sweep(f"{HARD}:hundred", batch_size=[33, 128], num_workers=0, time_budget="6s")
    rows = {(row.batch_size, row.drop_last): row for row in run.trials}
    assert rows[128, True].status == "refused"
    assert "128" in (rows[128, True].failure_reason or "")
    assert rows[128, False].status == "ok"
    assert (rows[33, False].batches_per_epoch, rows[33, True].batches_per_epoch) == (4, 3)
    assert rows[33, True].dropped_samples == 1


def test_where_no_batch_fits_nothing_is_chosen_and_every_row_says_why() -> None:
    """All sizes out of memory: each row failed by its kind, the choice is none, and it is no fault of loadtune."""
    run = loadtune.sweep(f"{HARD}:by_size", batch_size=[40, 48], num_workers=0, drop_last=False, time_budget="5s")
    assert {row.failure_kind for row in run.trials if row.batch_size in (40, 48)} == {"device_oom"}
    with pytest.raises(NothingFitsError):
        _ = run.best
    assert "LT013" in {finding.code for finding in run.findings}


def test_a_subclass_with_attributes_of_its_own_is_refused_and_its_factory_taken() -> None:
    """A loader that cannot be rebuilt alike is no target, and says that a function is the way; the function works."""
    with pytest.raises(UsageError, match="PrivateLoader, a subclass of DataLoader"), trial_host("private_loader"):
        pass
    with trial_host("private_loader_built") as running:
        record = running.run(asked(batch_size=8, num_workers=1))
    assert steady_of(record).samples_per_batch == 8


def test_a_rebuilt_loader_does_what_the_given_one_did(tmp_path: Path) -> None:
    """Sampler, collate_fn, worker_init_fn, generator, timeout and in_order of the given loader are those of its trials.

    The samples come in the order of its sampler, doubled by its collate_fn, in workers that its worker_init_fn met and
    that its generator seeded.
    """
    folder = tmp_path / "seen"
    folder.mkdir()
    with trial_host("rebuilt", folder=str(folder)) as running:
        probe = running.probe
        assert set(probe.kept_arguments) == {"sampler", "collate_fn", "worker_init_fn", "generator", "timeout"}
        given = probe.baseline
        assert (given.batch_size, given.num_workers, given.prefetch_factor, given.drop_last) == (8, 2, 3, True)
        assert (given.in_order, given.persistent_workers) == (False, True)
        for note in folder.iterdir():
            note.unlink()
        record = running.run(asked(batch_size=8, num_workers=2, in_order=False, prefetch_factor=3))
    assert steady_of(record).bytes_per_batch == 64, "16 numbers of 4 bytes"
    notes = {name: [line.split() for line in (folder / name).read_text().splitlines()] for name in os.listdir(folder)}
    assert set(notes) == {"0", "1"}
    for name, lines in notes.items():
        assert {told for _, told, _ in lines} == {f"worker-{name}"}
        first = [int(index) for index, _, _ in lines[:8]]
        assert first in (list(range(319, 311, -1)), list(range(311, 303, -1)))
    assert {seed for lines in notes.values() for _, _, seed in lines} == {str(base_seed())}


def base_seed() -> int:
    """Return the seed that a loader with this generator gives its first workers."""
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(1234)
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())
