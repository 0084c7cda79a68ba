"""From what a trial said and what was seen of it to its kind, its reason and the next step: every class of failure."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, default_collate, default_convert

from factories import make_probe
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer as ConsumerPlan
from loadtune.explain import pages
from loadtune.judge.cause import confirmed, with_alone
from loadtune.judge.remedy import advice, first_step
from loadtune.measure import aftermath
from loadtune.measure.alone import Suspects
from loadtune.measure.consumer import Consumer
from loadtune.measure.given import Given, Noted
from loadtune.record import oom
from loadtune.record.failure import Aftermath, Alone, Failure, FailureEvidence, ProcessEnd
from loadtune.run import postmortem

MIB, GIB = 2**20, 2**30
FOUR = LoaderConfig(batch_size=16, num_workers=4)
CAUGHT = (
    'Caught {0} in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n  File "d.py", line 3\n'
)


def in_worker(type_name: str, message: str) -> tuple[str, str]:
    """Return an exception as torch hands it on from a worker."""
    return type_name, f"{CAUGHT.format(type_name)}    source('CUDA out of memory')\n{type_name}: {message}\n"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (in_worker("RuntimeError", "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on "
                   "device (28)"), "shm_full"),
        (("RuntimeError", ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
          "workers are out of shared memory. Please try to raise your shared memory limit.")), "shm_full"),
        (("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed. "), "worker_killed"),
        (in_worker("OSError", "[Errno 12] Cannot allocate memory"), "host_oom"),
        (("RuntimeError", ("[enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: "
          "you tried to allocate 4 bytes. Error code 12 (Cannot allocate memory)")), "host_oom"),
        (("RuntimeError", "[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 b."),
         "host_oom"),
        (in_worker("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 8.00 TiB for an array with shape "
                   "(1099511627776,) and data type float64"), "host_oom"),
        (("MemoryError", ""), "host_oom"),
        (("OutOfMemoryError", "HIP out of memory. Tried to allocate 2.00 GiB"), "device_oom"),
        (("RuntimeError", "XPU out of memory. Tried to allocate 2.00 GiB"), "device_oom"),
        (("RuntimeError", "MPS backend out of memory (MPS allocated: 4 GB)"), "device_oom"),
        (("AcceleratorError", "CUDA error: out of memory\nCUDA kernel errors might be asynchronously"), "device_oom"),
        (("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "device_oom"),
        (("RuntimeError", "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), "library"),
        (("RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), "library"),
        (("AcceleratorError", ("Caught AcceleratorError in pin memory thread for device 0.\nAcceleratorError: CUDA "
          "error: out of memory")), "pin_memory"),
        (("RuntimeError", "Pin memory thread exited unexpectedly"), "pin_memory"),
        (("RuntimeError", "nonzero is not supported for tensors with more than INT_MAX elements"), "size_limit"),
        (("AcceleratorError", "CUDA error: an illegal memory access was encountered"), "user_error"),
        (("RuntimeError", "received 0 items of ancdata"), "open_files"),
        (("RuntimeError", ("unable to open shared memory object </torch_1_2_0> in read-write mode: Too many open files "
          "(24)")), "open_files"),
        (in_worker("OSError", "[Errno 24] Too many open files: 'a.png'"), "open_files"),
        (("TypeError", "cannot pickle 'generator' object"), "pickle"),
        (("PicklingError", "Can't pickle <function <lambda> at 0x7f>: attribute lookup on d failed"), "pickle"),
        (("RuntimeError", "Got pickle error when attempting to start a worker Process."), "pickle"),
        (("RuntimeError", ("Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must "
          "use the 'spawn' start method")), "cuda_in_worker"),
        (("RuntimeError", "DataLoader worker (pid(s) 3, 4) exited unexpectedly"), "worker_error"),
        (("RuntimeError", ("DataLoader worker (pid 3) exited unexpectedly with exit code 1. Details are lost due to "
          "multiprocessing.")), "worker_error"),
        (in_worker("EOFError", "Ran out of input"), "worker_error"),
        (in_worker("TypeError", "cannot pickle '_thread.lock' object"), "worker_error"),
        (in_worker("ConnectionResetError", "[Errno 104] Connection reset by peer"), "worker_error"),
        (("EOFError", "a truncated picture"), "user_error"),
        (("AssertionError", "daemonic processes are not allowed to have children"), "environment"),
        (("RuntimeError", "can't start new thread"), "environment"),
        (("UserWarning", ("Length of IterableDataset <d.Mine object> was reported to be 10(when accessing "
          "len(dataloader)), but 11 samples have been fetched. ")), "shards"),
        (("RuntimeError", ("Too many dataloader workers: 8 (max is dataset.num_shards=2). Stopping 6 dataloader "
          "workers.")), "shards"),
        (("RuntimeError", "the data set ended: a worker's share of it is empty"), "shards"),
        (("ValueError", "not enough values to unpack (expected 2, got 0)"), "user_error"),
        (("AssertionError", "can only test a child process"), "user_error"),
    ],
)  # fmt: skip
def test_each_message_has_its_kind(raised: tuple[str, str], kind: str) -> None:
    """The real words of torch, numpy, Python and the kernel: those of the consumer, and of a worker as handed on."""
    assert postmortem.explain_exception(*raised).kind == kind


@pytest.mark.parametrize(
    "raised",
    [
        in_worker("MemoryError", "no, this is not CUDA out of memory"),
        in_worker("OSError", "[Errno 12] Cannot allocate memory: CUDA out of memory, says the log"),
        in_worker("ValueError", "the label is 'CUDA error: out of memory'"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory after OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_words_about_the_device_in_a_failure_of_the_host_make_it_none_of_the_devices(raised: tuple[str, str]) -> None:
    """A host failure that quotes an accelerator's message, or has it in its source, is not a batch too big."""
    assert postmortem.explain_exception(*raised).kind in ("host_oom", "worker_error")


