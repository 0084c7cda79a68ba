"""What of a loader cannot be sent to a worker that is not a fork: tried without starting one, with the path to it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
import torch.multiprocessing  # teaches the pickler of multiprocessing about tensors

from loadtune.units import brief, words_of
from loadtune.workloads.source import Source

DEEPEST = 40
_ENDS_SHOWN = 4
"""Of a path, the parts that are shown at its beginning and at its end."""
_LONGEST_KEY = 40
_MOST_PARTS = 64
"""Of a container, looked at to find the one that fails; a list of a million is of one kind."""


def unpicklable(source: Source) -> str | None:
    """Return what cannot be sent and why, such as ``dataset.transform.transforms[2] (function <lambda>): ...``.

    None where all can be sent, where the data set travels by value, or where a factory builds the loaders.
    """
    workload = source.workload
    if workload is None or source.by_value:
        return None
    parts = (("dataset", workload.dataset), ("collate_fn", workload.collate_fn))
    for name, part in (*parts, ("worker_init_fn", workload.worker_init_fn)):
        problem = _problem(part)
        if problem is not None:
            path, culprit, why = _innermost((name,), part, problem)
            return f"{_shown(path)} ({_what(culprit)}): {why}"
    return None


def _what(culprit: Any) -> str:
    kind, name = type(culprit).__name__, getattr(culprit, "__qualname__", None)
    return f"{kind} {name}" if isinstance(name, str) else kind


def _shown(path: Sequence[str]) -> str:
    """Return a path with its middle left out where it is long: a chain of wrappers tells nothing."""
    if len(path) <= 2 * _ENDS_SHOWN:
        return "".join(path)
    left_out = len(path) - 2 * _ENDS_SHOWN
    return f"{''.join(path[:_ENDS_SHOWN])} … {left_out} more … {''.join(path[-_ENDS_SHOWN:])}"


def _innermost(path: tuple[str, ...], whole: Any, problem: str) -> tuple[tuple[str, ...], Any, str]:
    """Return the deepest part that cannot be pickled, following the first that fails at each level."""
    if problem.startswith(RecursionError.__name__):
        return path, whole, "its parts are nested too deeply for pickle, as a long linked list is"
    for name, part in _parts(whole) if len(path) <= DEEPEST else ():
        inner = _problem(part)
        if inner is not None:
            return _innermost((*path, name), part, inner)
    return path, whole, problem


def _parts(whole: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(whole, dict):
        yield from ((f"[{_key(key)}]", part) for key, part in itertools.islice(whole.items(), _MOST_PARTS))
    elif isinstance(whole, (list, tuple)):
        yield from ((f"[{number}]", part) for number, part in enumerate(whole[:_MOST_PARTS]))
    elif not isinstance(whole, type):
        yield from ((f".{name}", part) for name, part in getattr(whole, "__dict__", {}).items())


def _key(key: object) -> str:
    return brief(repr(key), _LONGEST_KEY) if isinstance(key, (str, int, float, bytes, tuple)) else type(key).__name__


def _problem(part: Any) -> str | None:
    """Return why an object cannot be pickled for a worker; None where it can."""
    before = context.get_spawning_popen()
    # Locks and queues may only be pickled while a process is being started.
    context.set_spawning_popen(_Start())  # type: ignore[arg-type]
    try:
        _Pickler(_Nowhere()).dump(part)
    except Exception as error:  # noqa: BLE001 - any __reduce__ or __getstate__ of the user's may raise anything
        return f"{type(error).__name__}: {' '.join(words_of(error, 400).split())}"
    finally:
        context.set_spawning_popen(before)
    return None


class _Pickler(ForkingPickler):
    """As workers are sent their parts, but for tensors: those would be moved to shared memory, and always can be."""

    def reducer_override(self, part: Any) -> Any:
        return (bytes, ()) if isinstance(part, (torch.Tensor, torch.UntypedStorage)) else NotImplemented


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class _Start:
    """Stands for the start of a worker; what is pickled here is never sent, so no descriptor is."""

    def duplicate_for_child(self, descriptor: int) -> int:
        return descriptor

    @staticmethod
    def DupFd(descriptor: int) -> int:  # noqa: N802 - the name that multiprocessing calls
        return descriptor
