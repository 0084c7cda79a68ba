"""``loadtune doctor``: the machine that is read, what is said of it, and what it looks like."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from rich.console import Console

from factories import make_environment
from loadtune.cli import doctor
from loadtune.cli.app import main
from loadtune.judge.checkup.check import Check
from loadtune.judge.checkup.examine import checks, unusable
from loadtune.record.cgroups import Throttling
from loadtune.record.limits import InForce, ProcessLimits
from loadtune.record.machine import Device, Devices, Machine, Place, read_machine, read_place
from loadtune.record.mounts import mount_of, parse_mounts
from loadtune.show.doctor import print_checkup

SNAPSHOTS = Path(__file__).parent / "snapshots"
GIB = 2**30
MIB = 2**20
VERSIONS = {"torch": "2.15.0", "torchvision": "0.30.0", "psutil": "7.1.0", "nvidia-ml-py": "13.580.82"}
ROOMY = make_environment(
    logical_cpus=8, usable_cpus=8.0, host_memory_limit_bytes=32 * GIB, open_files_limit=65_536, packages=VERSIONS
)


def machine(environment: dict[str, Any] | None = None, **changes: Any) -> Machine:
    """Return a machine on which nothing wants a look."""
    values: dict[str, Any] = {
        "environment": replace(ROOMY, **(environment or {})),
        "cpus": (InForce(amount=8, source="logical CPUs"), InForce(amount=8, source="CPU affinity")),
        "memory": (InForce(amount=32 * GIB, source="physical memory"),),
        "memory_available_bytes": 30 * GIB,
        "throttling": (Throttling(source="cgroup v2 /a cpu.stat", periods=0, seconds=0.0),),
        "local_ranks": None,
        "open_files_most": 1_048_576,
        "start_method": "fork",
        "governor": "performance",
        "devices": Devices(found=(Device(name="NVIDIA H200", total_bytes=141 * GIB, used_bytes=GIB),)),
        "current": Place(path=Path("/home/me/project"), file_system="ext4", free_bytes=90 * GIB, writable=True),
        "cache": Place(path=Path("/home/me/.cache/loadtune"), file_system="xfs", free_bytes=9 * GIB, writable=True),
    }
    return Machine(**{**values, **changes})


def cramped() -> Machine:
    """Return a container in which much wants a look."""
    return machine(
        {"usable_cpus": 0.5, "shm_total_bytes": 64 * MIB, "shm_free_bytes": 64 * MIB, "open_files_limit": 1024},
        cpus=(
            InForce(amount=8, source="logical CPUs"),
            InForce(amount=8, source="CPU affinity"),
            InForce(amount=0.5, source="cgroup v2 /kubepods/burstable/pod7c0ffee cpu.max"),
        ),
        memory=(
            InForce(amount=32 * GIB, source="physical memory"),
            InForce(amount=2 * GIB, source="cgroup v2 /kubepods memory.max"),
        ),
        throttling=(Throttling(source="cgroup v2 /kubepods cpu.stat", periods=1204, seconds=61.2),),
        start_method="forkserver",
        devices=Devices(missing="NVML does not answer (NVML Shared Library Not Found)"),
        current=Place(path=Path("/workspace"), file_system="overlay", free_bytes=90 * GIB, writable=True),
        cache=Place(path=Path("/root/.cache/loadtune"), file_system="nfs4", free_bytes=200 * MIB, writable=True),
    )


def check(found: Machine, topic: str) -> Check:
    return next(one for one in checks(found) if one.topic == topic)


def printed(found: Machine, width: int = 80) -> str:
    stream = io.StringIO()
    print_checkup(found.environment, checks(found), Console(file=stream, width=width))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize(("name", "found"), [("doctor_good", machine()), ("doctor_cramped", cramped())])
def test_the_checkup_looks_as_it_did(name: str, found: Machine) -> None:
    """The text at 80 columns is that of the snapshot; SNAPSHOTS=write renews it, to be read before it is kept."""
    path, text = SNAPSHOTS / f"{name}.txt", printed(found)
    if os.environ.get("SNAPSHOTS") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [50, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long paths and names of groups are folded, and nothing is cut."""
    text = printed(cramped(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_a_roomy_machine_is_good() -> None:
    """Where nothing is small nothing wants a look, and nothing is advised."""
    found = checks(machine())
    assert {one.verdict for one in found} == {"good"}
    assert not any(one.advice for one in found)
    assert printed(machine()).endswith("A sweep can run here, and nothing wants a look.\n")


@pytest.mark.parametrize(
    ("changes", "topic", "advice"),
    [
        ({"cpus": (InForce(amount=4, source="cgroup v1 /a cpu.cfs_quota_us"),)}, "CPUs", "docker --cpus"),
        ({"cpus": (InForce(amount=4, source="CPU affinity"),)}, "CPUs", "taskset"),
        ({"cpus": (InForce(amount=1, source="logical CPUs"),)}, "CPUs", "With one CPU"),
        ({"throttling": (Throttling(source="x", periods=2, seconds=0.1),)}, "throttling", "explain LT015"),
        ({"memory": (InForce(amount=3 * GIB, source="physical memory"),)}, "host memory", "explain host_oom"),
        ({"memory_available_bytes": 15 * GIB}, "memory free", "--host-memory"),
        ({"environment": {"shm_total_bytes": 64 * MIB, "shm_free_bytes": 64 * MIB}}, "/dev/shm", "--shm-size=8g"),
        ({"environment": {"shm_total_bytes": 8 * GIB, "shm_free_bytes": GIB}}, "/dev/shm", "ls -l /dev/shm"),
        ({"environment": {"open_files_limit": 1024}}, "open files", "ulimit -n 1048576"),
        ({"environment": {"open_files_limit": 1024}, "open_files_most": 1024}, "open files", "--ulimit nofile"),
        ({"environment": {"open_files_limit": 1024}, "open_files_most": None}, "open files", "ulimit -n 65536"),
        ({"environment": {"load_average": 6.0}}, "load", "--time-budget"),
        ({"governor": "powersave"}, "CPU clock", "cpupower"),
        ({"devices": Devices(missing="the package nvidia-ml-py is not installed")}, "accelerator", "pip install"),
        ({"devices": Devices(found=(Device(name="A", total_bytes=8, used_bytes=7),))}, "accelerator", "nvidia-smi"),
        ({"cache": None}, "cache folder", "XDG_CACHE_HOME"),
        ({"environment": {"packages": {"torch": "2.15.0"}}}, "psutil", "pip install psutil"),
        ({"environment": {"packages": {**VERSIONS, "pynvml": "12.0"}}}, "pynvml", "pip uninstall pynvml"),
    ],
)
def test_what_is_small_wants_a_look(changes: dict[str, Any], topic: str, advice: str) -> None:
    """Each thing that is small or in the way is marked, with what to do; it is no reason to fail."""
    found = machine(changes.pop("environment", None), **changes)
    seen = check(found, topic)
    assert seen.verdict == "look"
    assert advice in seen.advice
    assert unusable(checks(found)) is None


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ({"file_system": "overlay"}, "a container's own layer"),
        ({"file_system": "nfs4"}, "network"),
        ({"file_system": "fuse.gcsfuse"}, "network"),
        ({"file_system": "tmpfs"}, "in memory"),
        ({"free_bytes": 100 * MIB}, "Little is free"),
        ({"writable": False}, "cannot be written"),
        ({}, ""),
        ({"file_system": None, "free_bytes": None}, ""),
    ],
)
def test_folders_are_looked_at(place: dict[str, Any], advice: str) -> None:
    """Slow, small, volatile and read-only places under data and results are named, with the way out."""
    seen = check(machine(current=replace(machine().current, **place)), "current folder")
    assert (seen.verdict, bool(seen.advice)) == (("look", True) if advice else ("good", False))
    assert advice in seen.advice
    assert "--output" in seen.advice or not advice


