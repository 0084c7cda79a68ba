"""The limits really in force, found in file trees made for the purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtune.describe.plan import Limits
from loadtune.errors import UsageError
from loadtune.record import cgroups, environment, limits, mounts
from loadtune.record.cgroups import Throttling
from loadtune.record.environment import read_environment, resolve_limits
from loadtune.record.limits import ProcessLimits
from loadtune.record.results import Environment, MemoryLimits
from loadtune.units import Size, parse_size

GIB = 2**30
V1_UNLIMITED = "9223372036854771712\n"
V2_MOUNT = "30 23 0:26 {root} {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "31 23 0:27 {root} /sys/fs/cgroup/{name} rw shared:9 - cgroup cgroup rw,{controllers}\n"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test run on a machine of eight CPUs."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write files under a root, which has 16 GiB of memory when they say nothing else."""
    for name, text in {"proc/meminfo": f"MemTotal:       {16 * 2**20} kB\nMemFree: 5 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(group: str, *, mount_root: str = "/", point: str = "/sys/fs/cgroup") -> dict[str, str]:
    return {
        "proc/self/cgroup": f"0::{group}\n",
        "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + V2_MOUNT.format(root=mount_root, point=point),
    }


def v1(group: str, *, mount_root: str = "/") -> dict[str, str]:
    mounts = (("memory", "memory"), ("cpu,cpuacct", "cpu,cpuacct"))
    return {
        "proc/self/cgroup": f"12:pids:/other\n5:memory:{group}\n4:cpu,cpuacct:{group}\n1:name=systemd:/init\n",
        "proc/self/mountinfo": "".join(
            V1_MOUNT.format(root=mount_root, name=name, controllers=controllers) for name, controllers in mounts
        ),
    }


def read(root: Path, environ: dict[str, str] | None = None, process: ProcessLimits | None = None) -> Environment:
    return read_environment(environ=environ, root=root, process=process or ProcessLimits())


def memory(found: Environment) -> tuple[int, str]:
    return found.host_memory_limit_bytes, found.host_memory_limit_source


def cpus(found: Environment) -> tuple[float, str]:
    return found.usable_cpus, found.usable_cpus_source


def test_without_limits_the_machine_itself_is_the_limit(tmp_path: Path) -> None:
    """No cgroup, no batch system: physical memory and all logical CPUs, and they are named."""
    found = read(tree(tmp_path, {}))
    assert memory(found) == (16 * GIB, "physical memory")
    assert cpus(found) == (8, "logical CPUs")


def test_v2_limits_of_the_own_group(tmp_path: Path) -> None:
    """memory.max and cpu.max of the innermost group count."""
    files = {"sys/fs/cgroup/a/b/memory.max": f"{2 * GIB}\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}
    found = read(tree(tmp_path, {**v2("/a/b"), **files}))
    assert memory(found) == (2 * GIB, "cgroup v2 /a/b memory.max")
    assert cpus(found) == (0.5, "cgroup v2 /a/b cpu.max")


def test_v2_limit_set_only_in_an_ancestor(tmp_path: Path) -> None:
    """A limit two levels up bounds the process just as well, and a looser one inside does not hide it."""
    files = {
        "sys/fs/cgroup/a/memory.max": f"{GIB}\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/b/c/memory.max": f"{4 * GIB}\n",
        "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/a/b/c/cpu.max": "max 100000\n",
    }
    found = read(tree(tmp_path, {**v2("/a/b/c"), **files}))
    assert memory(found) == (GIB, "cgroup v2 /a memory.max")
    assert cpus(found) == (1.5, "cgroup v2 /a cpu.max")


def test_v1_limits_of_group_and_ancestor(tmp_path: Path) -> None:
    """Version 1: each controller has a hierarchy of its own, cpu shares one with cpuacct."""
    files = {
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": V1_UNLIMITED,
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{3 * GIB}\n",
        "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
    }
    found = read(tree(tmp_path, {**v1("/a/b"), **files}))
    assert memory(found) == (3 * GIB, "cgroup v1 /a memory.limit_in_bytes")
    assert cpus(found) == (2.5, "cgroup v1 /a cpu.cfs_quota_us")


def test_v1_limit_of_an_ancestor_outside_the_container(tmp_path: Path) -> None:
    """hierarchical_memory_limit tells of ancestors that a container does not see."""
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": V1_UNLIMITED,
        "sys/fs/cgroup/memory/memory.stat": f"cache 7\nhierarchical_memory_limit {GIB}\n",
    }
    found = read(tree(tmp_path, {**v1("/docker/1f", mount_root="/docker/1f"), **files}))
    assert memory(found) == (GIB, "cgroup v1 / memory.stat hierarchical_memory_limit")


@pytest.mark.parametrize("unlimited", [V1_UNLIMITED, "9223372036854710272\n", "-1\n", "", "junk\n", "0\n"])
def test_unlimited_values_of_v1_are_no_limit(tmp_path: Path, unlimited: str) -> None:
    """The huge number of any page size, and text that is no number, leave physical memory as the limit."""
    files = {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": unlimited}
    assert memory(read(tree(tmp_path, {**v1("/a"), **files}))) == (16 * GIB, "physical memory")


@pytest.mark.parametrize(
    ("group", "mount_root"),
    [("/../..", "/"), ("/../other", "/"), ("/", "/../.."), ("/docker/1f", "/docker/1f"), ("/elsewhere", "/docker/1f")],
)
def test_namespaced_paths_fall_back_to_the_mount(tmp_path: Path, group: str, mount_root: str) -> None:
    """Where the path cannot be followed from the mount, the mount point is the group that bounds the process."""
    files = {"sys/fs/cgroup/memory.max": f"{GIB}\n", "sys/fs/other/memory.max": "1\n", "sys/memory.max": "1\n"}
    found = read(tree(tmp_path, {**v2(group, mount_root=mount_root), **files}))
    assert memory(found) == (GIB, "cgroup v2 / memory.max")


def test_cgroups_mounted_elsewhere_with_a_space_in_the_name(tmp_path: Path) -> None:
    """The mount point is read from mountinfo, its octal escapes undone."""
    files = {"mnt/my groups/a/memory.max": f"{GIB}\n"}
    found = read(tree(tmp_path, {**v2("/a", point=r"/mnt/my\040groups"), **files}))
    assert memory(found) == (GIB, "cgroup v2 /a memory.max")


def test_both_versions_at_once(tmp_path: Path) -> None:
    """On a hybrid machine either version may hold the limit; the least of all is in force."""
    one, two = v1("/a"), v2("/b", point="/sys/fs/cgroup/unified")
    both = {name: one[name] + two[name] for name in one}
    files = {
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{4 * GIB}",
        "sys/fs/cgroup/unified/b/memory.max": f"{3 * GIB}",
    }
    assert memory(read(tree(tmp_path, {**both, **files}))) == (3 * GIB, "cgroup v2 /b memory.max")


def test_affinity_and_rlimits_bound_the_process(tmp_path: Path) -> None:
    """Affinity (taskset) and ulimit -v count, and the limit of open files is passed on."""
    process = ProcessLimits(affinity_cpus=3, address_space_bytes=5 * GIB, open_files=256)
    found = read(tree(tmp_path, {}), process=process)
    assert cpus(found) == (3, "CPU affinity")
    assert memory(found) == (5 * GIB, "RLIMIT_AS (ulimit -v)")
    assert found.open_files_limit == 256


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "2048"}, (2 * GIB, "SLURM_MEM_PER_NODE")),
        ({"SLURM_MEM_PER_NODE": "0"}, (16 * GIB, "physical memory")),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "3"}, (3 * GIB, "SLURM_MEM_PER_CPU × 3 CPUs")),
        ({"SLURM_MEM_PER_GPU": "1024", "SLURM_GPUS_ON_NODE": "2"}, (2 * GIB, "SLURM_MEM_PER_GPU × 2 GPUs")),
        ({"SLURM_MEM_PER_CPU": "1024"}, (16 * GIB, "physical memory")),
        ({"SLURM_MEM_PER_NODE": "12G?"}, (16 * GIB, "physical memory")),
    ],
)
def test_slurm_memory(tmp_path: Path, environ: dict[str, str], expected: tuple[int, str]) -> None:
    """The memory that SLURM allots counts, in its unit of MiB; what it does not say is no limit."""
    assert memory(read(tree(tmp_path, {}), environ)) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "4"}, (4, "SLURM_CPUS_PER_TASK")),
        ({"SLURM_CPUS_ON_NODE": "6"}, (6, "SLURM_CPUS_ON_NODE")),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_CPUS_PER_TASK": "2"}, (2, "SLURM_CPUS_PER_TASK")),
        ({"SLURM_CPUS_PER_TASK": "4", "LOCAL_WORLD_SIZE": "2"}, (2, "SLURM_CPUS_PER_TASK / 2 local ranks")),
        ({"SLURM_CPUS_PER_TASK": "64"}, (8, "logical CPUs")),
        ({"SLURM_CPUS_PER_TASK": "0"}, (8, "logical CPUs")),
        ({"SLURM_CPUS_PER_TASK": "many"}, (8, "logical CPUs")),
        ({"LOCAL_WORLD_SIZE": "0"}, (8, "logical CPUs")),
        ({"LOCAL_WORLD_SIZE": "1"}, (8, "logical CPUs")),
    ],
)
def test_slurm_cpus(tmp_path: Path, environ: dict[str, str], expected: tuple[float, str]) -> None:
    """CPUs that SLURM allots to the task or to the job on this machine bound the workers; what is no count does not."""
    assert cpus(read(tree(tmp_path, {}), environ)) == expected


