"""Writes pickles as Python 2 and its numpy did: the format in which CIFAR-10 is distributed.

A pickle written by Python 3 holds text where those files hold byte strings, so that readers which ask for
``encoding="bytes"``, as CIFAR-10's own page says, would find other keys. Byte strings of Python 2 have opcodes of
their own.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# The original's dtype is written ('u1', 0, 1); true booleans read the same and spare numpy 2.4's deprecation warning.
_DTYPE_U1 = (
    b"cnumpy\ndtype\n" + pickle.SHORT_BINSTRING + b"\x02u1" + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + b"R"
)
_EMPTY_ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n"
    b"cnumpy\nndarray\n" + b"K\x00" + pickle.TUPLE1 + pickle.SHORT_BINSTRING + b"\x01b" + pickle.TUPLE3 + b"R"
)

Value: TypeAlias = "int | str | bytes | npt.NDArray[np.uint8] | Sequence[Any] | Mapping[str, Any]"


def dumps(value: Value) -> bytes:
    """Return the pickle (protocol 2) of dictionaries, lists, small integers, byte strings and arrays of bytes."""
    return pickle.PROTO + b"\x02" + _opcodes(value) + pickle.STOP


def _opcodes(value: Value) -> bytes:
    if isinstance(value, (str, bytes)):
        return _byte_string(value.encode("latin1") if isinstance(value, str) else value)
    if isinstance(value, int):
        return pickle.BININT + struct.pack("<i", value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, Mapping):
        items = b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(_opcodes(item) for item in value) + pickle.APPENDS


def _byte_string(value: bytes) -> bytes:
    if len(value) < 256:  # noqa: PLR2004 - the short form has one byte for the length
        return pickle.SHORT_BINSTRING + bytes([len(value)]) + value
    return pickle.BINSTRING + struct.pack("<i", len(value)) + value


def _array(value: npt.NDArray[np.uint8]) -> bytes:
    """Return numpy's reduction of an array: an empty one, then its state (version, shape, dtype, order, data)."""
    shape = pickle.MARK + b"".join(_opcodes(length) for length in value.shape) + pickle.TUPLE
    dtype_state = (
        pickle.MARK + b"K\x03" + _byte_string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00" + pickle.TUPLE
    )
    dtype = _DTYPE_U1 + dtype_state + pickle.BUILD
    state = pickle.MARK + b"K\x01" + shape + dtype + pickle.NEWFALSE + _byte_string(value.tobytes()) + pickle.TUPLE
    return _EMPTY_ARRAY + state + pickle.BUILD