@pytest.mark.parametrize(
    ("version", "verdict"), [(None, "bad"), ("2.5.1", "bad"), ("2.6.0+cu124", "good"), ("3", "good")]
)
def test_without_torch_no_sweep_can_run(version: str | None, verdict: str) -> None:
    """Torch that is missing or older than 2.6 is bad, the one thing that is."""
    packages = {name: number for name, number in {**VERSIONS, "torch": version}.items() if number is not None}
    found = machine({"packages": packages})
    assert check(found, "torch").verdict == verdict
    assert (unusable(checks(found)) is not None) == (verdict == "bad")


def test_all_candidates_are_there_and_one_binds() -> None:
    """Every limit is named with its source, and the least alone is marked."""
    seen = check(cramped(), "CPUs")
    assert [(one.amount, one.binds) for one in seen.candidates] == [("8", False), ("8", False), ("0.5", True)]
    assert "→ 0.5 cgroup v2 /kubepods/burstable/pod7c0ffee cpu.max" in printed(cramped(), 200)


def test_ranks_are_told() -> None:
    """LOCAL_WORLD_SIZE is shown, and what it does."""
    assert check(machine(), "local ranks").value == "1 (LOCAL_WORLD_SIZE is not set)"
    assert check(machine(local_ranks=4), "local ranks").value == "4 (LOCAL_WORLD_SIZE); shared limits are divided by it"