def test_nothing_from_the_pinning_thread_is_known_by_torchs_own_line() -> None:
    """The same ValueError is pin_memory where torch takes a batch, and the data set's mistake elsewhere."""
    words = "not enough values to unpack (expected 2, got 0)"
    line = f"    idx, data = self._get_data()\n                ^^^^^^^^^\nValueError: {words}"
    assert postmortem.explain_exception("ValueError", words, traceback=line).kind == "pin_memory"


def trace(file: str, function: str, last: str) -> str:
    """Return a traceback whose innermost frame is that one."""
    return (
        'Traceback (most recent call last):\n  File "/mine.py", line 3, in run\n    go()\n'
        f'  File "{file}", line 7, in {function}\n    what(it)\n    ^^^^^^^^\n{last}\n'
    )


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (("AssertionError", "daemonic processes are not allowed to have children"), "worker_error"),
        (("BlockingIOError", "[Errno 11] Resource temporarily unavailable"), "worker_error"),
        (("RuntimeError", "can't start new thread"), "environment"),
        (("OSError", "[Errno 28] No space left on device: '/data/cache/meshmap/1.npy'"), "worker_error"),
        (("OSError", "[Errno 28] No space left on device: '/dev/shm/cache/1.npy'"), "shm_full"),
        (("ValueError", "invalid configuration argument 'crop'"), "worker_error"),
        (("ValueError", "a picture of 3 GiB is larger than INT_MAX"), "worker_error"),
        (("RuntimeError", "i2c: Bus error"), "worker_error"),
        (("CalledProcessError", "Command 'ffmpeg' died with <Signals.SIGBUS: 7>."), "worker_error"),
        (("OperationalError", "out of shared memory"), "worker_error"),
    ],
)
def test_words_of_a_data_set_are_not_taken_for_those_of_torch_or_the_kernel(raised: tuple[str, str], kind: str) -> None:
    """A sample that starts processes, waits for a lock, fills a disk or rejects an argument is its own mistake."""
    assert postmortem.explain_exception(*in_worker(*raised)).kind == kind
    alone = Aftermath(is_loading=True, sample="3")
    own = kind if kind != "worker_error" else "user_error"
    here = trace("/mine.py", "__getitem__", ": ".join(raised))
    assert postmortem.explain_exception(*raised, traceback=here, aftermath=alone, num_workers=0).kind == own


