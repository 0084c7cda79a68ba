"""Where the processes of a trial stand: asked by a signal, told by stacks and by the sample that each is loading."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtune.measure.witness import ASK, FETCHING, FILE_PREFIX
from loadtune.run.threads import parse_state
from loadtune.units import as_utf8

ANSWER_SECONDS = 1.0
"""A process that has not answered by then is stuck in C code, and has given its stack at most."""
_MOST_BYTES = 16_384
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
_SHUTTING_DOWN = re.compile(
    r'dataloader\.py", line \d+ in _shutdown_workers$|process\.py", line \d+ in join\n  File ".*dataloader\.py"',
    re.MULTILINE,
)
"""In a stack of the process that takes the batches: the epoch is over, and it waits for its workers to end."""
_LOADTUNE = f"{Path(__file__).parents[1]}{os.sep}"
"""Where this package lies: a user's checkout may have its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where one process stands."""

    pid: int
    worker: int | None
    """Number of the worker; None for the process that takes the batches."""
    sample: str | None
    """Index of the sample that it is loading; None where it loads none, or where that is not known."""
    loading: bool
    """Whether it is inside of the data set."""
    place: str
    """File, line and function: the innermost that is the user's own, else the innermost."""
    stack: str
    """Of all its threads, the most recent call first."""
    is_main: bool = True
    """Whether it is the process that takes the batches, where it is no worker whose number is known."""

    def __str__(self) -> str:
        who = "the process itself" if self.is_main else "a worker"
        who = who if self.worker is None else f"worker {self.worker}"
        what = f"at sample {self.sample}, in" if self.sample is not None else "in"
        return f"{who} stood {what} {self.place}"


WITHOUT_A_WORD = "without a word, as a worker does where a sample raises KeyboardInterrupt"
_WHY_SILENT = {
    "T": "is stopped (SIGSTOP, a terminal or a debugger)",
    "t": "is stopped by a debugger",
    "D": "waits in the kernel for a disk or a server",
    "Z": f"has ended by itself {WITHOUT_A_WORD}",
}
"""By the state of a process (proc(5)), why it tells nothing of where it stands."""
_ENDED_IN_TIME = (
    "has ended, and the process itself stood in the shutdown of its workers: it waits there for one that goes on, or "
    "for a child that one has left"
)
"""At the end of an epoch workers end with nothing to say, as they should."""
_DEAF = "does not answer: it blocks the signal that asks where it stands, or has a handler of its own for it"
_REPLACED = "does not answer: it runs another program by now (os.exec), or has put the signal aside that asks it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A process of a trial that does not tell where it stands."""

    pid: int
    worker: int | None
    """Number of the worker, where it is known."""
    is_main: bool
    """Whether it is the one that takes the batches."""
    state: str | None
    """Letter of its state (proc(5)); None where it is not known."""
    hears: bool = True
    """Whether it has a handler for the signal that asks."""
    is_shut_down: bool = False
    """Whether the process that takes the batches stood in the shutdown of its workers."""

    def __str__(self) -> str:
        number = f"worker {self.worker}" if self.worker is not None else "a worker"
        who = "the process itself" if self.is_main else number
        why = _WHY_SILENT.get(self.state or "", _DEAF if self.hears else _REPLACED)
        if self.state == "Z" and self.is_shut_down and not self.is_main:
            why = _ENDED_IN_TIME
        return f"{who} (process {self.pid}) {why}"


