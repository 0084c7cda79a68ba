"""What the parent process and the trial host say to each other: typed messages over a socket that keeps them whole."""

from __future__ import annotations

import socket
import sys
from typing import Any

import msgspec

from loadtune.describe.plan import Consumer, TrialRequest
from loadtune.record.batch_size import StepMeasurement, StepRequest
from loadtune.record.failure import Aftermath, Alone
from loadtune.record.noise_scale import Gradients
from loadtune.record.results import Probe, Rung, SteadyMeasurement
from loadtune.units import as_utf8

MAX_MESSAGE_BYTES = 1 << 18


class Setup(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To the host, once: what to load from."""

    target: str
    arguments: dict[str, str]
    pickle_path: str | None = None
    """A file with the pickled object that the Python API was given, in place of a target."""
    import_path: tuple[str, ...] | None = None
    """Where the calling script imports from, so that what it imported is found again; None is Python's own."""
    device: str
    seed: int
    warm_seconds: float
    """Time for an untimed pass over the data set that fills the page cache, or finds the files; 0 is none."""
    beats: int | None = None
    """Descriptor of a file of 8 bytes, inherited by the host, that counts the batches; None is nobody counts."""
    scratch: str | None = None
    """A directory for what multiprocessing puts into files, and for stacks; whoever starts the host removes it."""
    notes: str | None = None
    """A file that those who read the data set note in which files they read; None is nowhere."""
    probe_timeout_seconds: float = 60.0
    """Time for the first samples, after which a data set is said to hang."""
    build_timeout_seconds: float = 600.0
    """Time for building the data set, beside that for what is looked at then."""
    start_methods: tuple[str | None, ...] = (None,)
    """How workers will be started, to see whether all can be sent to them; None is Python's own way here."""
    worker_counts: tuple[int, ...] = ()
    """Numbers of workers that will be tried, for which the contents of samples are checked; none is no check."""
    consumer: Consumer | None = None
    """What will take the batches of the trials: its step is made once before them; None is not looked at."""
    probe: bool = True
    """Whether to look at the first samples; a host that is started again need not."""


class Ready(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the host: the data set is there."""

    probe: Probe | None
    """What the data set is like; None where that was not asked for."""


class Unusable(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the host: the target cannot be used, and why."""

    message: str
    hint: str | None
    about_target: bool
    """Whether the target is to blame; otherwise an option."""


class RunTrial(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To the host: run one trial."""

    request: TrialRequest
    fork: bool
    """Whether in a forked child; otherwise in the host itself, which then ends."""


class Started(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the host when it begins to build, and from the trial's process: each leads a process group of its own."""

    pid: int


class Begin(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the trial's process: its windows begin."""

    workers: tuple[int, ...]
    """Process ids of the workers, by their numbers; those of a loader of its own kind are not known."""


class End(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the trial's process: its windows are over; what comes now is no loading at full speed."""


class Look(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the trial's process: now is a good moment to look at its memory."""

    batches: int


class Looked(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To the trial's process: the look is over."""


class Measured(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the trial's process: what it measured."""

    steady: SteadyMeasurement
    rungs: tuple[Rung, ...] = ()


class Raised(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the trial's process: it raised."""

    type_name: str
    message: str
    traceback_tail: str
    aftermath: Aftermath = Aftermath()
    suspects: int = 0
    """Samples at one of which a worker failed; where there are any, the process waits to be told to load them."""


class LoadAlone(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To a trial's process that raised: load the samples at which a worker failed one by one, and then end."""

    seconds: float
    """For how long; 0 is to end at once."""


class Replay(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To the host: load the batch at which a trial without workers died once more, sample by sample, in a child."""

    request: TrialRequest
    batch: int
    """Its number in the trial's order of samples."""
    seconds: float


class Trying(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the process that loads samples alone: what comes next."""

    sample: str | None
    """Index of the sample; None where it is their batch that is put together."""


class LoadedAlone(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the process that loads samples alone: what came of it."""

    alone: Alone


class Leaving(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the trial's process to the host: all that is left is to end, which takes a while."""


class Ended(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the host: the trial's process is gone, with this status of wait(2), and so are its children."""

    status: int
    pids: tuple[int, ...] = ()
    """Process ids of all of them."""


class RunStep(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To the host: run the training step at one batch size, in a child or, where a fork is not safe, in itself."""

    request: StepRequest
    fork: bool
    within_seconds: float


class Stepped(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From the host: what became of the step."""

    measured: StepMeasurement | None = None
    """None where its process died, took too long, or could not begin."""
    gradients: Gradients | None = None
    """Where they were asked for, and came to their end."""
    status: int | None = None
    """Of a process that died, as wait(2) gives it."""
    is_late: bool = False
    unusable: str | None = None
    """Why there is no step to run."""


Message = (
    Setup | Ready | Unusable | RunTrial | Started | Begin | End | Look | Looked | Measured | Raised | LoadAlone
    | Replay | Trying | LoadedAlone | Leaving | Ended | RunStep | Stepped
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def _encoded(message: Message) -> bytes:
    """Return a message as it travels; what is no text in it, as in names of files, has question marks there."""
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        return _encoder.encode(_as_utf8(msgspec.to_builtins(message)))


def _as_utf8(value: Any) -> Any:
    if isinstance(value, dict):
        return {_as_utf8(key): _as_utf8(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_utf8(part) for part in value]
    return as_utf8(value) if isinstance(value, str) else value


class Channel:
    """One end of the line. Messages arrive whole or not at all, whatever happens to the process that sends them."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE_BYTES)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Return this end of a new line, and the socket of the other end for another process."""
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
        here, there = socket.socketpair(socket.AF_UNIX, kind)
        return cls(here), there

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            EOFError: The other end is gone.
        """
        try:
            self._socket.send(_encoded(message))
        except OSError as error:
            raise EOFError(str(error)) from error

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return the next message, or None when none came within ``timeout`` seconds.

        Raises:
            EOFError: The other end is gone.
        """
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(MAX_MESSAGE_BYTES)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise EOFError(str(error)) from error
        finally:
            self._socket.settimeout(None)
        if not data:
            raise EOFError("the other end is closed")
        return _decoder.decode(data)

    def fileno(self) -> int:
        """Return the descriptor of this end."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