@pytest.mark.parametrize(
    "message",
    [
        "ffmpeg was killed by signal 9",
        "decoder exited unexpectedly",
        "converter ended with exit code 1",
        "DataLoader worker (pid 7) is killed by signal: Killed. ",
        "DataLoader worker (pid(s) 7) exited unexpectedly",
    ],
)
def test_a_trial_without_workers_blames_none(message: str) -> None:
    """Programs that a sample runs end too, and so do workers of a loader inside of it: the data set raised."""
    assert postmortem.explain_exception("RuntimeError", message, num_workers=0).kind == "user_error"


@pytest.mark.parametrize(
    ("raised", "file", "function", "kind"),
    [
        (("EOFError", "Ran out of input"), "/lib/multiprocessing/spawn.py", "_main", "pickle"),
        (("RuntimeError", "DataLoader timed out after 5 seconds"), "/torch/utils/data/dataloader.py", "_get_data",
         "hung"),
        (("BlockingIOError", "[Errno 11] Resource temporarily unavailable"), "/lib/multiprocessing/popen_fork.py",
         "_launch", "environment"),
    ],
)  # fmt: skip
def test_words_of_starting_and_waiting_are_known_by_where_they_were_raised(
    raised: tuple[str, str], file: str, function: str, kind: str
) -> None:
    """The same words of a sampler, in the process that takes the batches, are the data set's own."""
    last = ": ".join(raised)
    theirs, own = trace(file, function, last), trace("/mine.py", "__iter__", last)
    assert postmortem.explain_exception(*raised, traceback=theirs, num_workers=2).kind == kind
    assert postmortem.explain_exception(*raised, traceback=own, num_workers=2).kind == "user_error"


def test_a_worker_that_could_not_read_what_it_was_sent_is_told_by_its_standard_error() -> None:
    """The pipe breaks in the main process; the worker's own traceback ends in the module that starts workers."""
    after = Aftermath(workers=(ProcessEnd(worker=0, exit_code=1),))
    for file, function, kind in (("/lib/multiprocessing/spawn.py", "_main", "pickle"), ("/d.py", "f", "worker_error")):
        stderr = trace(file, function, "EOFError: Ran out of input")
        assert postmortem.explain_exception("WorkerEndedError", "x", stderr=stderr, aftermath=after).kind == kind


def test_a_sample_that_may_start_no_process_for_want_of_them_is_the_machines() -> None:
    """A limit of processes that is met in a worker, below Python's own start of a program, is no mistake of it."""
    words = "[Errno 11] Resource temporarily unavailable"
    message = f'  File "/lib/subprocess.py", line 1955, in _execute_child\n    fork(\nBlockingIOError: {words}\n'
    raised = CAUGHT.format("BlockingIOError") + message
    assert postmortem.explain_exception("BlockingIOError", raised).kind == "environment"


NOISE = """Exception ignored in: <function _MultiProcessingDataLoaderIter.__del__ at 0x7f>
Traceback (most recent call last):
  File "dataloader.py", line 1700, in __del__
    self._shutdown_workers()
AssertionError: can only test a child process
"""


def test_noise_and_warnings_are_no_last_words() -> None:
    """What forked children say of each other, a length that was off and a log of shards tell nothing of the end."""
    log = "Too many dataloader workers: 8 (max is dataset.num_shards=2). Stopping 6 dataloader workers.\n"
    warning = "loader.py:7: UserWarning: Length of IterableDataset x was reported to be 1\n"
    found = postmortem.explain_status(signal.SIGKILL, f"the end is near\n{warning}{NOISE}")
    assert found.reason.endswith("its last words: the end is near")
    assert postmortem.explain_status(signal.SIGKILL, log + NOISE).kind == "trial_killed"


def test_a_worker_that_left_with_a_code_is_explained_by_what_it_wrote() -> None:
    """Torch loses the details of a worker that exits; a missing attribute on its standard error is the cause."""
    after = Aftermath(workers=(ProcessEnd(worker=0, exit_code=1),))
    stderr = "AttributeError: Can't get attribute 'Mine' on <module '__main__' (built-in)>\n"
    found = postmortem.explain_exception("WorkerEndedError", "x", stderr=stderr, aftermath=after)
    assert (found.kind, found.reason) == ("pickle", f"worker 0 ended with exit code 1; its last words: {stderr[:-1]}")