def test_the_quota_of_local_ranks_may_be_less_than_a_cpu(tmp_path: Path) -> None:
    """1.5 CPUs for four ranks are 0.375 CPU each."""
    found = read(tree(tmp_path, {**v2("/a"), "sys/fs/cgroup/a/cpu.max": "150000 100000"}), {"LOCAL_WORLD_SIZE": "4"})
    assert cpus(found) == (0.375, "cgroup v2 /a cpu.max / 4 local ranks")


def test_every_candidate_is_named_in_order(tmp_path: Path) -> None:
    """All bounds are told with their sources, the machine's own first, groups from the innermost outwards."""
    files = {"sys/fs/cgroup/a/b/cpu.max": "300000 100000", "sys/fs/cgroup/a/cpu.max": "150000 100000"}
    root = tree(tmp_path, {**v2("/a/b"), **files})
    found = limits.cpu_limits({"SLURM_CPUS_PER_TASK": "5"}, root=root, process=ProcessLimits(affinity_cpus=7))
    assert [(one.amount, one.source) for one in found] == [
        (8, "logical CPUs"),
        (7, "CPU affinity"),
        (3.0, "cgroup v2 /a/b cpu.max"),
        (1.5, "cgroup v2 /a cpu.max"),
        (5, "SLURM_CPUS_PER_TASK"),
    ]
    assert limits.least(found).source == "cgroup v2 /a cpu.max"


