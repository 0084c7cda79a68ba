"""The process that imports torch and builds the data set once, then forks one child for each trial.

Started as ``python -m loadtune.run.trial_host FD`` by the supervisor. A fork takes about 20 ms where importing torch
takes seconds, and what a trial leaves behind ends with its child.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from loadtune.errors import LoadtuneError, TargetError
from loadtune.measure import page_cache
from loadtune.measure.lifeline import die_with_parent
from loadtune.run.leftovers import SEMAPHORES
from loadtune.run.postmortem import ending
from loadtune.run.process import adopt_orphans, children, end_orphans, native_threads, raise_open_files
from loadtune.run.protocol import (
    Channel,
    Ended,
    Look,
    Looked,
    Measured,
    Raised,
    Ready,
    RunTrial,
    Setup,
    Started,
    Unusable,
)

if TYPE_CHECKING:
    from loadtune.measure.witness import Beats
    from loadtune.record.results import Probe
    from loadtune.workloads.source import Source

_TRACEBACK_LINES = 12


def main(descriptor: int, parent: int) -> None:
    """Serve one parent until it closes the line."""
    die_with_parent(parent)
    adopt_orphans()
    raise_open_files()
    # Ctrl-C in a terminal reaches the whole foreground group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking whether CUDA is there must not initialise it
    with Channel(socket.socket(fileno=descriptor)) as channel, contextlib.suppress(EOFError):
        setup = channel.receive()
        if not isinstance(setup, Setup):
            return
        source = _prepare(channel, setup)
        while source is not None:
            message = channel.receive()
            if isinstance(message, RunTrial):
                _serve(channel, source, message, setup)
            if isinstance(message, RunTrial) and not message.fork:
                return


def _prepare(channel: Channel, setup: Setup) -> Source | None:
    """Build the data set and say what it is like; None when it cannot be used."""
    try:
        import torch  # noqa: F401, PLC0415 - counted before the user's code may start threads

        threads = native_threads()
        source = _resolve(setup)
        # Imported here once, so that no child imports it again.
        import loadtune.measure.probe  # noqa: PLC0415
        import loadtune.measure.trial  # noqa: F401, PLC0415

        reason = _why_not_to_fork(threads)
        channel.send(Ready(probe=_probe(source, setup, reason) if setup.probe else None))
    except LoadtuneError as error:
        about_target = isinstance(error, TargetError)
        channel.send(Unusable(message=str(error), hint=error.hint, about_target=about_target))
        return None
    return source


def _resolve(setup: Setup) -> Source:
    from loadtune.workloads.resolve import resolve_object, resolve_target  # noqa: PLC0415

    if setup.pickle_path is None:
        return resolve_target(setup.target, setup.arguments)
    if setup.import_path is not None:
        sys.path[:] = setup.import_path
    try:
        given = pickle.loads(Path(setup.pickle_path).read_bytes())  # noqa: S301 - written by our own parent just now
    except Exception as error:
        raise TargetError(
            f"{setup.target} cannot be rebuilt in the process that measures: {type(error).__name__}: {error}",
            hint=_tail(error),
        ) from error
    return replace(resolve_object(given, setup.target), by_value=True)


def _why_not_to_fork(threads_before: int) -> str | None:
    """Return why a forked child would not be safe here, or None."""
    import torch  # noqa: PLC0415

    if sys.platform != "linux":
        return f"forking a process that has imported torch is not safe on {sys.platform}"
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return "building the data set initialised CUDA, which does not survive a fork"
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        return f"building the data set left a thread running ({', '.join(others[:3])}), whose locks a fork would freeze"
    native = native_threads() - threads_before
    return f"building the data set left {native} native threads running" if native > 0 else None


def _probe(source: Source, setup: Setup, reason: str | None) -> Probe:
    """Look at the data set in a child, so that neither the device nor the data set is touched in this process."""
    if reason is not None:
        return _probe_here(source, setup, reason)
    reader, writer = os.pipe()
    host, pid = os.getpid(), os.fork()
    if pid == 0:
        die_with_parent(host)
        _answer_probe(writer, source, setup)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        answered = select.select([answer], [], [], setup.probe_timeout_seconds + setup.warm_seconds)[0]
        if not answered:
            os.kill(pid, signal.SIGKILL)
        data = answer.read()
    _, status = os.waitpid(pid, 0)
    if not answered:
        raise TargetError(
            f"the first samples of '{source.name}' took more than {setup.probe_timeout_seconds:g} s (--trial-timeout)"
        )
    if not data:
        raise TargetError(f"the process that loaded the first samples of '{source.name}' {ending(status)}")
    result = pickle.loads(data)  # noqa: S301 - from our own child
    if isinstance(result, LoadtuneError):
        raise result
    return result  # type: ignore[no-any-return]


def _answer_probe(writer: int, source: Source, setup: Setup) -> NoReturn:
    try:
        result: object = _probe_here(source, setup, None)
    except LoadtuneError as error:
        result = error
    except BaseException as error:  # noqa: BLE001 - sys.exit in a data set is its fault, and is said
        result = TargetError(f"loading the first samples of '{source.name}' ended in {type(error).__name__}: {error}")
    with os.fdopen(writer, "wb") as answer:
        answer.write(pickle.dumps(result))
    os._exit(0)


def _probe_here(source: Source, setup: Setup, reason: str | None) -> Probe:
    from loadtune.measure.probe import probe, read_once  # noqa: PLC0415

    page_cache.begin(setup.notes)
    try:
        read = read_once(source, setup.warm_seconds) if setup.warm_seconds else (None, None)
        page_cache.drop_noted()  # the time of a sample is that of cold files then
        seen = probe(source, device=setup.device, seed=setup.seed)
    except LoadtuneError:
        raise
    except Exception as error:
        raise TargetError(
            f"loading the first samples of '{source.name}' raised {type(error).__name__}:"
            f" {' '.join(str(error).split())}",
            hint=_tail(error),
        ) from error
    page_cache.note_held((os.getpid(),))
    return replace(
        seen,
        unpicklable=_unpicklable(source, setup),
        isolation="fresh" if reason else "fork",
        isolation_reason=reason,
        pass_samples=read[0],
        pass_read_bytes=read[1],
    )


def _unpicklable(source: Source, setup: Setup) -> str | None:
    """Return what cannot be sent to a worker, where any will be started that is not a fork."""
    from loadtune.measure.pickling import unpicklable  # noqa: PLC0415

    methods = {method or multiprocessing.get_start_method() for method in setup.start_methods}
    return unpicklable(source) if methods - {"fork"} else None


def _serve(channel: Channel, source: Source, message: RunTrial, setup: Setup) -> None:
    if not message.fork:
        _run(channel, source, message, setup)
        return
    own, host = set(children()), os.getpid()  # what the data set itself has started stays
    pid = os.fork()
    if pid == 0:
        os.setsid()
        die_with_parent(host)
        _run(channel, source, message, setup)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    # The child killed its workers before it left; if it died, they are still there.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    end_orphans(own)
    channel.send(Ended(status=status))


def _run(channel: Channel, source: Source, message: RunTrial, setup: Setup) -> None:
    from loadtune.measure import witness  # noqa: PLC0415
    from loadtune.measure.trial import run_trial  # noqa: PLC0415

    channel.send(Started(pid=os.getpid()))
    # Where multiprocessing keeps its sockets, and how it calls its semaphores: a killed worker cannot tidy up after
    # itself, the parent can.
    settings = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
    settings["tempdir"], settings["semprefix"] = message.scratch, SEMAPHORES.format(pid=os.getpid())
    witness.begin(message.scratch)
    page_cache.begin(setup.notes)
    try:
        measured = run_trial(source, message.request, _AskingObserver(channel, witness.beats(setup.beats)))
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever a data set raises is a result
        channel.send(Raised(type_name=type(error).__name__, message=str(error)[:4000], traceback_tail=_tail(error)))
    else:
        channel.send(Measured(steady=measured))


def _tail(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(lines[-_TRACEBACK_LINES:])[:4000]


class _AskingObserver:
    """Asks the parent to look at the memory of this process, and lets it see that batches come."""

    def __init__(self, channel: Channel, beats: Beats) -> None:
        self._channel = channel
        self.beats = beats

    def look(self, batches: int) -> None:
        self._channel.send(Look(batches=batches))

    def has_looked(self) -> bool:
        return isinstance(self._channel.receive(timeout=0), Looked)

    def wait(self) -> None:
        self._channel.receive()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