FEEDER = """Traceback (most recent call last):
  File "/usr/lib/python3.11/multiprocessing/queues.py", line 244, in _feed
    obj = _ForkingPickler.dumps(obj)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/multiprocessing/reduction.py", line 51, in dumps
    cls(buf, protocol).dump(obj)
{0}
"""


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)",
         "shm_full"),
        ("TypeError: cannot pickle 'generator' object", "pickle"),
        ("OSError: [Errno 24] Too many open files", "open_files"),
        ("ValueError: something", "hung"),
    ],
)  # fmt: skip
def test_a_batch_lost_by_a_workers_feeder_thread_is_why_a_trial_hangs(last: str, kind: str) -> None:
    """Nobody raises when a batch cannot be handed over; the reason has the words, and the status stays hung."""
    found = postmortem.hung(6, stalled=False, batches=0, stands=(), stderr=FEEDER.format(last))
    assert (found.kind, found.hung) == (kind, True)
    assert found.reason.endswith(f"; a worker lost its batch: {last}")


@pytest.mark.parametrize(("kills", "said"), [(0, False), (1, True), (None, False)])
def test_the_death_of_a_helper_for_want_of_memory_is_told_beside_its_symptom(kills: int | None, *, said: bool) -> None:
    """A worker that loses the process that serves it says what it saw; that the kernel killed one is added."""
    seen = FailureEvidence(oom_kills=kills, host_peak_bytes=4 * GIB, host_limit_bytes=4 * GIB, host_limit_source="a")
    failure = Failure(kind="worker_error", reason="sample 3 raised EOFError")
    found = confirmed(failure, seen, LoaderConfig(batch_size=4, num_workers=1))
    words = "meanwhile the kernel killed 1 process for want of memory, at 4.0 GiB of 4.0 GiB of memory (a)"
    assert found == replace(failure, reason=f"{failure.reason}; {words}" if said else failure.reason)


KILLED = Failure(kind="worker_killed", reason="worker 2 was killed by SIGKILL")
VICTIM = (ProcessEnd(worker=2, signal="SIGKILL"),)


@pytest.mark.parametrize(
    ("kills", "peak", "kind"),
    [
        (1, 100 * MIB, "host_oom"),
        (0, 4 * GIB, "worker_killed"),  # the counters know better than a page cache that fills its limit
        (None, int(0.96 * 4 * GIB), "host_oom"),
        (None, int(0.94 * 4 * GIB), "worker_killed"),
        (None, None, "worker_killed"),
    ],
)
def test_a_kill_is_for_memory_only_where_counters_or_the_limit_say_so(
    kills: int | None, peak: int | None, kind: str
) -> None:
    """SIGKILL alone proves nothing: one may come from a person, a batch system, or the data set itself."""
    seen = FailureEvidence(
        workers=VICTIM, oom_kills=kills, host_peak_bytes=peak, host_limit_bytes=4 * GIB, host_limit_source="a group"
    )
    found = confirmed(KILLED, seen, FOUR)
    assert found.kind == kind
    if kind == "host_oom":
        assert found.reason.startswith("the kernel killed worker 2 at ")
        assert found.reason.endswith(" of 4.0 GiB of memory (a group)")


def test_a_segfault_while_others_are_killed_for_memory_stays_one() -> None:
    """Counters that moved say nothing of a worker that another signal ended."""
    seen = FailureEvidence(workers=(ProcessEnd(worker=1, signal="SIGSEGV"),), oom_kills=3)
    failure = Failure(kind="worker_killed", reason="worker 1 was killed by SIGSEGV")
    assert confirmed(failure, seen, FOUR) == failure


@pytest.mark.parametrize(("free", "kind"), [(2 * MIB, "shm_full"), (30 * MIB, "worker_killed")])
def test_a_bus_error_is_of_shared_memory_where_that_is_full(free: int, kind: str) -> None:
    """A worker that SIGBUS ended had no room for a batch of 12 MiB, or a file of its own was cut short."""
    seen = FailureEvidence(
        workers=(ProcessEnd(worker=0, signal="SIGBUS"),),
        shm_free_bytes=free,
        shm_total_bytes=64 * MIB,
        batch_bytes=12.0 * MIB,
    )
    found = confirmed(Failure(kind="shm_full", reason="worker 0 was killed by SIGBUS"), seen, FOUR)
    assert found.kind == kind
    if kind == "shm_full":
        assert found.reason.endswith(
            "9 batches like the last one, of 12.0 MiB, need 108 MiB, /dev/shm has 64.0 MiB, 2.0 MiB of it free at the "
            "least"
        )


