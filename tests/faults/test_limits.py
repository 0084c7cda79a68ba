"""Limits of real control groups, set in an ancestor alone: what a sweep sees of them, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroup_lab import Nest, NoGroups, nest, set_memory, set_quota

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.run.protocol import Setup
from loadtune.run.supervisor import Supervisor

TARGETS = Path(__file__).parent / "busy.py"
MIB = 2**20
READ = (
    "import msgspec; from loadtune.record.environment import read_environment as read;"
    "print(msgspec.json.encode(read()).decode())"
)


def made(controller: str) -> Iterator[Nest]:
    try:
        with nest(controller) as groups:
            yield groups
    except NoGroups as none:
        pytest.skip(str(none))


@pytest.fixture
def half_a_cpu() -> Iterator[Nest]:
    """Give a group whose parent may use half a CPU."""
    for groups in made("cpu"):
        set_quota(groups, 0.5)
        yield groups


@pytest.fixture
def little_memory() -> Iterator[Nest]:
    """Give a group whose parent may use 1,500 MiB."""
    for groups in made("memory"):
        set_memory(groups, 1500 * MIB)
        yield groups


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_sweep_under_half_a_cpu_says_so(half_a_cpu: Nest, tmp_path: Path) -> None:
    """Usable CPUs are 0.5 from the ancestor's quota, trials are marked as throttled, LT015 says so, 0 workers win.

    Workers have nothing to gain from half a CPU, and one waiting thread a process is no crowd. Other work on this
    machine may leave less than the quota on one CPU, which two workers get around: such a sweep is repeated.
    """
    command = half_a_cpu.command(
        sys.executable, "-m", "loadtune.cli.app", "sweep", f"{TARGETS}:Busy", "--batch-size", "8", "--num-workers",
        "0,2", "--time-budget", "10s", "--output", "run", "--force", "--export-json", "-",
    )  # fmt: skip
    for _ in range(3):
        result = json.loads(run(command, tmp_path))
        if result["best"]["config"]["num_workers"] == 0:
            break
    machine = result["environment"]
    assert machine["usable_cpus"] == 0.5
    assert f"/{half_a_cpu.outer.name} cpu." in machine["usable_cpus_source"]
    finding = next(one for one in result["findings"] if one["code"] == "LT015")
    assert finding["numbers"]["usable_cpus"] == 0.5
    assert finding["numbers"]["throttled_seconds"] > 0.1
    trials = [json.loads(line) for line in (tmp_path / "run" / "trials.jsonl").read_text().splitlines()]
    assert max(trial["throttled_seconds"] for trial in trials) > 0.05
    assert max(row["throttled_share"] or 0.0 for row in result["trials"]) >= 0.01
    assert result["best"]["config"]["num_workers"] == 0
    assert "LT022" not in {one["code"] for one in result["findings"]}
    # 2 ms of processor time a sample and half a CPU: 250 samples/s, whatever the number of workers.
    assert result["fastest"]["samples_per_second"]["estimate"] < 1.2 * 250


def test_a_quota_in_an_ancestor_bounds_the_cpus(half_a_cpu: Nest, tmp_path: Path) -> None:
    """The machine as read inside has half a CPU, its source the group that has the quota."""
    machine = json.loads(run(half_a_cpu.command(sys.executable, "-c", READ), tmp_path))
    assert machine["usable_cpus"] == 0.5
    assert machine["usable_cpus_source"].startswith(f"cgroup v{half_a_cpu.version} /")
    assert half_a_cpu.inner.name not in machine["usable_cpus_source"]


def test_a_limit_in_an_ancestor_bounds_the_memory(little_memory: Nest, tmp_path: Path) -> None:
    """The machine as read inside has the ancestor's memory, its source the group that has the limit."""
    machine = json.loads(run(little_memory.command(sys.executable, "-c", READ), tmp_path))
    assert machine["host_memory_limit_bytes"] == 1500 * MIB
    assert f"/{little_memory.outer.name} memory." in machine["host_memory_limit_source"]


@pytest.mark.parametrize(("before", "expected"), [(1_500_000, 2.5), (4_000_000, 0.0), (None, None)])
def test_the_supervisor_reads_the_counters_around_a_trial(
    before: int | None, expected: float | None, tmp_path: Path
) -> None:
    """A trial during which an ancestor's counter goes from 1.5 s to 4 s has 2.5 s; without a counter it has none."""
    group = tmp_path / "sys/fs/cgroup/a"
    (group / "b").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    stat = "nr_throttled 9\nthrottled_usec {}\n"
    setup = Setup(
        target=f"{TARGETS}:Writing",
        arguments={"path": str(group / "cpu.stat"), "text": stat.format(4_000_000)},
        device="cpu",
        seed=0,
        warm_seconds=0.0,
    )
    request = TrialRequest(
        order=0,
        block=0,
        phase="screen",
        config=LoaderConfig(batch_size=8),
        drop_last=(False,),
        measurement=Measurement(max_seconds=0.5, real_epoch_seconds=0.0),
        consumer=Consumer(),
    )
    with Supervisor(setup, trial_timeout_seconds=60.0, root=tmp_path) as running:
        # The look at the data set has written already; the trial writes again.
        (group / "cpu.stat").write_text("usage_usec 1\n" if before is None else stat.format(before))
        record = running.run(request)
    assert record.status == "ok"
    assert record.throttled_seconds == expected


def test_the_doctor_marks_the_quota(half_a_cpu: Nest, tmp_path: Path) -> None:
    """``loadtune doctor`` inside of the group names all candidates and marks the quota as the one that binds."""
    command = half_a_cpu.command(sys.executable, "-m", "loadtune.cli.app", "doctor")
    text = " ".join(run(command, tmp_path).split())
    assert f"→ 0.5 cgroup v{half_a_cpu.version}" in text
    assert "CPU affinity" in text
