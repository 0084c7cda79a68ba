"""A disk that fills up, a directory that takes nothing, two sweeps in one directory."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from factories import make_record, make_result
from faults import COMMAND, SHORT, can_mount, in_a_small_place, in_mid_trial, lines, loadtune, started
from loadtune.cli.job import tell
from loadtune.cli.options import SessionOptions
from loadtune.describe.config import LoaderConfig
from loadtune.errors import OutputError
from loadtune.record.journal import Journal, JournalWriter, read_journal
from loadtune.record.store import RunHeader, RunStore
from loadtune.show.outputs import Exports
from loadtune.show.page import render_apart

SWEEP = " ".join([*COMMAND, *SHORT])


def test_a_full_disk_is_one_sentence_and_keeps_what_was_written(tmp_path: Path) -> None:
    """ENOSPC in mid-sweep exits with 2 and one sentence with its remedy; the run is whole, and goes on elsewhere."""
    if can_mount():
        # A page for the header, one for the header as it is replaced; the journal gets what is left.
        in_a_small_place(
            f"(head -c 4096 /dev/zero > disk/filler; {SWEEP} --output disk/run > said.out 2> said.err; echo $? > code;"
            " cp -r disk/run kept)",
            cwd=tmp_path, kibibytes=16,
        )  # fmt: skip
    else:
        limited = f"ulimit -f 4; {SWEEP} --output disk/run > said.out 2> said.err; echo $? > code; cp -r disk/run kept"
        (tmp_path / "disk").mkdir()
        subprocess.run(["bash", "-c", limited], cwd=tmp_path, check=True, timeout=100)
    said = (tmp_path / "said.err").read_text().splitlines()
    assert (tmp_path / "code").read_text() == "2\n"
    assert len(said) == 2, said
    assert said[0].startswith("loadtune: 'disk/run/")
    assert "cannot be written: " in said[0]
    kept = lines(tmp_path / "kept")
    assert (tmp_path / "kept" / "trials.jsonl").read_bytes() == b"".join(kept), "no torn line"
    assert f"  {len(kept)} trial" in said[1]
    assert said[1].endswith("when that is put right, go on with: loadtune sweep --resume disk/run")
    assert loadtune("show", "kept", cwd=tmp_path).returncode == 0
    resumed = loadtune("sweep", "--resume", "kept", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert lines(tmp_path / "kept")[: len(kept)] == kept


def test_a_trial_that_does_not_fit_leaves_no_half_of_itself(tmp_path: Path) -> None:
    """Where a file may not grow, the trial that was cut off is taken back, and the ones before are whole."""
    place = tmp_path / "trials.jsonl"
    records = [make_record(LoaderConfig(batch_size=8), 100.0, order=order) for order in range(3)]
    writer = JournalWriter(place, Journal())
    for record in records[:2]:
        writer.append(record)
    before = place.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"trials\.jsonl' cannot be written: File too large"):
            writer.append(records[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert place.read_bytes() == before
    writer.append(records[2])  # there is room again
    writer.close()
    assert read_journal(place) == Journal(records=tuple(records), whole_bytes=place.stat().st_size)


def test_a_page_without_room_costs_no_export_elsewhere(tmp_path: Path) -> None:
    """report.html is refused by the system: the JSON export is there, and the hint makes the page of the whole run."""
    run, result = tmp_path / "run", make_result()
    with RunStore.create(run) as store:
        store.open(RunHeader(**{name: getattr(result, name) for name in RunHeader.__struct_fields__}))
        store.finish(result)
    page = render_apart(result).encode()
    exports = Exports(json=str(tmp_path / "x.json"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(page) - 100, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"report\.html' cannot be written: File too large") as raised:
            tell(result, run, exports, Console(quiet=True), SessionOptions())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads((tmp_path / "x.json").read_text())
    assert f"the run is whole in {run}" in (raised.value.hint or "")
    _, command, _ = (raised.value.hint or "").split("`")
    done = loadtune(*command.replace("FILE", "page.html").split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size > len(page) - 100


def test_a_read_only_directory_is_one_sentence_before_anything_is_measured(tmp_path: Path) -> None:
    """A run on a read-only file system is shown, and neither begun, replaced nor gone on with: exit 2, one sentence."""
    if not can_mount():
        for options in (["--output", "/proc/run"], ["--output", "/sys/run"]):
            done = loadtune(*SHORT, *options, cwd=tmp_path)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        return
    begun = "until [ -s disk/run/trials.jsonl ] || ! kill -0 $!; do sleep 0.1; done; kill -TERM $!; wait $!"
    cut = f"{SWEEP} --output disk/run > first.out 2> first.err & {begun}"
    tries = "; ".join(
        f"{' '.join(COMMAND)} {arguments} > {name}.out 2> {name}.err; echo $? > {name}.code"
        for name, arguments in (
            ("new", "sweep --output disk/other"),
            ("force", "sweep --output disk/run --force"),
            ("resume", "sweep --resume disk/run"),
            ("show", "show disk/run"),
        )
    )
    in_a_small_place(f"({cut}; FREEZE; {tries})", cwd=tmp_path, kibibytes=1024, read_only=True)
    assert "kept" in (tmp_path / "first.err").read_text() or "nothing" in (tmp_path / "first.err").read_text()
    for name, place in (("new", "disk/other"), ("force", "disk/run"), ("resume", "disk/run")):
        said = (tmp_path / f"{name}.err").read_text()
        assert (tmp_path / f"{name}.code").read_text() == "2\n", said
        assert said.startswith(f"loadtune: '{place}' cannot be written: ")
        assert "Read-only file system" in said
        assert len(said.splitlines()) == 1
        assert (tmp_path / f"{name}.out").read_text() == ""
    assert (tmp_path / "show.code").read_text() == "0\n"


def test_two_sweeps_in_one_directory(tmp_path: Path) -> None:
    """While a sweep writes, another into its directory is refused at once, also by force and as a resume."""
    run = tmp_path / "run"
    with started(*SHORT[:-1], "11s", "--output", "run", cwd=tmp_path) as first:
        in_mid_trial(first, run, 1)
        for options in (["--output", "run"], ["--output", "run", "--force"], ["--resume", "run"]):
            second = loadtune("sweep", *options, cwd=tmp_path)
            assert second.returncode == 2
            assert second.stderr == (
                "loadtune: 'run' is being written by another sweep: wait for its end, or give another directory\n"
            )
        shown = loadtune("show", "run", cwd=tmp_path)
        assert shown.stderr == "loadtune: a sweep is still measuring this run: this is what it has so far\n"
        first.wait(timeout=60)
    assert first.returncode == 0
    # The lock went with its process: now the run can be replaced, and is not by accident.
    refused = loadtune("sweep", "--output", "run", cwd=tmp_path)
    assert refused.returncode == 2
    assert "'run' holds a run already: use --force" in refused.stderr


def test_the_lock_of_a_killed_sweep_is_free(tmp_path: Path) -> None:
    """A process that is killed while it holds a directory leaves no lock and no file."""
    script = (
        "import sys, time; from pathlib import Path; from loadtune.record.lock import DirectoryLock\n"
        "lock = DirectoryLock(); print(lock.acquire(Path(sys.argv[1])), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "True\n"
            other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            with other:
                assert other.stdout is not None
                assert other.stdout.readline() == "False\n"
                other.send_signal(signal.SIGKILL)
            holder.send_signal(signal.SIGKILL)
    assert os.listdir(tmp_path) == []
