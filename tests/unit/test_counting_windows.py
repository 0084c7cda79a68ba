"""Which part of a trial has its threads counted: all of the windows, whatever is looked at meanwhile, and no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from scripted_machine import a_record
from torch.utils.data import TensorDataset

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Measurement, TrialRequest
from loadtune.describe.workload import Workload
from loadtune.measure.trial import run_trial
from loadtune.record.failure import Aftermath
from loadtune.record.results import SteadyMeasurement
from loadtune.run.gpu import DeviceMemory
from loadtune.run.protocol import Begin, End, Ended, Look, Measured, Message, RunTrial, Started
from loadtune.run.scene import Scene
from loadtune.run.threads import APART_SECONDS
from loadtune.run.watch import GLANCE_SECONDS, Patience, RunningTrial
from loadtune.workloads.source import Source

CONFIG = LoaderConfig(batch_size=8)


def asked() -> TrialRequest:
    plan = Measurement(max_seconds=1.0, window_seconds=0.05, precision=1e-9, look_early=True, pause_seconds=0.0)
    return TrialRequest(order=0, block=0, phase="verify", config=CONFIG, measurement=plan, consumer=Consumer())


class Noting:
    """An observer that keeps what it is told; every look is over at once."""

    def __init__(self) -> None:
        self.beats = memoryview(bytearray(8)).cast("q")
        self.told: list[str] = []

    def begin(self, workers: object) -> None:
        self.told.append("begin")

    def end(self) -> None:
        self.told.append("end")

    def look(self, batches: int) -> None:
        self.told.append("look")

    def has_looked(self) -> bool:
        return True

    def wait(self) -> None:
        pass

    def failed(self, seen: Aftermath, suspects: object) -> None:
        raise AssertionError(seen)


def test_a_trial_says_when_its_windows_begin_and_end() -> None:
    """The look in the middle lies within the windows, the one of the full queue after their end."""
    workload = Workload(dataset=TensorDataset(torch.zeros(64, 4)))
    observer = Noting()
    run_trial(Source(name="zeros", workload=workload, baseline=CONFIG), asked(), observer)
    assert observer.told == ["look", "begin", "look", "end", "look"]


class ScriptedHost:
    """A host whose trial says what is scripted; None is a glance's time without a word."""

    def __init__(self, script: list[Message | None], folder: Path) -> None:
        self.now, self.pid, self.scratch = 0.0, os.getpid(), str(folder)
        self.script, self.channel = script, self

    def receive(self, timeout: float) -> Message | None:
        message = self.script.pop(0)
        self.now += timeout if message is None else 0.0
        return message

    def send(self, message: Message) -> None:
        pass

    def beats(self) -> int:
        return 0

    def tidy(self, *_: object) -> None:
        pass

    def drop_stderr(self) -> None:
        pass

    def take_stderr(self) -> str:
        return ""

    stderr_tail = take_stderr


def test_threads_are_counted_over_all_windows_and_no_pause(tmp_path: Path) -> None:
    """Of 1 s before, 2 s of windows with a look between and 1 s of pause, two seconds are counted, at their pace."""
    second: list[Message | None] = [None] * round(1 / GLANCE_SECONDS)
    measured = Measured(steady=a_measurement())
    script = [
        Started(pid=os.getpid()), *second, Begin(workers=()), *second, Look(batches=9), *second, End(), *second,
        Look(batches=20), measured, Ended(status=0),
    ]  # fmt: skip
    host: Any = ScriptedHost(script, tmp_path)
    trial = RunningTrial(
        host,
        DeviceMemory(None),
        patience=Patience(timeout_seconds=60.0, within_seconds=60.0),
        clock=lambda: host.now,
        scene=Scene(),
        config=CONFIG,
        cpu_clock=lambda: 0.0,
    )
    order = RunTrial(request=asked(), fork=True)
    assert trial.follow(order) == measured.steady
    pace = -(-APART_SECONDS // GLANCE_SECONDS) * GLANCE_SECONDS
    assert abs(trial.threads.measured().samples - 2 / pace) <= 1


def a_measurement() -> SteadyMeasurement:
    record = a_record(CONFIG)
    assert record.steady is not None
    return record.steady
