"""Words about odd data sets and silent processes: lengths, indices, names, states; each is a sentence and true."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_store import header_of
from torch.utils.data import Dataset, IterableDataset

from factories import make_probe, make_record, make_result
from loadtune.describe.config import LoaderConfig
from loadtune.describe.workload import Workload
from loadtune.errors import OutputError, TargetError
from loadtune.judge.cause import with_alone
from loadtune.judge.remedy import advice
from loadtune.measure.alone import Suspects
from loadtune.measure.checksums import compare
from loadtune.measure.pickling import unpicklable
from loadtune.measure.probe import SampleError, probe
from loadtune.measure.stream import END, DataEndedError, Stream, epoch_loader, next_batch
from loadtune.measure.witness import FETCHING, FILE_PREFIX
from loadtune.record.failure import Aftermath, Alone, Failure, FailureEvidence, HandedOn, ProcessEnd
from loadtune.record.store import RunStore
from loadtune.run.postmortem import explain_exception, hung
from loadtune.run.protocol import Channel, Unusable
from loadtune.run.stands import ask, parse, silent
from loadtune.units import brief
from loadtune.workloads.source import Source, source_from_workload


class Sized(Dataset[Any]):
    """Has whatever length it is given, and raises for the samples it is told."""

    def __init__(self, length: Any, raised: type[Exception] | None = None, at: int = -1) -> None:
        self.length, self.raised, self.at = length, raised, at

    def __len__(self) -> Any:
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __getitem__(self, index: int) -> int:
        if self.raised is not None and index == self.at:
            raise self.raised
        return index


class Unsayable:
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class Wrapper:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Unsized(IterableDataset[Any]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))

    def __len__(self) -> int:
        raise TypeError("nobody knows")


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (-1, "raised ValueError: .*should return >= 0"),
        (2.5, "raised TypeError: 'float' object cannot be interpreted as an integer"),
        (1 << 70, "raised OverflowError"),
        (RuntimeError("the index is not there"), "raised RuntimeError: the index is not there"),
        (ValueError(Unsayable()), "raised ValueError: .*cannot be read"),
        (0, "is empty"),
    ],
)
def test_a_length_that_is_none_is_a_sentence_about_the_target(length: Any, words: str) -> None:
    """Negative, no whole number, too large for len(), raising, or empty: the target cannot be used, and why."""
    with pytest.raises(TargetError, match=words):
        source_from_workload(Workload(dataset=Sized(length)), "odd")


def test_an_iterable_data_set_need_not_know_its_length() -> None:
    """TypeError from its ``__len__`` is no fault: the number of samples is not known."""
    assert source_from_workload(Workload(dataset=Unsized()), "odd").samples is None


@pytest.mark.parametrize("raised", [KeyError, StopIteration])
def test_a_sample_that_raises_at_the_first_look_is_named(raised: type[Exception]) -> None:
    """The index of the only sample that raises is in the error, with what was raised as its cause."""
    source = source_from_workload(Workload(dataset=Sized(50, raised, at=37)), "odd")
    with pytest.raises(SampleError, match=r"^37$") as seen:
        probe(source, device="cpu", seed=0)
    assert type(seen.value.__cause__) is raised


def test_a_sample_that_raises_in_a_list_at_the_first_look_is_named() -> None:
    """Where a data set fetches lists (``__getitems__``), the index that raises alone is named, too."""

    class Listed(Sized):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self[index] for index in indices]

    with pytest.raises(SampleError, match=r"^37$") as seen:
        probe(source_from_workload(Workload(dataset=Listed(50, KeyError, at=37)), "odd"), device="cpu", seed=0)
    assert type(seen.value.__cause__) is KeyError


class Together(Sized):
    """Gives 48 KiB a sample, all of a list at once, in whatever form it is told."""

    def __init__(self, form: str) -> None:
        super().__init__(400)
        self.form = form

    def __getitems__(self, indices: list[int]) -> Any:
        time.sleep(0.0005 * len(indices))
        pictures = torch.zeros(len(indices), 3, 64, 64)
        if self.form == "nothing" or (self.form == "alone" and len(indices) > 1):
            raise StopIteration
        if self.form == "columns":
            return {"x": pictures, "y": torch.zeros(len(indices), dtype=torch.int32)}
        return (one.clone() for one in pictures)


def as_it_is(batch: Any) -> Any:
    return batch


@pytest.mark.parametrize(("form", "collate", "label_bytes"), [("columns", as_it_is, 4), ("generator", list, 0)])
def test_a_sample_of_columns_or_of_a_generator_has_its_own_size(form: str, collate: Any, label_bytes: int) -> None:
    """What ``__getitems__`` gives is counted by the indices asked for: 48 KiB and its time, not those of sixteen."""
    source = source_from_workload(Workload(dataset=Together(form), collate_fn=collate), "odd")
    seen = probe(source, device="cpu", seed=0)
    assert seen.bytes_per_sample == 3 * 64 * 64 * 4 + label_bytes
    assert 0.0005 <= (seen.seconds_per_sample or 0.0) < 0.008
    assert (seen.tensors_per_batch, seen.tensors_per_sample) == ((2.0, 0.0) if label_bytes else (0.0, 1.0))


@pytest.mark.parametrize("form", ["columns", "generator"])
def test_columns_and_generators_are_compared_too(form: str) -> None:
    """What workers load of them is what one process loads; nothing is left out for a mistake of the comparison."""
    seen = compare(Workload(dataset=Together(form)), (), seconds_per_sample=0.02, seed=0)
    assert (seen.samples, seen.differing) == (8, 0)


def test_a_list_that_stops_an_iteration_is_told_as_that() -> None:
    """StopIteration of ``__getitems__`` for several, and for each alone: at the first look it names the sample."""
    source = source_from_workload(Workload(dataset=Together("nothing")), "odd")
    with pytest.raises(SampleError) as seen:
        probe(source, device="cpu", seed=0)
    assert type(seen.value.__cause__) is StopIteration


def test_a_list_that_stops_an_iteration_together_alone_is_told_as_that() -> None:
    """No sample raises by itself, and nothing makes a RuntimeError of it."""
    with pytest.raises(StopIteration):
        probe(source_from_workload(Workload(dataset=Together("alone"), collate_fn=list), "odd"), device="cpu", seed=0)


class Pairs(Sized):
    """Gives any list in columns, but none in which there are two of the indices it is told, nor one that is alone."""

    def __init__(self, *, apart: tuple[int, ...] = (), never_alone: int = -1) -> None:
        super().__init__(400)
        self.apart, self.never_alone = set(apart), never_alone

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        if len(self.apart & set(indices)) > 1 or indices == [self.never_alone]:
            raise ValueError("a bad list")
        return {"x": torch.tensor(indices)}


def test_samples_that_fail_only_together_are_loaded_together_too() -> None:
    """What raises for the whole list is said to be of the list; what raises for a list of one alone is no cause."""
    apart = Suspects(dataset=Pairs(apart=(2, 3)), collate=as_it_is, batches=[[1, 2, 3]], in_lists=True)
    seen = apart.load(5.0, lambda _: None)
    assert (seen.loaded, seen.sample, seen.together, seen.raised) == (3, None, True, "ValueError: a bad list")
    failure = with_alone(Failure(kind="worker_error", reason="ValueError: a bad list"), seen, 3)
    assert failure.reason.startswith("the samples load one by one, but not together: ValueError: a bad list")
    advised = advice("worker_error", LoaderConfig(batch_size=3), make_probe(), FailureEvidence(alone=seen))
    assert "dataset.__getitems__(INDICES)" in advised
    well = Suspects(dataset=Pairs(never_alone=2), collate=as_it_is, batches=[[1, 2, 3]], in_lists=True)
    assert well.load(5.0, lambda _: None) == Alone(loaded=3, all_well=True)


def test_columns_whose_batch_is_well_alone_are_said_to_be() -> None:
    """They have no element 0, and nothing is said of one: no mistake of the loading alone is taken for theirs."""
    for form in ("columns", "generator"):
        dataset = Together(form)
        suspects = Suspects(dataset=dataset, collate=as_it_is, batches=[[1, 2], [3, 4]], in_lists=True)
        assert suspects.load(5.0, lambda _: None) == Alone(loaded=4, all_well=True)


def test_a_sample_that_stops_a_whole_epoch_is_no_end_of_it() -> None:
    """StopIteration of a map-style sample in the epoch that is really run is raised, and no shorter epoch is told."""
    source = source_from_workload(Workload(dataset=Sized(4, StopIteration, at=2)), "odd")
    iterator = iter(epoch_loader(source, LoaderConfig(batch_size=1), 0))
    with pytest.raises(StopIteration):
        [next_batch(iterator) for _ in range(4)]
    source = source_from_workload(Workload(dataset=Sized(4)), "odd")
    iterator = iter(epoch_loader(source, LoaderConfig(batch_size=3), 0))
    assert [next_batch(iterator) is END for _ in range(3)] == [False, False, True]


def test_a_sample_that_stops_an_iteration_is_no_end_of_the_data() -> None:
    """StopIteration of a map-style sample goes through as it is; an iterable data set that is empty has ended."""
    stream = Stream(
        source_from_workload(Workload(dataset=Sized(4, StopIteration, at=2)), "odd"), LoaderConfig(batch_size=4), 0
    )
    stream.start()
    with pytest.raises(StopIteration):
        stream.next()

    class Nothing(Unsized):
        def __iter__(self) -> Iterator[int]:
            return iter(())

    stream = Stream(source_from_workload(Workload(dataset=Nothing()), "odd"), LoaderConfig(batch_size=4), 0)
    stream.start()
    with pytest.raises(RuntimeError, match="share of it is empty"):
        stream.next()


def test_a_loader_that_can_be_gone_through_once_is_told_so() -> None:
    """A loader of its own kind that is its own iterator: its second pass is empty, and that is said."""
    batches = iter([torch.zeros(4), torch.zeros(4)])
    source = Source(name="odd", workload=None, build_loader=lambda _: batches, baseline=LoaderConfig(batch_size=4))
    stream = Stream(source, LoaderConfig(batch_size=4), 0)
    stream.start()
    assert [len(stream.next()) for _ in range(2)] == [4, 4]
    with pytest.raises(DataEndedError, match="the loader gives its batches only once"):
        stream.next()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"signal": "SIGSEGV"}, r"native code crashed \(SIGSEGV\).*python -X faulthandler"),
        ({"signal": "SIGTERM"}, "find out who sends SIGTERM"),
        ({"exit_code": 7}, "with exit code 7: the data set, or a library, calls exit"),
        ({"signal": "SIGKILL"}, "dmesg"),
    ],
)
@pytest.mark.parametrize(("kind", "worker"), [("trial_killed", None), ("worker_killed", 1)])
def test_the_step_after_a_death_is_that_of_its_signal(
    kind: str, worker: int | None, end: dict[str, Any], words: str
) -> None:
    """A crash, a signal from outside, an exit and a kill each have their own; only a kill asks the kernel's log."""
    ended = ProcessEnd(worker=worker, **end)
    evidence = FailureEvidence(trial=ended) if worker is None else FailureEvidence(workers=(ended,))
    advised = advice(kind, LoaderConfig(batch_size=4), make_probe(), evidence)
    assert re.search(words, advised)
    assert ("dmesg" in advised) == (ended.signal == "SIGKILL")


