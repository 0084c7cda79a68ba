"""The parts of the parent process that need no trial: /proc parsers, messages, post-mortem, NVML."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from factories import make_probe
from loadtune.describe.config import LoaderConfig
from loadtune.judge.cause import confirmed
from loadtune.judge.remedy import advice
from loadtune.record.failure import FailureEvidence
from loadtune.record.machine import Device, Devices
from loadtune.run import memory, postmortem, stands
from loadtune.run.descriptors import OpenFiles
from loadtune.run.gpu import DeviceMemory, read_devices
from loadtune.run.host import TrialHost
from loadtune.run.memory import ProcessMemory, parse_rollup, tree
from loadtune.run.postmortem import Failure
from loadtune.run.protocol import Channel, Look, Looked
from loadtune.run.watch import Patience, Pulse

ROLLUP = b"""55d5c0e6b000-7ffd6a5e2000 ---p 00000000 00:00 0                          [rollup]
Rss:              884 kB
Pss:              385 kB
Pss_Dirty:         68 kB
Pss_Anon:          68 kB
Pss_File:         117 kB
Pss_Shmem:        200 kB
Private_Clean:     64 kB
Private_Dirty:     68 kB
Anonymous:         96 kB
"""


def test_rollup_is_read_to_the_byte() -> None:
    """385 kB of proportional set size, 200 kB of it shared memory, 132 kB private, as the kernel wrote them."""
    seen = parse_rollup(ROLLUP)
    assert (seen.pss, seen.pss_shmem, seen.private) == (385 * 1024, 200 * 1024, 132 * 1024)
    assert (seen.anonymous, seen.pss_anonymous, seen.private_anonymous) == (96 * 1024, 68 * 1024, 0)
    older = parse_rollup(ROLLUP.replace(b"Pss_Anon", b"Pss_Else"))  # kernels before 5.4
    assert older.pss_anonymous == (385 - 200) * 1024


def test_memory_of_this_process_is_read() -> None:
    """A process that holds 64 MiB more has a proportional set size at least 60 MiB larger."""
    before = memory.read_process(os.getpid())
    block = bytearray(os.urandom(1)) * (64 << 20)
    after = memory.read_process(os.getpid())
    assert before is not None
    assert after is not None
    assert after.pss - before.pss > 60 << 20
    del block


def test_a_process_that_is_gone_has_no_memory() -> None:
    """A process id that does not exist gives None and no exception."""
    assert memory.read_process(2**22 + 1) is None
    assert memory.descendants(2**22 + 1) == []


def test_pages_of_a_fork_are_held_once_and_allocated_by_each() -> None:
    """Of 90 MiB that host, main process and worker share a worker copies 30: 30 more are held, 60 shared still."""

    def process(private: int, shared: float, anonymous: int = 90) -> ProcessMemory:
        held = round((private + shared) * 2**20)
        return ProcessMemory(
            pss=held, pss_shmem=0, private=private << 20, anonymous=anonymous << 20, pss_anonymous=held,
            private_anonymous=private << 20,
        )  # fmt: skip

    before = tree(process(0, 30), [process(0, 30)], process(0, 30), shm=5 << 20, files=7)
    after = tree(process(0, 20 + 15), [process(30, 20)], process(0, 20 + 15), shm=5 << 20, files=7)
    assert (before.held >> 20, before.workers >> 20, before.main >> 20, before.shared >> 20) == (90, 90, 90, 90)
    assert (after.held >> 20, after.workers >> 20, after.main >> 20, after.shared >> 20) == (120, 90, 90, 60)
    assert (before.resident >> 20, before.shm >> 20, before.open_files) == (95, 5, 7)


@pytest.mark.parametrize(
    ("counts", "kind", "expected"),
    [
        ([20, 80, 250], "worker_killed", "open_files"),
        ([20, 80, 100], "worker_killed", "worker_killed"),  # far from the limit
        ([240, 245, 250], "worker_error", "worker_error"),  # many, and no more than before
        ([20, 250], "shm_full", "shm_full"),
        ([], "worker_killed", "worker_killed"),
    ],
)
def test_open_files_that_rose_to_the_limit_explain_a_failure(counts: list[int], kind: str, expected: str) -> None:
    """A symptom is put down to descriptors where their count rose past half of what is allowed; a cause stays."""
    evidence = OpenFiles(counts=counts).told(FailureEvidence(open_files=12, open_files_limit=256))
    config = LoaderConfig(batch_size=2, num_workers=2)
    found = confirmed(Failure(kind=kind, reason="EOFError"), evidence, config)
    assert found.kind == expected
    assert found.kind == kind or ("250 files open of 256 allowed" in found.reason and "EOFError" in found.reason)


def test_the_counts_that_decided_are_in_the_evidence_and_the_advice() -> None:
    """The advice has the worker's 250 open files that the reason has, and not the 12 of the main process."""
    evidence = OpenFiles(counts=[20, 80, 250]).told(FailureEvidence(open_files=12, open_files_limit=256))
    assert (evidence.open_files_first, evidence.open_files_last, evidence.open_files) == (20, 250, 12)
    config = LoaderConfig(batch_size=2, num_workers=2)
    assert "250 of 256 were open in one process" in advice("open_files", config, make_probe(), evidence)
    own = FailureEvidence(open_files=251, open_files_limit=256, open_files_first=20, open_files_last=250)
    assert "251 of 256 were open in the process that takes" in advice("open_files", config, make_probe(), own)


