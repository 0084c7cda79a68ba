"""The process that imports torch and builds the data set once, then forks one child for each trial.

``run.guardian`` starts it, is its parent, and ends what it leaves. A fork takes about 20 ms where importing torch takes
seconds, and what a trial leaves behind ends with its child.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loadtune.errors import LoadtuneError, TargetError
from loadtune.measure import open_files, page_cache
from loadtune.measure.aside import (
    LINE_CLOSED_CODE,
    AsideDiedError,
    AsideError,
    AsideLateError,
    aside,
    is_same,
)
from loadtune.measure.lifeline import die_with_parent
from loadtune.measure.witness import ASK
from loadtune.record.failure import Aftermath
from loadtune.run import building
from loadtune.run.content_check import with_contents
from loadtune.run.leftovers import SEMAPHORES
from loadtune.run.memory import read_process
from loadtune.run.process import adopt_orphans, children, end_orphans, native_threads, raise_open_files
from loadtune.run.protocol import (
    Begin,
    Channel,
    End,
    Ended,
    LoadAlone,
    LoadedAlone,
    Look,
    Looked,
    Measured,
    Raised,
    Ready,
    Replay,
    RunStep,
    RunTrial,
    Setup,
    Started,
    Trying,
    Unusable,
)
from loadtune.run.scene import Scene
from loadtune.run.spare import Spare
from loadtune.run.step_orders import run_step
from loadtune.units import as_utf8, words_of

if TYPE_CHECKING:
    from loadtune.measure.alone import Suspects
    from loadtune.measure.witness import Beats
    from loadtune.record.results import Probe
    from loadtune.workloads.source import Source

_TRACEBACK_LINES = 12
_LONGEST_NAME = 200


def main(descriptor: int, parent: int) -> None:
    """Serve the sweep until it closes the line.

    Args:
        descriptor: The line.
        parent: Process id of this process's parent, with which it dies.
    """
    die_with_parent(parent)
    adopt_orphans()
    raise_open_files()
    # Ctrl-C in a terminal reaches the whole foreground group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking whether CUDA is there must not initialise it
    if ASK is not None and hasattr(faulthandler, "register"):
        faulthandler.register(ASK, all_threads=True)  # where it stands, on standard error
    line = os.fstat(descriptor)
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.suppress(EOFError):
        setup = channel.receive()
        if isinstance(setup, Setup) and (prepared := _prepare(channel, setup)) is not None:
            _serve(channel, *prepared, setup)
    if not is_same(descriptor, line):
        os._exit(LINE_CLOSED_CODE)
    channel.close()


def _serve(channel: Channel, source: Source, own: Sequence[int], setup: Setup) -> None:
    """Run one trial after another in children, or a single one here where a fork is not safe."""
    forks: _Forks | None = None
    while True:
        order = channel.receive()
        if isinstance(order, RunTrial) and not order.fork:
            _run(channel, source, setup, order)
            end_orphans(())
            return
        if isinstance(order, RunStep):
            channel.send(run_step(source, order))
            if not order.fork:
                return
            continue
        if not isinstance(order, (RunTrial, Replay)):
            continue
        forks = forks or _Forks(channel, source, own, setup)
        forks.serve(order)


def _prepare(channel: Channel, setup: Setup) -> tuple[Source, list[int]] | None:
    """Build the data set and say what it is like; return it, and the process ids of what it has started by itself.

    None when it cannot be used.
    """
    try:
        import torch  # noqa: F401, PLC0415 - counted before the user's code may start threads

        threads, files = native_threads(), open_files.descriptors()
        before = read_process(os.getpid())
        channel.send(Started(pid=os.getpid()))
        source = _resolve(setup)
        own = children()
        after = read_process(os.getpid())
        if hasattr(signal, "SIGCHLD"):  # what the data set does about it would hide how trials end
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Imported here once, so that no child imports it again.
        import loadtune.measure.probe  # noqa: PLC0415
        import loadtune.measure.trial  # noqa: F401, PLC0415

        reason = _why_not_to_fork(threads)
        probe = _probe(source, setup, reason) if setup.probe else None
        if probe is not None:
            probe = with_contents(probe, source, setup, open_files.opened_since(files))
        if probe is not None and before is not None and after is not None:
            probe = replace(probe, built_bytes=max(0, after.anonymous - before.anonymous))
        if reason is None:
            end_orphans(own)  # what a look has left, to be seen beside no trial
        channel.send(Ready(probe=probe))
    except LoadtuneError as error:
        hint = as_utf8(error.hint[:4000]) if error.hint is not None else None
        about_target = isinstance(error, TargetError)
        channel.send(Unusable(message=words_of(error), hint=hint, about_target=about_target))
        return None
    return source, own


def _resolve(setup: Setup) -> Source:
    from loadtune.workloads.resolve import resolve_object, resolve_target  # noqa: PLC0415

    if setup.import_path is not None:
        sys.path[:] = setup.import_path
    if setup.pickle_path is None:
        return resolve_target(setup.target, setup.arguments)
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
    others = [
        as_utf8(thread.name[:_LONGEST_NAME])
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
    ]
    if others:
        return f"building the data set left a thread running ({', '.join(others[:3])}), whose locks a fork would freeze"
    native = native_threads() - threads_before
    return f"building the data set left {native} native threads running" if native > 0 else None


def _probe(source: Source, setup: Setup, reason: str | None) -> Probe:
    """Look at the data set in a child, so that neither the device nor the data set is touched in this process."""
    if reason is not None:
        return _probe_here(source, setup, reason)
    scene = Scene()
    try:
        seen = aside(
            partial(_probe_or_error, source, setup), within_seconds=setup.probe_timeout_seconds + setup.warm_seconds
        )
    except AsideLateError:
        raise TargetError(
            f"the first samples of '{source.name}' took more than {setup.probe_timeout_seconds:g} s (--trial-timeout)"
        ) from None
    except AsideDiedError as error:
        what = building.LINE_CLOSED if building.closed_its_line(error.status) else scene.ending(error.status)
        raise TargetError(f"the process that loaded the first samples of '{source.name}' {what}") from None
    except AsideError as error:  # sys.exit in a data set is its fault, and is said
        raise TargetError(f"loading the first samples of '{source.name}' ended in {error}") from None
    if isinstance(seen, LoadtuneError):
        raise seen
    return seen  # type: ignore[no-any-return]


def _probe_or_error(source: Source, setup: Setup) -> Probe | LoadtuneError:
    """Return what the data set is like, or why it cannot be used, with the hint that an exception loses on its way."""
    try:
        return _probe_here(source, setup, None)
    except LoadtuneError as error:
        return error


def _try_step(source: Source, setup: Setup) -> None:
    """Make the training step once: one that cannot be had is said before any trial."""
    from loadtune.measure import step  # noqa: PLC0415

    if setup.consumer is None or setup.consumer.step is None:
        return
    try:
        step.build(setup.consumer, source.workload)
    except LoadtuneError:
        raise
    except Exception as error:
        raise _unloadable(f"making the step '{setup.consumer.step}'", error) from error


def _probe_here(source: Source, setup: Setup, reason: str | None) -> Probe:
    from loadtune.measure.probe import SampleError, probe, read_once  # noqa: PLC0415

    page_cache.begin(setup.notes)
    unpicklable = _unpicklable(source, setup)  # as workers will be sent it: a sample may open what cannot be sent
    try:
        read = read_once(source, setup.warm_seconds) if setup.warm_seconds else (None, None)
        page_cache.drop_noted()  # the time of a sample is that of cold files then
        seen = probe(source, device=setup.device, seed=setup.seed)
    except LoadtuneError:
        raise
    except SampleError as error:
        raise _unloadable(f"loading sample {error} of '{source.name}'", error.__cause__ or error) from error
    except Exception as error:
        raise _unloadable(f"loading the first samples of '{source.name}'", error) from error
    page_cache.note_held((os.getpid(),))
    _try_step(source, setup)
    return replace(
        seen,
        unpicklable=unpicklable,
        isolation="fresh" if reason else "fork",
        isolation_reason=reason,
        pass_samples=read[0],
        pass_read_bytes=read[1],
    )


def _unloadable(doing: str, error: BaseException) -> TargetError:
    said = " ".join(words_of(error).split()) or "no message"
    return TargetError(f"{doing} raised {type(error).__name__[:_LONGEST_NAME]}: {said}", hint=_tail(error))


def _unpicklable(source: Source, setup: Setup) -> str | None:
    """Return what cannot be sent to a worker, where any will be started that is not a fork."""
    from loadtune.measure.pickling import unpicklable  # noqa: PLC0415

    methods = {method or multiprocessing.get_start_method() for method in setup.start_methods}
    return unpicklable(source) if methods - {"fork"} else None


class _Forks:
    """Carries each order out in a child that was forked ahead of it."""

    def __init__(self, channel: Channel, source: Source, own: Sequence[int], setup: Setup) -> None:
        self._channel = channel
        self._obey = partial(_obey, channel, source, setup)
        self._own = set(own)  # what the data set itself has started stays
        self._spare = Spare(self._obey)

    def serve(self, order: RunTrial | Replay) -> None:
        """Carry one order out to its end, and leave nothing of it."""
        trial = self._begun(order)
        is_leaving = trial.wait_until_leaving()
        if is_leaving:
            self._spare = Spare(self._obey)
        _, status = os.waitpid(trial.pid, 0)
        if not is_leaving:
            self._spare = Spare(self._obey)
        trial.close()
        # The child killed its workers before it left; if it died, they are still there.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(trial.pid, signal.SIGKILL)
        ended = end_orphans({*self._own, self._spare.pid})
        self._channel.send(Ended(status=status, pids=(trial.pid, *ended)))

    def _begun(self, order: RunTrial | Replay) -> Spare:
        try:
            self._spare.begin(order)
        except EOFError:  # killed while it waited, by whatever kills here
            self._spare.close()
            end_orphans(self._own)
            self._spare = Spare(self._obey)
            self._spare.begin(order)
        return self._spare


def _obey(channel: Channel, source: Source, setup: Setup, order: RunTrial | Replay) -> None:
    if isinstance(order, RunTrial):
        _run(channel, source, setup, order)
    else:
        _replay(channel, source, order)


def _run(channel: Channel, source: Source, setup: Setup, message: RunTrial) -> None:
    from loadtune.measure import witness  # noqa: PLC0415
    from loadtune.measure.trial import run_trial  # noqa: PLC0415

    channel.send(Started(pid=os.getpid()))
    # Where multiprocessing keeps its sockets, and how it calls its semaphores: a killed worker cannot tidy up after
    # itself, the parent can.
    settings = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
    settings["tempdir"], settings["semprefix"] = setup.scratch, SEMAPHORES.format(pid=os.getpid())
    witness.begin(setup.scratch)
    page_cache.begin(setup.notes)
    observer = _AskingObserver(channel, witness.beats(setup.beats))
    try:
        measured, rungs = run_trial(source, message.request, observer)
    except BaseException as error:  # noqa: BLE001 - whatever a data set raises is a result
        observer.tell(error)
    else:
        channel.send(Measured(steady=measured, rungs=rungs))


def _replay(channel: Channel, source: Source, message: Replay) -> None:
    from loadtune.measure.alone import suspects_of  # noqa: PLC0415

    channel.send(Started(pid=os.getpid()))
    suspects = suspects_of(source, message.request, message.batch)
    if suspects is not None:
        alone = suspects.load(message.seconds, lambda sample: channel.send(Trying(sample=sample)))
        channel.send(LoadedAlone(alone=alone))


def _tail(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return as_utf8("\n".join(lines[-_TRACEBACK_LINES:])[:4000])


class _AskingObserver:
    """Tells the parent when to look at this process's threads and memory, and lets it see that batches come."""

    def __init__(self, channel: Channel, beats: Beats) -> None:
        self._channel = channel
        self.beats = beats
        self._aftermath = Aftermath()
        self._suspects: Suspects | None = None

    def begin(self, workers: Sequence[int]) -> None:
        self._channel.send(Begin(workers=tuple(workers)))

    def end(self) -> None:
        self._channel.send(End())

    def look(self, batches: int) -> None:
        self._channel.send(Look(batches=batches))

    def has_looked(self) -> bool:
        return isinstance(self._channel.receive(timeout=0), Looked)

    def wait(self) -> None:
        self._channel.receive()

    def failed(self, seen: Aftermath, suspects: Suspects | None) -> None:
        self._aftermath, self._suspects = seen, suspects

    def tell(self, error: BaseException) -> None:
        """Say what was raised; where a worker failed at known samples, load these alone when told to."""
        suspects = self._suspects
        self._channel.send(
            Raised(
                type_name=as_utf8(type(error).__name__[:_LONGEST_NAME]),
                message=words_of(error),
                traceback_tail=_tail(error),
                aftermath=self._aftermath,
                suspects=len(suspects.indices) if suspects is not None else 0,
            )
        )
        if suspects is None or not suspects.indices:
            return
        order = self._channel.receive()
        while not isinstance(order, LoadAlone):  # the answer to a look that was under way when it raised
            order = self._channel.receive()
        if order.seconds > 0:
            alone = suspects.load(order.seconds, lambda sample: self._channel.send(Trying(sample=sample)))
            self._channel.send(LoadedAlone(alone=alone))