@pytest.mark.parametrize(("workers", "free", "kind"), [(4, MIB, "shm_full"), (4, 60 * MIB, "hung"), (0, MIB, "hung")])
def test_a_hung_trial_with_a_full_shared_memory_says_so(workers: int, free: int, kind: str) -> None:
    """Only workers hand batches over through it."""
    seen = FailureEvidence(shm_free_bytes=free, shm_total_bytes=64 * MIB)
    found = confirmed(
        Failure(kind="hung", reason="no batch", hung=True), seen, LoaderConfig(batch_size=16, num_workers=workers)
    )
    assert (found.kind, found.hung) == (kind, True)
    assert ("/dev/shm is full" in found.reason) == (kind == "shm_full")


@pytest.mark.parametrize(("free", "kind"), [(1 * GIB, "device_oom"), (40 * GIB, "library"), (None, "library")])
def test_a_library_is_out_of_device_memory_where_the_device_is_full(free: int | None, kind: str) -> None:
    """CUDNN's status of a failed execution is decided by what was free; not known is not full."""
    seen = FailureEvidence(device_free_bytes=free, device_total_bytes=80 * GIB)
    failure = Failure(kind="library", reason="RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    assert confirmed(failure, seen, FOUR).kind == kind


def test_an_allocation_that_fails_on_an_empty_device_is_the_librarys() -> None:
    """CUBLAS that cannot allocate with 40 GiB free is no batch too big; torch's own words stay what they are."""
    seen = FailureEvidence(device_free_bytes=40 * GIB, device_total_bytes=80 * GIB)
    blas = Failure(kind="device_oom", reason="RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED")
    plain = Failure(kind="device_oom", reason="OutOfMemoryError: CUDA out of memory. Tried to allocate 90 GiB")
    assert confirmed(blas, seen, FOUR).kind == "library"
    assert confirmed(plain, seen, FOUR) == plain


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        (Alone(loaded=3, sample="37", raised="ValueError: x"),
         "sample 37 raises ValueError: x, in a worker and alone in one process"),
        (Alone(loaded=3, sample="0", raised="KeyError: y"),
         "ValueError: x; alone in one process sample 0 raises KeyError: y"),
        (Alone(loaded=8, raised="RuntimeError: z"),
         "ValueError: x; alone in one process putting the batch together raises RuntimeError: z"),
        (Alone(loaded=3, sample="37", died="was killed by SIGSEGV"),
         "ValueError: x; alone in one process sample 37 ends it: it was killed by SIGSEGV"),
        (Alone(loaded=8, all_well=True),
         "ValueError: x; the 8 samples given to it load alone without error: the fault shows only in a worker"),
        (Alone(loaded=3, sample="37"), "ValueError: x; alone in one process sample 37 did not come to an end"),
        (Alone(loaded=3), "ValueError: x; 3 of 8 samples loaded alone without error in the time for it"),
    ],
)  # fmt: skip
def test_what_the_samples_did_alone_is_in_the_reason(alone: Alone, words: str) -> None:
    """Each ending of the rerun is said as what it proves, and no more."""
    assert with_alone(Failure(kind="worker_error", reason="ValueError: x"), alone, 8).reason == words