V2_STAT = "usage_usec 9\nnr_periods 40\nnr_throttled {periods}\nthrottled_usec {usec}\n"
V1_STAT = "nr_periods 40\nnr_throttled {periods}\nthrottled_time {nsec}\nnr_bursts 0\nburst_time 0\n"


def test_throttling_of_v2_is_read_from_group_and_ancestors(tmp_path: Path) -> None:
    """Microseconds of each group that counts; the topmost group has usage alone and is left out."""
    files = {
        "sys/fs/cgroup/a/b/cpu.stat": V2_STAT.format(periods=0, usec=0),
        "sys/fs/cgroup/a/cpu.stat": V2_STAT.format(periods=7, usec=1_250_000),
        "sys/fs/cgroup/cpu.stat": "usage_usec 9\n",
    }
    assert cgroups.throttling(tree(tmp_path, {**v2("/a/b"), **files})) == (
        Throttling(source="cgroup v2 /a/b cpu.stat", periods=0, seconds=0.0),
        Throttling(source="cgroup v2 /a cpu.stat", periods=7, seconds=1.25),
    )


def test_throttling_of_v1_is_read_in_nanoseconds(tmp_path: Path) -> None:
    """Version 1 calls it throttled_time and counts nanoseconds."""
    files = {"sys/fs/cgroup/cpu,cpuacct/a/cpu.stat": V1_STAT.format(periods=3, nsec=500_000_000)}
    assert cgroups.throttling(tree(tmp_path, {**v1("/a"), **files})) == (
        Throttling(source="cgroup v1 /a cpu.stat", periods=3, seconds=0.5),
    )