def test_a_kill_that_the_kernel_did_not_count_is_not_put_down_to_memory() -> None:
    """Where the counters stood still somebody else sent SIGKILL, and memory is not advised on."""
    ended = ProcessEnd(worker=1, signal="SIGKILL")
    advised = advice(
        "worker_killed", LoaderConfig(batch_size=4), make_probe(), FailureEvidence(workers=(ended,), oom_kills=0)
    )
    assert advised.startswith("find out who sends SIGKILL")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("dataset.file (BufferedReader): TypeError: cannot pickle", "make dataset.file in the worker, at the first"),
        ("dataset.lock (lock): TypeError: cannot pickle '_thread.lock' object", "make dataset.lock in the worker"),
        ("dataset.f (function <lambda>): PicklingError: Can't pickle", "Replace lambdas"),
        ("dataset (Local): AttributeError: Can't pickle local object 'f.<locals>.Local'", "Replace lambdas"),
    ],
)
def test_what_is_open_is_made_in_the_worker_and_what_is_code_moves_to_a_module(told: str, words: str) -> None:
    """Files and locks cannot be replaced by functions of a module."""
    config = LoaderConfig(batch_size=4, num_workers=1, multiprocessing_context="spawn")
    assert advice("pickle", config, make_probe(unpicklable=told), FailureEvidence()).startswith(words)