def test_the_next_step_has_numbers_where_there_are_any() -> None:
    """Shared memory to ask for and what fits, workers and batch halved, descriptors, the sample to load."""
    shm = FailureEvidence(shm_total_bytes=64 * MIB, batch_bytes=12.0 * MIB)
    assert advice("shm_full", FOUR, make_probe(), shm) == (
        "give /dev/shm 128 MiB (docker run --shm-size=128m, or --ipc=host), or keep prefetch_factor × num_workers at 4 "
        "or less with this batch size (loadtune explain shm_full)"
    )
    large = FailureEvidence(shm_total_bytes=64 * MIB, batch_bytes=40.0 * MIB)
    assert "--shm-size=512m, or --ipc=host): not one batch of 40.0 MiB" in advice("shm_full", FOUR, make_probe(), large)
    crowded = FailureEvidence(shm_total_bytes=128 * MIB, shm_before_bytes=64 * MIB, batch_bytes=12.0 * MIB)
    assert advice("shm_full", FOUR, make_probe(), crowded).startswith(
        "give /dev/shm 256 MiB (docker run --shm-size=256m, or --ipc=host), or keep prefetch_factor × num_workers at 4"
    )
    host = advice("host_oom", FOUR, make_probe(), FailureEvidence(host_limit_bytes=4 * GIB))
    assert host.startswith("need less: --num-workers 2 or --batch-size 8, or raise the limit of 4.0 GiB")
    files = FailureEvidence(open_files=1020, open_files_limit=1024)
    assert "1,020 of 1,024 were open" in advice("open_files", FOUR, make_probe(), files)
    alone = FailureEvidence(alone=Alone(loaded=1, sample="37", raised="ValueError: x"))
    assert "dataset[37]" in advice("worker_error", FOUR, make_probe(), alone)
    assert "dataset[INDEX]" in advice("hung", FOUR, make_probe(), FailureEvidence(is_loading=True))
    assert "worker_init_fn" in advice("hung", FOUR, make_probe(), FailureEvidence(is_loading=False))


@pytest.mark.parametrize(
    ("kills", "peak", "is_another"),
    [(0, GIB, True), (None, GIB, True), (1, GIB, False), (0, 3 * GIB, False), (0, None, False)],
)
def test_memory_that_is_refused_on_an_empty_machine_is_another_limits(
    kills: int | None, peak: int | None, *, is_another: bool
) -> None:
    """A quarter of the machine's in use and no kill: a limit of the process is looked for, not the machine's."""
    seen = FailureEvidence(oom_kills=kills, host_peak_bytes=peak, host_limit_bytes=4 * GIB)
    for config in (FOUR, LoaderConfig(batch_size=1)):
        advised = advice("host_oom", config, make_probe(), seen)
        assert ("RLIMIT_AS" in advised) == is_another
        assert not (is_another and "4.0 GiB" in advised)


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        ("worker_error", ("AssertionError: daemonic processes are not allowed to have children; the 4 samples given to "
         "it load alone without error: the fault shows only in a worker"), "use threads there"),
        ("environment", "AssertionError: daemonic processes are not allowed to have children", "from the command line"),
        ("environment", "RuntimeError: can't start new thread", "ulimit -u"),
        ("environment", "BlockingIOError: [Errno 11] Resource temporarily unavailable", "pids.max"),
        ("environment", "8 workers need 16 processes and threads, and 12 more are allowed (pids.max 12)", "pids.max"),
    ],
)  # fmt: skip
def test_the_reason_tells_which_cause_of_its_kind_it_is(kind: str, reason: str, words: str) -> None:
    """A data set that starts processes, a daemonic parent and a limit of processes each have their own step."""
    seen = FailureEvidence(alone=Alone(loaded=4, all_well=True))
    assert words in advice(kind, FOUR, make_probe(), seen, reason=reason)


def test_every_kind_has_a_first_step() -> None:
    """Where nothing is known the page of the kind says what to do first; a kind without a page has no step."""
    for code in pages.codes():
        assert pages.is_finding(code) or first_step(code), code
        assert not first_step(code).endswith(".")
    assert advice("of-the-future", FOUR, make_probe(), FailureEvidence()) == ""


def tree(root: Path, version: int) -> Path:
    """Make a group /a/b of one version, with its counters; return the folder of /a/b."""
    folder = root / "sys/fs/cgroup/a/b"
    folder.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/a/b\n" if version == 2 else "4:memory:/a/b\n")
    kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
    (root / "proc/self/mountinfo").write_text(f"30 1 0:26 / /sys/fs/cgroup rw - {kind}\n")
    (root / "proc/vmstat").write_text("nr_free_pages 7\noom_kill 5\n")
    return folder