@pytest.mark.parametrize("text", [None, "", "usage_usec 9\n", "nr_throttled 3\n", "nr_throttled x\nthrottled_usec 4\n"])
def test_a_group_without_counters_tells_nothing(text: str | None) -> None:
    """Missing files, lines and numbers give None and no zero."""
    assert cgroups.parse_throttling(text, "here") is None


def test_what_was_throttled_meanwhile_is_that_of_the_tightest_group() -> None:
    """The largest growth of any group counts; two groups at once are one wait, and no group is None, not 0."""

    def counters(**seconds: float) -> list[Throttling]:
        return [Throttling(source=name, periods=0, seconds=value) for name, value in seconds.items()]

    assert cgroups.throttled_between(counters(a=1.0, b=5.0), counters(a=3.5, b=6.0)) == 2.5
    assert cgroups.throttled_between(counters(a=1.0), counters(a=1.0)) == 0.0
    assert cgroups.throttled_between(counters(a=1.0), counters(b=9.0)) is None
    assert cgroups.throttled_between([], counters(a=1.0)) is None
    assert cgroups.throttled_between(counters(a=5.0), counters(a=1.0)) == 0.0


def test_local_ranks_share_the_machine_but_not_a_limit_of_each(tmp_path: Path) -> None:
    """Shared limits are divided by LOCAL_WORLD_SIZE; the address space is each process's own and is not."""
    ranks = {"LOCAL_WORLD_SIZE": "4"}
    found = read(tree(tmp_path, {}), ranks)
    assert memory(found) == (4 * GIB, "physical memory / 4 local ranks")
    assert cpus(found) == (2, "logical CPUs / 4 local ranks")
    own = read(tmp_path, ranks, ProcessLimits(address_space_bytes=2 * GIB))
    assert memory(own) == (2 * GIB, "RLIMIT_AS (ulimit -v)")


@given(limits=st.lists(st.one_of(st.none(), st.integers(1, 20 * GIB)), min_size=1, max_size=6))
def test_the_least_limit_of_any_depth_is_in_force(
    tmp_path_factory: pytest.TempPathFactory, limits: list[int | None]
) -> None:
    """Whatever limits a chain of groups has, the least of them and of physical memory is reported."""
    group, files = "", {}
    for depth, limit in enumerate(limits):
        group += f"/g{depth}"
        files[f"sys/fs/cgroup{group}/memory.max"] = "max" if limit is None else str(limit)
    found = read(tree(tmp_path_factory.mktemp("tree"), {**v2(group), **files}))
    assert found.host_memory_limit_bytes == min([16 * GIB, *(limit for limit in limits if limit is not None)])


@given(text=st.text(max_size=200))
def test_parsers_take_any_text(text: str) -> None:
    """A kernel or sandbox that writes something else gives no limit, never a crash."""
    cgroups.parse_memberships(text)
    mounts.parse_mounts(text)
    cgroups.parse_limit(text)
    cgroups.parse_quota(text)


def test_unreachable_mounts_are_left_out(tmp_path: Path) -> None:
    """A mount outside the process's root has no path that could be followed."""
    files = v2("/a", point="(unreachable)/sys/fs/cgroup")
    assert memory(read(tree(tmp_path, files))) == (16 * GIB, "physical memory")


