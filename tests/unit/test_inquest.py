"""The post-mortem over a scripted line: what the parent makes of what a trial's processes say, or do not say."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from factories import make_probe, make_request
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer
from loadtune.errors import TargetError
from loadtune.measure.alone import Suspects
from loadtune.record.failure import Alone, Failure
from loadtune.run import protocol
from loadtune.run.descriptors import OpenFiles
from loadtune.run.gpu import DeviceMemory
from loadtune.run.host import TrialHost
from loadtune.run.inquest import Inquest
from loadtune.run.protocol import (
    Channel,
    Ended,
    LoadAlone,
    LoadedAlone,
    Looked,
    Message,
    Raised,
    Replay,
    RunTrial,
    Trying,
)
from loadtune.run.scene import Scene
from loadtune.run.spare import Spare
from loadtune.run.stands import Silence, Stand
from loadtune.run.supervisor import Supervisor
from loadtune.run.trial_host import _AskingObserver
from loadtune.run.watch import Patience, RunningTrial, first_batch_seconds

CONFIG = LoaderConfig.normalised(batch_size=8, num_workers=2)
REQUEST = make_request(CONFIG)
ORDER = RunTrial(request=REQUEST, fork=True)
IN_WORKER = "Caught ValueError in DataLoader worker process 0.\nValueError: bad luck"
RAISED = Raised(type_name="ValueError", message=IN_WORKER, traceback_tail="", suspects=3)


class ScriptedChannel(Channel):
    """Gives the answers that it is told, and then none; a look for an answer takes its time of a scripted clock."""

    def __init__(self, answers: Sequence[Message | EOFError]) -> None:
        self.answers = list(answers)
        self.sent: list[Message] = []
        self.now = 0.0
        self.is_cut = False
        """Whether the other side is gone: where it says nothing more."""

    def clock(self) -> float:
        return self.now

    def send(self, message: Message) -> None:
        if self.is_cut:
            raise EOFError("gone")
        protocol._encoder.encode(message)
        self.sent.append(message)

    def receive(self, timeout: float | None = None) -> Message | None:
        if self.answers:
            answer = self.answers.pop(0)
            self.is_cut = bool(self.answers) and isinstance(self.answers[0], EOFError)
            if isinstance(answer, EOFError):
                raise answer
            return answer
        assert timeout is not None, "waits for ever"
        self.now += timeout
        assert self.now < 120, "never ends"
        return None


class ScriptedHost(TrialHost):
    """A host behind a scripted channel, which lives until it is told not to."""

    def __init__(self, answers: Sequence[Message | EOFError] = ()) -> None:
        self.line = ScriptedChannel(answers)
        self.channel = self.line
        self.alive = True
        self.words = ""

    @property
    def pid(self) -> int:
        return 2**22 + 1

    @property
    def scratch(self) -> str:
        return "/nowhere"

    def beats(self) -> int:
        return 0

    def is_alive(self) -> bool:
        return self.alive

    def drop_stderr(self) -> None:
        self.words = ""

    def take_stderr(self) -> str:
        return self.words

    def tidy(self, keep: Collection[str]) -> None:
        pass

    def wait(self, within_seconds: float) -> int:
        assert within_seconds < 60
        self.alive = False
        return int(signal.SIGKILL)


class ScriptedSupervisor(Supervisor):
    """Runs trials in a host that dies of each, and cannot be built again."""

    def __init__(self, host: ScriptedHost) -> None:
        self._host: TrialHost = host
        self._cold = None
        self._clock = host.line.clock
        self._root = Path("/")
        self._timeout, self._budget = 60.0, math.inf
        self._scene = Scene()
        self._device = DeviceMemory(None)
        self.probe = make_probe()

    def _restart(self) -> None:
        raise TargetError("the data set is gone")


def inquest(host: ScriptedHost) -> Inquest:
    return Inquest(host, Scene(), CONFIG, OpenFiles())


def running_trial(host: ScriptedHost, **patience: float) -> RunningTrial:
    waits = Patience(**{"timeout_seconds": 60.0, "within_seconds": 600.0, **patience})
    return RunningTrial(host, DeviceMemory(None), patience=waits, clock=host.line.clock, scene=Scene(), config=CONFIG)


def suspects() -> Suspects:
    return Suspects(dataset=range(10), collate=list, batches=[[1, 2, 3]], in_lists=True)


def observer_of(answers: Sequence[Message | EOFError]) -> tuple[_AskingObserver, ScriptedChannel]:
    channel = ScriptedChannel(answers)
    return _AskingObserver(channel, [0]), channel


def test_an_answer_to_a_look_is_not_taken_for_the_order_to_load_alone() -> None:
    """A sample fails while a look is under way: the answer comes first, the samples are loaded all the same."""
    observer, channel = observer_of([Looked(), LoadAlone(seconds=5.0)])
    observer.failed(RAISED.aftermath, suspects())
    observer.tell(ValueError("bad luck"))
    assert channel.sent[-1] == LoadedAlone(alone=Alone(loaded=3, all_well=True))


def test_a_process_that_ends_before_its_first_sample_tells_nothing_of_them() -> None:
    """Exit status 0 without a word: there is no death in the evidence, and the reason is the worker's."""
    host = ScriptedHost()
    asked = inquest(host)
    failure = asked.raised(RAISED, "", now=0.0, left_seconds=60.0)
    assert host.line.sent == [LoadAlone(seconds=5.0)]
    assert asked.close(failure, 0) == failure
    assert asked.evidence is not None
    assert asked.evidence.alone is None


