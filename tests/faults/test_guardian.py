"""Programs that a data set has started, when the sweep, the trial host or the guardian's peace is killed."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from single_trials import LONG, asked, host_of

from faults import until
from loadtune.run import guardian

pytestmark = pytest.mark.own_interpreter

CLINGING = Path(__file__).with_name("clinging_targets.py")


def noted(notes: Path, at_least: int = 3) -> list[psutil.Process]:
    """Return the programs that the data set has started, once they are there."""
    until(lambda: notes.exists() and len(notes.read_text().split()) >= at_least)
    return [psutil.Process(int(pid)) for pid in notes.read_text().split() if psutil.pid_exists(int(pid))]


def left(programs: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(programs, timeout=5)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("name", ["building", "in_trial"])
def test_a_killed_sweep_leaves_no_program_of_its_data_set(name: str, tmp_path: Path) -> None:
    """SIGKILL of the parent in mid-trial ends a manager, a program and a daemon that the data set has started."""
    notes = tmp_path / "notes"
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from single_trials import *\n"
        "with host_of(sys.argv[3], notes=sys.argv[4]) as running:\n"
        "    running.run(asked(batch_size=8, num_workers=0, measurement=LONG))"
    )
    folders = [str(CLINGING.parents[1] / "integration"), str(CLINGING.parent)]
    with subprocess.Popen([sys.executable, "-c", script, *folders, f"{CLINGING}:{name}", str(notes)]) as parent:
        # What looks at the first samples is the first to start them in a trial; those of the trial come after.
        programs = noted(notes, 3 if name == "building" else 6)
        until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) > len(programs))
        below = psutil.Process(parent.pid).children(recursive=True)
        assert len(programs) == 3
        assert {one.pid for one in programs} <= {one.pid for one in below}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            psutil.Process(parent.pid).children()[0].send_signal(number)  # the guardian is deaf to a terminal
        parent.kill()
    assert left(below) == []


@pytest.mark.parametrize("whom", ["host", "guardian"])
def test_a_killed_host_leaves_nothing_and_the_sweep_goes_on(whom: str, tmp_path: Path) -> None:
    """SIGKILL of host or guardian in mid-trial: its trial is failed, its programs are gone, the next trial is sound."""
    notes, before = tmp_path / "notes", psutil.Process().children(recursive=True)
    with host_of(f"{CLINGING}:in_trial", notes=str(notes)) as running:
        host = running._host.pid
        victim = host if whom == "host" else psutil.Process(host).ppid()
        killer = threading.Thread(target=lambda: (noted(notes, 6), os.kill(victim, signal.SIGKILL)))
        killer.start()
        killed = running.run(asked(batch_size=8, num_workers=0, measurement=LONG))
        killer.join()
        programs = noted(notes)
        assert left(programs) == []
        sound = running.run(asked(batch_size=8, num_workers=0))
        assert running._host.pid != host
        below = [one for one in psutil.Process().children(recursive=True) if one not in before]
    assert (killed.status, killed.failure_kind, sound.status) == ("failed", "trial_killed", "ok")
    assert "SIGKILL" in (killed.failure_reason or "")
    assert left(below) == []
    assert left(noted(notes)) == []


def test_the_guardian_is_small_and_no_part_of_what_is_measured(tmp_path: Path) -> None:
    """It holds neither torch nor the data set, and a trial's memory is that of a process below it."""
    with host_of(f"{CLINGING}:building", notes=str(tmp_path / "notes")) as running:
        host = psutil.Process(running._host.pid)
        guardian = host.parent()
        assert guardian is not None
        assert guardian.parent() == psutil.Process()
        assert guardian.memory_info().rss < 32 << 20 < 128 << 20 < host.memory_info().rss
        busy = sum(guardian.cpu_times()[:2])
        running.run(asked(batch_size=8, num_workers=0))
        assert sum(guardian.cpu_times()[:2]) - busy <= 0.02, "it sleeps while a trial runs"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda: os._exit(3), 3 << 8),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), signal.SIGSEGV),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), signal.SIGTERM),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), signal.SIGKILL),
    ],
)
def test_the_guardian_ends_as_its_host_did(end: Callable[[], None], status: int) -> None:
    """Exit code or signal of the host are the guardian's own, so that whoever waits for it learns them."""
    line = os.open(os.devnull, os.O_RDONLY)
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        guardian.main(line, parent)
        faulthandler.disable()
        end()
        os._exit(99)
    os.close(line)
    assert os.waitpid(pid, 0)[1] & ~0x80 == status