GROUP = """Caught ExceptionGroup in DataLoader worker process 0.
  + Exception Group Traceback (most recent call last):
  |   File "/mine.py", line 3, in __getitem__
  | ExceptionGroup: many (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: a
    +---------------- 2 ----------------
    | OSError: [Errno 24] Too many open files
    +------------------------------------
"""


def test_a_group_of_exceptions_is_told_by_its_own_words() -> None:
    """Not by a part's, nor by the line that is drawn below it, nor as the RuntimeError that torch makes of it."""
    seen = Aftermath(handed_on=HandedOn(type_name="ExceptionGroup", message=GROUP))
    failure = explain_exception("RuntimeError", "(its message cannot be read)", aftermath=seen)
    assert failure == Failure(kind="worker_error", reason="ExceptionGroup: many (2 sub-exceptions)")


def test_workers_that_end_with_nothing_to_say_are_told_what_ends_them_so() -> None:
    """Exit code 0 and an empty standard error is what KeyboardInterrupt in a sample looks like, however it is seen."""
    ended = Aftermath(workers=(ProcessEnd(worker=0, exit_code=0), ProcessEnd(worker=1, exit_code=0)))
    failure = explain_exception("RuntimeError", "DataLoader worker (pid 7) exited unexpectedly", aftermath=ended)
    assert failure.kind == "worker_error"
    assert failure.reason.endswith("without a word, as a worker does where a sample raises KeyboardInterrupt")