def test_a_process_that_dies_at_a_sample_names_it() -> None:
    """SIGSEGV at the second sample: one loaded, the other is in the evidence with the signal."""
    asked = inquest(ScriptedHost())
    failure = asked.raised(RAISED, "", now=0.0, left_seconds=60.0)
    asked.hear(Trying(sample="1"))
    asked.hear(Trying(sample="2"))
    closed = asked.close(failure, int(signal.SIGSEGV))
    assert asked.evidence is not None
    assert asked.evidence.alone == Alone(loaded=1, sample="2", died="was killed by SIGSEGV")
    assert closed.reason.endswith("alone in one process sample 2 ends it: it was killed by SIGSEGV")


def test_a_process_that_dies_at_the_whole_batch_names_no_sample() -> None:
    """SIGSEGV behind the last of two samples, where they are put together: both loaded."""
    asked = inquest(ScriptedHost())
    failure = asked.raised(RAISED, "", now=0.0, left_seconds=60.0)
    for sample in ("1", "2", None):
        asked.hear(Trying(sample=sample))
    closed = asked.close(failure, int(signal.SIGSEGV))
    assert asked.evidence is not None
    assert asked.evidence.alone == Alone(loaded=2, died="was killed by SIGSEGV")
    assert closed.reason.endswith("alone in one process putting the batch together ends it: it was killed by SIGSEGV")


def test_a_trial_whose_host_cannot_be_built_again_is_recorded() -> None:
    """The host dies with a trial and the data set is gone: the trial's row is there, and the next trial says why."""
    host = ScriptedHost([EOFError("gone")])
    running = ScriptedSupervisor(host)
    record = running.run(REQUEST)
    assert (record.status, record.failure_kind) == ("failed", "trial_killed")
    with pytest.raises(TargetError, match="the data set is gone"):
        running.run(REQUEST)


def test_what_was_raised_is_known_though_the_process_died_a_moment_later() -> None:
    """The order to load its samples alone finds nobody: the failure is the exception's, not that of an exit status."""
    host = ScriptedHost([RAISED, EOFError("gone")])
    trial = running_trial(host)
    outcome = trial.follow(ORDER)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.reason) == ("worker_error", "ValueError: bad luck")


def test_a_mistake_of_a_trials_process_is_written_and_is_no_good_end(capfd: pytest.CaptureFixture[str]) -> None:
    """What carries out an order raises where nothing should: the child ends with status 1, its traceback is there."""

    def obey(_order: object) -> None:
        raise AssertionError("a mistake of our own")

    spare = Spare(obey)
    spare.begin(ORDER)
    _, status = os.waitpid(spare.pid, 0)
    spare.close()
    assert os.waitstatus_to_exitcode(status) == 1
    assert "AssertionError: a mistake of our own" in capfd.readouterr().err