def test_hostile_names_are_shown_and_not_obeyed() -> None:
    """A path, a host's name or a driver's message with terminal sequences comes out as plain text."""
    bad = "a\x1b[31mb\nc [bold]d[/]"
    found = machine(
        {"hostname": bad},
        devices=Devices(missing=bad),
        current=replace(machine().current, path=Path(bad)),
        cpus=(InForce(amount=1, source=bad), InForce(amount=2, source=bad)),
    )
    text = printed(found, 200)
    assert "\x1b" not in text
    assert text.count("ab c [bold]d[/]") == 5


def test_the_mount_that_holds_a_path_is_the_deepest_and_last() -> None:
    """The longest mount point above a path counts; of two on one point the later hides the earlier."""
    mounts = parse_mounts(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "23 22 0:9 / /data rw - nfs4 server:/export rw\n"
        "24 23 0:10 / /data/fast rw - xfs /dev/nvme0n1 rw\n"
        "25 23 0:11 / /data/fast rw - overlay overlay rw\n"
    )
    kinds = [
        None if (mount := mount_of(PurePosixPath(path), mounts)) is None else mount.file_system
        for path in ("/data/fast/x", "/data/faster", "/data", "/home", "relative")
    ]
    assert kinds == ["overlay", "nfs4", "nfs4", "ext4", None]


def test_a_folder_that_is_not_there_yet_is_judged_by_what_is(tmp_path: Path) -> None:
    """The nearest folder above answers for one that is still to be made."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(f"23 22 0:9 / {tmp_path} rw - cifs //server/share rw\n")
    found = read_place(tmp_path / "a" / "b", root=tmp_path)
    assert (found.path, found.file_system, found.writable) == (tmp_path / "a" / "b", "cifs", True)
    assert found.free_bytes is not None


def test_the_machine_is_read_from_its_files(tmp_path: Path) -> None:
    """Quota, throttling, free memory and governor come from the tree that is given."""
    files = {
        "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n",
        "proc/self/cgroup": "0::/a\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/a/cpu.stat": "nr_throttled 2\nthrottled_usec 30000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_machine(
        environ={"LOCAL_WORLD_SIZE": "2"},
        current=tmp_path,
        cache=None,
        devices=Devices(),
        root=tmp_path,
        process=ProcessLimits(affinity_cpus=3, open_files=256, open_files_most=4096),
    )
    assert min(limit.amount for limit in found.cpus) == found.environment.usable_cpus == 0.25
    assert found.memory == (InForce(amount=8 * GIB, source="physical memory / 2 local ranks"),)
    assert found.memory_available_bytes == GIB
    assert found.throttling == (Throttling(source="cgroup v2 /a cpu.stat", periods=2, seconds=0.03),)
    assert (found.local_ranks, found.governor, found.open_files_most) == (2, "powersave", 4096)


def test_the_command_exits_with_0_here(capsys: pytest.CaptureFixture[str]) -> None:
    """``loadtune doctor`` on this machine prints its CPUs, its /dev/shm and torch, and a sweep can run."""
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "A sweep can run here" in text
    assert all(f"  {topic} " in text for topic in ("CPUs", "host memory", "current folder", "cache folder", "torch"))


def test_the_command_exits_with_2_without_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch is missing, all is shown all the same, one sentence on stderr says so, and the exit is 2."""
    monkeypatch.setattr("loadtune.record.machine.read_machine", lambda **_: machine({"packages": {}}))
    assert main(["doctor"]) == 2
    seen = capsys.readouterr()
    assert "A sweep cannot run here: 1 bad" in seen.out
    assert seen.err.startswith("loadtune: a sweep cannot run here: torch is not installed\n")


def test_without_a_home_there_is_no_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """No home directory is no error: the folder is missing, and the checkup says so."""

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert doctor._cache_folder() is None


def test_the_doctor_does_not_import_torch() -> None:
    """Versions are those of the installed packages: neither torch nor pandas nor numpy is loaded."""
    program = (
        "import sys; from loadtune.cli.app import main; main(['doctor']);"
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, stdout=subprocess.DEVNULL)