def test_an_index_that_cannot_be_shown_is_described() -> None:
    """A key whose __str__ raises, one that is no text, and one that is too long are each a short text."""
    assert brief(Unsayable()) == "(a Unsayable that cannot be shown: ValueError)"
    assert brief("caf\udce9") == "caf?"
    assert len(brief("x" * 1000)) == 80


def test_a_message_with_a_name_that_is_no_text_arrives() -> None:
    """Surrogates, as in names of files, are question marks behind the line, wherever they stand."""
    here, there = Channel.pair()
    with here, Channel(there) as other:
        here.send(Unusable(message="caf\udce9.png", hint="\udcff", about_target=True))
        assert other.receive(1.0) == Unusable(message="caf?.png", hint="?", about_target=True)


def test_a_lambda_below_many_wrappers_is_found_and_its_path_can_be_read() -> None:
    """Twelve wrappers deep the lambda itself is named; the middle of its path is left out, and so is a bad key."""
    inner: Any = {Unsayable(): lambda: 1}
    for _ in range(12):
        inner = Wrapper(inner)
    dataset = Sized(3)
    dataset.transform = inner  # type: ignore[attr-defined]
    found = unpicklable(source_from_workload(Workload(dataset=dataset), "odd")) or ""
    assert found.startswith("dataset.transform.inner.inner … 7 more … .inner.inner.inner[Unsayable] (function ")
    for _ in range(5000):
        inner = Wrapper(inner)
    dataset.transform = inner  # type: ignore[attr-defined]
    found = unpicklable(source_from_workload(Workload(dataset=dataset), "odd")) or ""
    assert found == "dataset (Sized): its parts are nested too deeply for pickle, as a long linked list is"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_processes_that_do_not_answer_are_told_by_their_state(tmp_path: Path) -> None:
    """A stopped one, one that has ended and one that sleeps on are told apart; the first is in the reason."""
    programs = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    stopped, ended, deaf = programs
    try:
        for one in programs:
            (tmp_path / f"{FILE_PREFIX}{one.pid}").touch()
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        ended.kill()
        ended.wait()
        pids = [os.getpid(), *(one.pid for one in programs)]
        told = silent(pids, tmp_path, [], [stopped.pid, ended.pid])
        said = {one.pid: str(one) for one in told}
        assert said[stopped.pid] == f"worker 0 (process {stopped.pid}) is stopped (SIGSTOP, a terminal or a debugger)"
        assert said[ended.pid].startswith(f"worker 1 (process {ended.pid}) has ended by itself without a word")
        assert "a worker (process" in said[deaf.pid]
        assert "does not answer" in said[deaf.pid]
        failure = hung(9.0, stalled=True, batches=3, stands=[], silent=told)
        assert f"; it was killed: {told[0]}, and 2 more like it" in failure.reason
    finally:
        for one in programs:
            one.kill()
            one.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("function", "is_shut_down"), [("_shutdown_workers", True), ("_try_get_data", False), ("_try_put_index", False)]
)
def test_workers_that_end_with_their_epoch_are_not_blamed(function: str, tmp_path: Path, *, is_shut_down: bool) -> None:
    """KeyboardInterrupt in a sample is guessed at only where the main process's stack is not that of an epoch's end."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (tmp_path / f"{FILE_PREFIX}{ended.pid}").touch()
    main = parse(
        os.getpid(),
        'Current thread 0x1 (most recent call first):\n  File "/lib/multiprocessing/process.py", line 149 in wait\n'
        f'  File "/x/torch/utils/data/dataloader.py", line 1656 in {function}\n',
    )
    (told,) = silent([os.getpid(), ended.pid], tmp_path, [main], [ended.pid])
    assert ("the process itself stood in the shutdown of its workers" in str(told)) == is_shut_down
    assert ("KeyboardInterrupt" in str(told)) == (not is_shut_down)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_that_runs_another_program_is_not_ended_by_asking(tmp_path: Path) -> None:
    """A worker that went on as ``sleep`` (os.execv) has no handler: it is not asked, it lives, and that is said."""
    with subprocess.Popen([sys.executable, "-c", "import os; os.execv('/bin/sleep', ['sleep', '60'])"]) as program:
        file = tmp_path / f"{FILE_PREFIX}{program.pid}"
        file.touch()
        deadline = time.monotonic() + 10
        while b"sleep" not in Path(f"/proc/{program.pid}/comm").read_bytes() and time.monotonic() < deadline:
            time.sleep(0.01)
        pids = [os.getpid(), program.pid]
        assert ask(pids, tmp_path, [program.pid]) == []
        (told,) = silent(pids, tmp_path, [], [program.pid])
        assert program.poll() is None
        assert str(told).startswith(f"worker 0 (process {program.pid}) does not answer: it runs another program")
        program.kill()


def test_a_stand_is_that_of_the_thread_that_loads() -> None:
    """Where another thread of the process answers, the place is still that of the one in the data set."""
    fetch = FETCHING
    text = (
        'Thread 0x1 (most recent call first):\n  File "/mine.py", line 3 in __getitem__\n'
        f'  File "/x/{fetch}", line 50 in fetch\n\n'
        'Current thread 0x2 (most recent call first):\n  File "/x/queues.py", line 9 in _feed\n'
    )
    stand = parse(7, text)
    assert (stand.loading, stand.place) == (True, "mine.py:3 (__getitem__)")


@pytest.mark.parametrize("deed", ["removed", "moved", "replaced"])
def test_a_run_directory_that_is_gone_is_noticed_at_the_next_trial(deed: str, tmp_path: Path) -> None:
    """Removed, moved away or replaced by another of its name: nothing is written where nobody would find it."""
    place = tmp_path / "run"
    with RunStore.create(place) as store:
        store.open(header_of(make_result()))
        store.append(make_record(LoaderConfig(batch_size=8), 100.0, order=0))
        if deed == "removed":
            shutil.rmtree(place)
        else:
            place.rename(tmp_path / "elsewhere")
        if deed == "replaced":
            place.mkdir()
        for _ in range(2):
            with pytest.raises(OutputError, match="was removed, moved or replaced while the sweep wrote to it"):
                store.append(make_record(LoaderConfig(batch_size=8), 100.0, order=1))
        assert not store.opened, "nothing is there to be gone on with"
    assert list(place.iterdir() if place.exists() else ()) == []