class WritingHost(TrialHost):
    """A host of which there is only the file that its processes write in."""

    def __init__(self, file: BinaryIO) -> None:
        self._stderr = file
        self._told = 0


def test_what_processes_write_is_told_once_and_stays_where_they_wrote_it() -> None:
    """A writer that is asked in the middle goes on behind its own words; what is dropped is told no more."""
    with tempfile.TemporaryFile(buffering=0) as file:
        host, writer = WritingHost(file), os.dup(file.fileno())
        os.write(writer, b"of building")
        host.drop_stderr()
        assert host.take_stderr() == ""
        os.write(writer, b"of a worker, ")
        assert host.take_stderr() == "of a worker, "
        os.write(writer, b"and of another")
        assert (host.take_stderr(), host.take_stderr()) == ("and of another", "")
        os.write(writer, b"x" * 5000 + b"the end")
        assert host.take_stderr() == "x" * 3993 + "the end"
        os.close(writer)


def test_what_was_written_before_a_trial_is_no_evidence_of_its_end() -> None:
    """The words of the trial before, which say that shared memory was full, are not this one's."""
    host = ScriptedHost([EOFError("gone")])
    host.words = "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>"
    outcome = running_trial(host).follow(ORDER)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "trial_killed"


def test_a_replay_that_does_not_end_is_given_up() -> None:
    """Its process is never heard of, and nothing ends: the host is given up, the failure stays as it was."""
    host = ScriptedHost()
    failure = Failure(kind="trial_killed", reason="the measuring process was killed by SIGSEGV")
    asked = inquest(host)
    assert asked.replay(failure, REQUEST, 0, host.line.clock, left_seconds=60.0) == failure
    assert not host.alive
    assert host.line.now == pytest.approx(16.1, abs=0.3), "5 s, a second of grace and ten to be abandoned"


def test_a_replay_takes_no_more_than_is_left_of_the_time_budget() -> None:
    """With 2 s left the order says 2 s; with none there is no replay."""
    host = ScriptedHost([Ended(status=0)])
    failure = Failure(kind="trial_killed", reason="the measuring process was killed by SIGSEGV")
    assert inquest(host).replay(failure, REQUEST, 0, host.line.clock, left_seconds=-1.0) == failure
    assert host.line.sent == []
    inquest(host).replay(failure, REQUEST, 0, host.line.clock, left_seconds=2.0)
    assert [order.seconds for order in host.line.sent if isinstance(order, Replay)] == [2.0]


def test_a_process_that_loads_alone_is_abandoned_only_when_that_is_over() -> None:
    """It raised, loads alone and is never over: killed after 6 s, given up ten seconds after that."""
    host = ScriptedHost([RAISED])
    outcome = running_trial(host).follow(ORDER)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, host.alive) == ("worker_error", False)
    assert host.line.now == pytest.approx(16.1, abs=0.3)


def test_a_host_that_died_is_missed_though_somebody_holds_its_line() -> None:
    """The line stays open and silent: the trial is over at the next glance, long before its timeout."""
    host = ScriptedHost()
    host.alive = False
    outcome = running_trial(host).follow(ORDER)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, host.line.now < 1) == ("trial_killed", True)