@pytest.mark.parametrize("version", [1, 2])
def test_kills_are_read_from_the_innermost_group(version: int, tmp_path: Path) -> None:
    """A kill counts where the innermost group counts it; other counters that moved are shown beside."""
    group = tree(tmp_path, version)
    name = "memory.oom_control" if version == 1 else "memory.events"
    text = "under_oom 0\noom_kill {}\n" if version == 1 else "max 9\noom {0}\noom_kill {0}\n"
    (group / name).write_text(text.format(0))
    (group.parent / name).write_text(text.format(2))
    (group / "memory.failcnt").write_text("10\n")
    counters = oom.counters(tmp_path)
    before = {counter.label: counter.read() or 0 for counter in counters}
    (group.parent / name).write_text(text.format(3))
    beside = {counter.label: counter.read() or 0 for counter in counters}
    assert oom.killed(before, beside) == 0
    (group / name).write_text(text.format(1))
    (group / "memory.failcnt").write_text("12\n")
    after = {counter.label: counter.read() or 0 for counter in counters}
    assert oom.killed(before, after) == 1
    failures = {"cgroup v1 /a/b memory.failcnt": 2} if version == 1 else {}
    label = f"cgroup v{version} {{}} {name} oom_kill"
    assert oom.moved(before, after) == {label.format("/a/b"): 1, **failures, label.format("/a"): 1}


def test_without_a_counter_nothing_is_known(tmp_path: Path) -> None:
    """A machine that counts no kills leaves the question open."""
    assert oom.counters(tmp_path) == ()
    assert oom.killed({}, {}) is None


def test_batches_are_known_by_number_as_long_as_they_are_kept() -> None:
    """Of six batches given out the last four are there, by the number that torch gives their tasks."""
    given = Given(4)
    for number in range(6):
        given.note([number])
    assert [given.batch(number) for number in (2, 5)] == [[2], [5]]
    for number in (1, 6):
        with pytest.raises(LookupError):
            given.batch(number)


def suspects(dataset: Any, *batches: Any) -> Suspects:
    return Suspects(dataset=dataset, collate=default_collate, batches=batches, in_lists=True)


class Numbers:
    """Sample 5 raises, sample 6 leaves the program, sample 7 has another shape."""

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 5:
            raise ValueError("a broken\npicture")
        if index == 6:
            raise SystemExit(4)
        return torch.zeros(2 if index == 7 else 1)


def test_samples_are_loaded_one_by_one_until_one_fails() -> None:
    """The one that raises is named with its last words and its traceback, and each was told of before."""
    tried: list[str | None] = []
    found = suspects(Numbers(), [1, 2], [3, 5, 4]).load(60.0, tried.append)
    assert (found.loaded, found.sample, found.raised) == (3, "5", "ValueError: picture")
    assert "in __getitem__" in found.traceback
    assert tried == ["1", "2", None, "3", "5"]
    assert suspects(Numbers(), [6]).load(60.0, tried.append).raised == "SystemExit: 4"


def test_samples_that_cannot_be_put_together_are_found_when_each_is_fine() -> None:
    """A batch of two shapes raises where it is collated: no sample is to blame."""
    found = suspects(Numbers(), [1, 7]).load(60.0, lambda _: None)
    assert (found.loaded, found.sample) == (2, None)
    assert found.raised.startswith("RuntimeError: stack expects each tensor to be equal size")
    assert suspects(Numbers(), [1, 2], [7]).load(60.0, lambda _: None) == Alone(loaded=3, all_well=True)
    items = Suspects(dataset=Numbers(), collate=default_convert, batches=(1, 7), in_lists=False)
    assert items.load(60.0, lambda _: None).all_well
    assert suspects(Numbers(), [1, 2]).load(-1.0, lambda _: None) == Alone(loaded=0)


def test_the_batch_that_raised_is_known_from_the_exception() -> None:
    """Without any note of it in the loop: torch's iterator is in the traceback, and knows its task."""
    batches = Noted([[1, 2], [3, 4], [5, 0], [1, 1]], 4)
    loader = DataLoader(Numbers(), batch_sampler=batches, num_workers=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a broken") as raised:
        list(loader)
    seen, found = aftermath.read(raised.value, None, Consumer(ConsumerPlan(), pinned=False))
    assert seen.batch == ("5", "0")
    assert found is not None
    assert found.load(60.0, lambda _: None).sample == "5"