@pytest.mark.parametrize(("cost", "counts"), [(0.001, 20), (0.02, 3)])
def test_counting_open_files_costs_a_core_a_two_hundredth_at_most(cost: float, counts: int) -> None:
    """In 10 s a count of 1 ms is made each half second, and one of 20 ms each 4 s."""
    now = 0.0

    def read(pid: int) -> int:
        nonlocal now
        now += cost
        return pid

    files = OpenFiles(clock=lambda: now, read=read)
    for glance in range(100):
        now = max(now, glance / 10)
        files.glance(7)
    assert abs(len(files.counts) - counts) <= 1
    assert (len(files.counts) - 1) * cost <= 10 / 200


def test_messages_arrive_whole_and_a_closed_line_is_known() -> None:
    """What is sent is received with its type; silence is None; a closed other end raises EOFError."""
    here, socket = Channel.pair()
    with here:
        with Channel(socket) as there:
            here.send(Look(batches=7))
            there.send(Looked())
            assert there.receive() == Look(batches=7)
            assert here.receive() == Looked()
            assert here.receive(timeout=0.01) is None
        with pytest.raises(EOFError):
            here.receive()


@pytest.mark.parametrize(
    ("type_name", "message", "kind"),
    [
        ("RuntimeError", "unable to allocate shared memory(shm) for file </torch_1>", "shm_full"),
        ("RuntimeError", "DataLoader worker (pid 1) is killed by signal: Bus error. It is possible ...", "shm_full"),
        ("RuntimeError", "DataLoader worker (pid 1) is killed by signal: Killed. ", "worker_killed"),
        ("RuntimeError", "Too many open files. Communication with the workers is no longer possible.", "open_files"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes", "host_oom"),
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", "device_oom"),
        ("AttributeError", "Can't pickle local object 'build.<locals>.<lambda>'", "pickle"),
        (
            "ValueError",
            "Caught ValueError in DataLoader worker process 0.\nOriginal ...\nValueError: x",
            "worker_error",
        ),
        ("RuntimeError", "CUDA error: out of memory", "device_oom"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "device_oom"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "library"),
        ("RuntimeError", "GET was unable to find an engine to execute this computation", "library"),
        ("RuntimeError", "CUDA error: invalid configuration argument", "size_limit"),
        ("RuntimeError", "Expected canUse32BitIndexMath(input) to be true, but got false.", "size_limit"),
        ("OSError", "[WinError 1455] The paging file is too small for this operation to complete", "host_oom"),
        (
            "RuntimeError",
            (
                "An attempt has been made to start a new process before the current process has finished "
                "its bootstrapping phase."
            ),
            "main_guard",
        ),
        ("EOFError", "Ran out of input", "pickle"),
        ("RuntimeError", "DataLoader timed out after 5.0 seconds", "hung"),
        ("ValueError", "Expected more than 1 value per channel when training, got input size [1, 64]", "last_batch"),
        ("RuntimeError", "CUDA error: device-side assert triggered", "user_error"),
        ("ValueError", "bad luck", "user_error"),
    ],
)
def test_messages_are_sorted_by_what_caused_them(type_name: str, message: str, kind: str) -> None:
    """Each message that torch or the kernel words is known by its kind."""
    assert postmortem.explain_exception(type_name, message).kind == kind


def test_a_death_by_signal_is_named() -> None:
    """A wait status of 9 is SIGKILL, and the last words on stderr are in the reason."""
    found = postmortem.explain_status(signal.SIGKILL, "warning\nlast words\n")
    assert (found.kind, "SIGKILL" in found.reason, "last words" in found.reason) == ("trial_killed", True, True)


def test_words_of_workers_whose_trial_died_are_no_cause() -> None:
    """Pipes of workers break when the measuring process is killed: it was killed, and no worker is to blame."""
    words = "Traceback (most recent call last):\nConnectionResetError: [Errno 104] Connection reset by peer\n"
    assert postmortem.explain_status(signal.SIGKILL, words).kind == "trial_killed"
    full = "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>\n"
    assert postmortem.explain_status(signal.SIGKILL, full + words).kind == "shm_full"


def test_a_trial_host_is_tied_to_its_parent_before_it_imports_torch() -> None:
    """Seconds of importing would be seconds in which it outlives a parent that was killed."""
    script = "import sys, loadtune.run.trial_host; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


class ScriptedNvml:
    """Stands in for the pynvml module."""

    def __init__(self, *, fails_at: str | None = None) -> None:
        self.fails_at = fails_at
        self.asked: list[str] = []

    def _call(self, name: str) -> None:
        if self.fails_at == name:
            raise RuntimeError(name)

    def nvmlInit(self) -> None:
        self._call("init")

    def nvmlDeviceGetCount(self) -> int:
        self._call("count")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"handle of GPU-{index + 1}"

    def nvmlDeviceGetName(self, handle: str) -> bytes | str:
        self._call("name")
        return b"NVIDIA Old" if handle.endswith("1") else "NVIDIA New"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self._call("handle")
        self.asked.append(uuid)
        return f"handle of {uuid}"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        self._call("info")
        if handle != "handle of GPU-2":
            raise RuntimeError("Not Supported")
        return type("Info", (), {"used": 5 << 30, "total": 80 << 30})


def test_the_device_is_found_by_uuid() -> None:
    """Memory is read from the device of that UUID, whatever its index."""
    nvml = ScriptedNvml()
    assert DeviceMemory("GPU-2", nvml).used_bytes() == 5 << 30
    assert nvml.asked == ["GPU-2"]


@pytest.mark.parametrize("fails_at", ["init", "handle", "info"])
def test_nvml_that_fails_gives_none(fails_at: str) -> None:
    """A missing driver, an unknown device and a refused reading are None each, never an exception."""
    assert DeviceMemory("GPU-2", ScriptedNvml(fails_at=fails_at)).used_bytes() is None
    assert DeviceMemory(None).used_bytes() is None


def test_devices_are_listed_with_their_memory() -> None:
    """Every device is there by name, with its memory where the driver tells it."""
    old = Device(name="NVIDIA Old", total_bytes=None, used_bytes=None)
    new = Device(name="NVIDIA New", total_bytes=80 << 30, used_bytes=5 << 30)
    assert read_devices(ScriptedNvml()) == Devices(found=(old, new))


@pytest.mark.parametrize("fails_at", ["init", "count", "name"])
def test_devices_that_cannot_be_listed_say_why(fails_at: str) -> None:
    """A driver that does not answer is no device, with what it said."""
    assert read_devices(ScriptedNvml(fails_at=fails_at)) == Devices(missing=f"NVML does not answer ({fails_at})")


def test_without_nvml_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed, that is what is said."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_devices() == Devices(missing="the package nvidia-ml-py is not installed")


class ScriptedHost(TrialHost):
    """Its trials have taken the batches that it is told."""

    def __init__(self) -> None:
        self.taken = 100

    def beats(self) -> int:
        return self.taken


def test_a_stall_is_a_third_of_the_timeout_without_a_batch_once_one_came() -> None:
    """With 60 s it is no batch for more than 20 s; before the first batch all 60 s are the trial's own."""
    host = ScriptedHost()
    pulse, patience = Pulse(host, now=0.0), Patience(60.0, 1000.0)
    assert pulse.stalled_seconds(59.0, patience) is None
    pulse = Pulse(host, now=0.0)
    host.taken = 101
    assert pulse.stalled_seconds(1.0, patience) is None
    assert pulse.stalled_seconds(21.0, patience) is None
    assert pulse.stalled_seconds(21.5, patience) == 20.5
    assert pulse.batches == 1


def test_a_loader_that_always_was_slow_has_not_stalled() -> None:
    """Batches of 5 s: it is no stall before 50 s without one."""
    host = ScriptedHost()
    pulse, patience = Pulse(host, now=0.0), Patience(60.0, 1000.0)
    host.taken = 101
    assert pulse.stalled_seconds(5.0, patience) is None
    assert pulse.stalled_seconds(54.9, patience) is None
    assert pulse.stalled_seconds(55.1, patience) == pytest.approx(50.1)


DATA_SET = "/home/me/data.py"
LIBRARY = sysconfig.get_path("stdlib")
ANSWER = f"""Thread 0x00007f50 (most recent call first):
  File "/usr/lib/python3/threading.py", line 12 in wait

Current thread 0x00007f51 (most recent call first):
  File "{LIBRARY}/json/decoder.py", line 355 in raw_decode
  File "{DATA_SET}", line 31 in __getitem__
  File "{LIBRARY}/site-packages/torch/utils/data/_utils/fetch.py", line 54 in fetch
"""


def test_a_stand_is_the_innermost_line_of_the_users_own() -> None:
    """Not the library's that it called, nor that of a thread beside it."""
    stand = stands.parse(7, ANSWER + '{"worker": 3, "sample": "1042", "batch": "[1040, 1042]"}\n')
    assert str(stand) == "worker 3 stood at sample 1042, in data.py:31 (__getitem__)"
    assert (stand.pid, stand.loading) == (7, True)


def test_a_checkout_named_like_this_package_is_the_users_own() -> None:
    """A data set in a folder ``loadtune`` is named; a frame of the package itself is not."""
    own = f"{Path(stands.__file__).parents[1]}/measure/alone.py"
    answer = ANSWER.replace(DATA_SET, "/home/me/loadtune/data.py").replace(f"{LIBRARY}/json/decoder.py", own)
    assert stands.parse(7, answer).place == "data.py:31 (__getitem__)"


def test_a_stand_at_a_name_that_is_no_text_can_be_written() -> None:
    """An answer of JSON may hold halves of characters, which no file of a run could."""
    assert stands.parse(7, ANSWER + '{"worker": 3, "sample": "caf\\udce9.jpg"}\n').sample == "caf?.jpg"


def test_a_process_stuck_in_c_code_still_gives_its_stack() -> None:
    """Python's handler never ran, so that neither worker nor sample is known; the line is."""
    stand = stands.parse(7, ANSWER)
    assert (stand.worker, stand.sample, stand.loading) == (None, None, True)
    assert stand.place == "data.py:31 (__getitem__)"


def test_a_stand_in_an_answer_that_is_torn_is_not_known() -> None:
    """What is there is kept."""
    stand = stands.parse(7, "Current thr")
    assert (stand.place, stand.loading, stand.stack) == ("a place that is not known", False, "Current thr")