def test_where_no_death_can_be_told_none_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without descriptors of processes: the next child is not to be forked beside a trial that runs."""
    monkeypatch.setattr(os, "pidfd_open", lambda _pid: (_ for _ in ()).throw(OSError("not here")), raising=False)
    spare = Spare(lambda _order: None)
    assert not spare.wait_until_leaving()
    monkeypatch.undo()
    spare.begin(ORDER)
    assert spare.wait_until_leaving() == hasattr(os, "pidfd_open")
    os.waitpid(spare.pid, 0)
    spare.close()


def test_names_that_are_no_text_end_neither_a_trial_nor_its_post_mortem() -> None:
    """A data set indexed by file names raises at one that is no UTF-8: all that is said of it arrives."""
    name = os.fsdecode(b"caf\xe9.jpg")

    class Missing(dict[str, int]):
        def __missing__(self, key: str) -> int:
            raise FileNotFoundError(key)

    unknown = Suspects(dataset=Missing(), collate=list, batches=[[name]], in_lists=True)
    observer, channel = observer_of([LoadAlone(seconds=5.0)])
    observer.failed(RAISED.aftermath, unknown)
    observer.tell(FileNotFoundError(name))
    raised, trying, loaded = channel.sent
    assert isinstance(raised, Raised)
    assert isinstance(loaded, LoadedAlone)
    assert (raised.message, trying) == ("caf?.jpg", Trying(sample="caf?.jpg"))
    assert (loaded.alone.sample, loaded.alone.raised) == ("caf?.jpg", "FileNotFoundError: caf?.jpg")


@pytest.mark.parametrize(
    ("loading", "is_silent", "is_loading"),
    [((True, False), False, True), ((True,), True, True), ((False,), True, None), ((), True, None), ((), False, None),
     ((False, False), False, False)],
)  # fmt: skip
def test_nobody_is_said_to_load_only_where_everybody_answered(
    loading: tuple[bool, ...], *, is_silent: bool, is_loading: bool | None
) -> None:
    """A worker that waits in the kernel may be loading: that the others load nothing does not tell."""
    stands = [
        Stand(pid=pid, worker=None, sample=None, loading=one, place="a.py:1 (f)", stack="")
        for pid, one in enumerate(loading, 1)
    ]
    mute = [Silence(pid=9, worker=0, is_main=False, state="D")] if is_silent else []
    asked = inquest(ScriptedHost())
    asked.hung(9.0, stalled=True, batches=3, stands=stands, silent=mute)
    assert asked.evidence is not None
    assert asked.evidence.is_loading is is_loading


class FrozenChannel(ScriptedChannel):
    """Whoever reads it is stopped for a minute and a half at the third look, and for no time at any other."""

    looks = 0

    def receive(self, timeout: float | None = None) -> Message | None:
        self.looks += 1
        self.now += 90.0 if self.looks == 3 else 0.0
        return super().receive(timeout)


@pytest.mark.parametrize("answers", [[], [RAISED, Ended(status=0)]])
def test_time_in_which_nobody_watched_makes_no_trial_hang(answers: list[Message]) -> None:
    """Stopped for longer than the timeout: an answer that waits is heard, and without one all of it is still to come.

    Of the 90 s one counts.
    """
    host = ScriptedHost()
    host.line = host.channel = FrozenChannel([Looked(), Looked(), *answers])
    outcome = running_trial(host, timeout_seconds=5.0).follow(ORDER)
    assert isinstance(outcome, Failure)
    assert outcome.kind == ("worker_error" if answers else "hung")
    if not answers:
        assert "no batch in 5 s" in outcome.reason
        assert host.line.now > 90.0 + 4.0


@pytest.mark.parametrize(
    ("config", "step", "seconds"),
    [
        ({"batch_size": 64}, None, 20.0),
        ({"batch_size": 64, "num_workers": 2, "multiprocessing_context": "fork"}, None, 20.0),
        ({"batch_size": 512}, None, 51.2),
        ({"batch_size": 64}, "model", math.inf),
        ({"batch_size": 64, "num_workers": 2, "multiprocessing_context": "spawn"}, None, math.inf),
        ({"batch_size": None}, None, math.inf),
    ],
)
def test_a_first_batch_has_the_time_that_is_explained(config: dict[str, Any], step: str | None, seconds: float) -> None:
    """A third of 60 s, or ten batches of 10 ms a sample; no bound where a step, or a start anew, comes before it."""
    probe = make_probe(seconds_per_sample=0.01, isolation="fork", default_start_method="fork")
    asked = dataclasses.replace(make_request(LoaderConfig(**config)), consumer=Consumer(step=step))
    assert first_batch_seconds(asked, probe, 60.0) == pytest.approx(seconds)
