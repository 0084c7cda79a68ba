"""What a process of a trial lets those outside know: that it goes on, and where it stands when it is asked.

Both cost a batch nothing to speak of: a number in shared memory counts up, and a signal that nobody sends while all is
well has its handlers. The stack comes from ``faulthandler``, which answers even where Python itself is stuck in C code;
the sample comes from a handler of Python's own, which runs as soon as the interpreter does.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import signal
from functools import partial
from types import FrameType

from loadtune.units import brief

ASK: int | None = getattr(signal, "SIGUSR2", None)
"""The signal that asks a process where it stands; None where the system has none."""
FILE_PREFIX = "stands-"
"""A process answers in a file of this name and its process id."""
BEATS_BYTES = 8
Beats = list[int] | memoryview
"""One number, at [0]."""
FETCHING = os.path.join("torch", "utils", "data", "_utils", "fetch.py")  # noqa: PTH118 - the end of a name
"""Where torch goes through the samples of a batch."""


class _Witness:
    folder: str | None = None


def begin(folder: str | None) -> None:
    """Answer from now on, in a file of this process in ``folder``; None, or a system without signals, is no answer."""
    _Witness.folder = folder
    if folder is None or ASK is None or not hasattr(faulthandler, "register"):
        return
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - a data set may have cleared the temporary folder
    descriptor = os.open(f"{folder}/{FILE_PREFIX}{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    faulthandler.unregister(ASK)  # the parent's own, in a worker that was forked
    signal.signal(ASK, partial(_tell, descriptor))
    faulthandler.register(ASK, file=descriptor, all_threads=True, chain=True)


def place() -> str | None:
    """Return the folder of the answers, for workers to begin with; None where nobody is to answer."""
    return _Witness.folder


def beats(descriptor: int | None) -> Beats:
    """Return a number that others see counting up: one more with every batch.

    Args:
        descriptor: Of a file of 8 bytes that they have open too; None where nobody looks.
    """
    return [0] if descriptor is None else memoryview(mmap.mmap(descriptor, BEATS_BYTES)).cast("Q")


def _tell(descriptor: int, _number: int, frame: FrameType | None) -> None:
    """Write which worker this is, and the sample that it is loading where it is loading one."""
    from torch.utils.data import get_worker_info  # noqa: PLC0415 - whoever asks reads this module too, without torch

    info = get_worker_info()
    said: dict[str, object] = {"worker": info.id if info is not None else None}
    while frame is not None:
        if frame.f_code.co_filename.endswith(FETCHING):
            # torch names the index so, in the comprehension that goes through a batch, or in the function around it.
            said.setdefault("sample", _brief(frame.f_locals.get("idx")))
            said["batch"] = _brief(frame.f_locals.get("possibly_batched_index"))
        frame = frame.f_back
    os.write(descriptor, json.dumps(said).encode() + b"\n")


def _brief(value: object) -> str | None:
    return None if value is None else brief(value)