@given(quota=st.integers(1, 10**9), period=st.integers(1, 10**7))
def test_quota_is_quota_over_period(quota: int, period: int) -> None:
    """A quota in CPUs is time granted over period."""
    assert cgroups.parse_quota(f"{quota} {period}\n") == pytest.approx(quota / period)


def test_fields_read_from_proc(tmp_path: Path) -> None:
    """The processor's name and the load come from /proc, the size of /dev/shm from the file system there."""
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 7B12\nmodel name\t: AMD EPYC 7B12\n",
        "proc/loadavg": "0.52 0.40 0.30 1/200 4242\n",
        "dev/shm/x": "",
    }
    found = read(tree(tmp_path, files))
    assert found.cpu_model == "AMD EPYC 7B12"
    assert found.load_average == 0.52
    assert found.shm_total_bytes is not None
    assert found.shm_free_bytes is not None
    assert 0 <= found.shm_free_bytes <= found.shm_total_bytes


def test_a_machine_without_proc_still_has_an_environment(tmp_path: Path) -> None:
    """Without /proc, /sys and /dev/shm (macOS) psutil gives the memory, and what is unknown is None."""
    found = read(tmp_path)
    assert found.host_memory_limit_bytes > 0
    assert found.host_memory_limit_source == "physical memory"
    assert (found.shm_total_bytes, found.shm_free_bytes, found.open_files_limit) == (None, None, None)
    assert found.cpu_model


def test_this_machine_can_be_read() -> None:
    """With nothing passed in, the real machine answers within its own bounds."""
    found = read_environment(accelerators=("NVIDIA H200",))
    assert 0 < found.usable_cpus <= found.logical_cpus
    assert found.host_memory_limit_bytes > 2**20
    assert found.accelerators == ("NVIDIA H200",)
    assert "torch" in found.packages
    assert found.packages["numpy"]


def test_reading_the_environment_does_not_import_torch() -> None:
    """The parent process names torch's version without importing it."""
    code = (
        "import sys; from loadtune.record.environment import read_environment; e = read_environment();"
        "assert 'torch' in e.packages; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_absent_package_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that is not installed has no version, and no entry."""
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package-at-all"))
    assert list(read(tree(tmp_path, {})).packages) == ["numpy"]


@pytest.fixture
def machine(tmp_path: Path) -> Environment:
    """Return a machine with a limit of 8 GiB in force."""
    return replace(read(tree(tmp_path, {})), host_memory_limit_bytes=8 * GIB)


@pytest.mark.parametrize(
    ("asked", "host"),
    [(None, 8 * GIB), ("50%", 4 * GIB), ("100%", 8 * GIB), ("2GiB", 2 * GIB), ("64GiB", 8 * GIB)],
)
def test_host_limit_is_never_above_what_is_in_force(machine: Environment, asked: str | None, host: int) -> None:
    """A share is of the limit in force, a larger size is lowered to it, and nothing asked for is the limit itself."""
    size = None if asked is None else parse_size(asked)
    assert resolve_limits(Limits(host_memory=size), environment=machine) == MemoryLimits(host_memory_bytes=host)


@pytest.mark.parametrize(
    ("asked", "gpu"), [(None, 80 * GIB), ("50%", 40 * GIB), ("20GiB", 20 * GIB), ("1TiB", 80 * GIB)]
)
def test_device_limit_is_of_the_devices_memory(machine: Environment, asked: str | None, gpu: int) -> None:
    """The same for the device that batches go to."""
    limits = Limits(gpu_memory=None if asked is None else parse_size(asked))
    found = resolve_limits(limits, environment=machine, accelerator_memory_bytes=80 * GIB)
    assert found == MemoryLimits(host_memory_bytes=8 * GIB, gpu_memory_bytes=gpu)


def test_device_limit_without_a_device_is_a_usage_error(machine: Environment) -> None:
    """--gpu-memory on a machine without an accelerator is refused, not ignored."""
    with pytest.raises(UsageError, match="--gpu-memory needs an accelerator"):
        resolve_limits(Limits(gpu_memory=Size(share=0.9)), environment=machine)