def silent(pids: Sequence[int], folder: Path, seen: Sequence[Stand], workers: Sequence[int]) -> list[Silence]:
    """Return those of a trial's processes that could have answered and did not, with what the kernel says of them.

    Args:
        pids: That of the trial, and those below it.
        folder: Where they answer.
        seen: What came.
        workers: Process ids by number, as far as they are known.
    """
    numbers = {pid: number for number, pid in enumerate(workers)}
    noted = {int(file.name.removeprefix(FILE_PREFIX)) for file in folder.glob(f"{FILE_PREFIX}[0-9]*")}
    # A worker that is collected already is below nobody.
    mute = sorted((noted & {*pids, *workers}) - {stand.pid for stand in seen})
    is_shut_down = any(stand.is_main and _SHUTTING_DOWN.search(stand.stack) for stand in seen)
    return [
        Silence(
            pid=pid,
            worker=numbers.get(pid),
            is_main=pid == pids[0],
            state=process_state(pid),
            hears=_hears(pid),
            is_shut_down=is_shut_down,
        )
        for pid in mute
    ]


def _hears(pid: int) -> bool:
    """Return whether a process has a handler for the signal, which ends one that has none: after os.exec nobody has.

    True where the system does not tell.
    """
    try:
        caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return True
    return ASK is None or caught is None or bool(int(caught[1], 16) >> (ASK - 1) & 1)


def process_state(pid: int) -> str | None:
    """Return the letter of a process's state (proc(5)), Z where it is gone; None where the system does not tell."""
    try:
        return parse_state(Path(f"/proc/{pid}/stat").read_bytes())
    except FileNotFoundError:
        return "Z" if Path("/proc/self/stat").exists() else None
    except (OSError, IndexError):
        return None


def ask(pids: Sequence[int], folder: Path, workers: Sequence[int] = ()) -> list[Stand]:
    """Return where those processes stand that can answer, in the order of ``pids``.

    Args:
        pids: That of the trial first.
        folder: Where they answer.
        workers: Process ids by number, as far as they are known.
    """
    if ASK is None:
        return []
    files = {pid: folder / f"{FILE_PREFIX}{pid}" for pid in pids}
    files = {pid: file for pid, file in files.items() if file.exists()}  # the signal would kill another
    files = {pid: file for pid, file in files.items() if _hears(pid)}
    for pid in files:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, ASK)
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline and not all(file.read_bytes().endswith(b"}\n") for file in files.values()):
        time.sleep(0.02)
    answers = {pid: file.read_bytes()[-_MOST_BYTES:].decode(errors="replace") for pid, file in files.items()}
    numbers = {pid: number for number, pid in enumerate(workers)}
    seen = (parse(pid, text) for pid, text in answers.items() if text)
    return [
        replace(
            stand,
            worker=stand.worker if stand.worker is not None else numbers.get(stand.pid),
            is_main=stand.pid == pids[0],
        )
        for stand in seen
    ]


def parse(pid: int, text: str) -> Stand:
    """Return what an answer says: stacks as faulthandler writes them, then a line of JSON unless Python was stuck."""
    stack, _, last = text.rstrip("\n").rpartition("\n")
    said: dict[str, object] = {}
    try:
        said = json.loads(last)
    except ValueError:
        stack = text
    threads = stack.split("\n\n")
    # The one that answers need not be the one that loads: a thread may block the signal.
    current = next((one for one in threads if one.startswith("Current thread")), stack)
    own = next((one for one in threads if FETCHING in one), current)
    frames = _FRAME.findall(own)
    worker, sample = said.get("worker"), said.get("sample") or said.get("batch")
    return Stand(
        pid=pid,
        worker=worker if isinstance(worker, int) else None,
        sample=as_utf8(str(sample)) if sample is not None else None,
        loading=any(file.endswith(FETCHING) for file, _, _ in frames),
        place=_place(frames),
        stack=stack.strip(),
    )


def _place(frames: Sequence[tuple[str, str, str]]) -> str:
    libraries = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    own = [frame for frame in frames if not frame[0].startswith((*libraries, "<"))]
    # Python's own library may lie around the packages' and the frame of loadtune beside the user's.
    own = [frame for frame in own if not frame[0].startswith(_LOADTUNE)]
    if not frames:
        return "a place that is not known"
    file, line, function = (own or frames)[0]
    return f"{Path(file).name}:{line} ({function})"
