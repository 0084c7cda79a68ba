"""What other work takes of the machine while a trial is measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from scripted_machine import a_record

from loadtune.describe.config import LoaderConfig
from loadtune.judge.prediction import quiet_trials, taken_cores
from loadtune.measure.others import Moment, busy_seconds, now, parse_idle_ticks


def test_what_is_neither_idle_nor_ours() -> None:
    """Ten seconds of four CPUs, 25 s of them idle and 9 s ours, leave 6 s to others; less than nothing is nothing."""
    before, after = Moment(100.0, 50.0), Moment(110.0, 75.0)
    assert busy_seconds(before, after, 9.0, 4) == pytest.approx(6.0)
    assert busy_seconds(before, after, 20.0, 4) == 0.0
    assert busy_seconds(None, after, 9.0, 4) is None
    assert busy_seconds(before, after, None, 4) is None


def test_idle_is_read_with_what_waits_for_a_disk() -> None:
    """The fourth and fifth figure of /proc/stat's first line count as idle."""
    assert parse_idle_ticks(b"cpu  10 20 30 400 50 6 7 8 9 0\n") == 450


@pytest.mark.skipif(now() is None, reason="the system tells nothing of idle time")
def test_a_busy_process_is_seen() -> None:
    """A process that computes for half a second takes at least half of a core, as the clocks tell."""
    code = "import time; end = time.time() + 5\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as busy:
        time.sleep(0.3)
        before, own = now(), time.process_time()
        time.sleep(0.5)
        after = now()
        busy.kill()
    assert before is not None
    assert after is not None
    taken = busy_seconds(before, after, time.process_time() - own, os.cpu_count() or 1)
    assert taken is not None
    assert taken >= 0.25


def test_disturbed_trials_do_not_count() -> None:
    """Of two trials of one configuration the one in which others took a core is left out, of another both are kept."""
    first, second = LoaderConfig(batch_size=8), LoaderConfig(batch_size=16)
    records = [
        a_record(config, order=order, others_cpu_seconds=others)
        for order, (config, others) in enumerate([(first, 0.02), (first, 0.9), (second, 0.9), (second, 0.95)])
    ]
    assert taken_cores(records[1]) == pytest.approx(0.9, rel=0.01)
    assert [record.order for record in quiet_trials(records)] == [0, 2, 3]
    assert taken_cores(a_record(first)) is None
