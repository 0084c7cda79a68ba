"""Looks in a process of their own, and the open files that such processes share."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from loadtune.measure.aside import LINE_CLOSED_CODE, AsideDiedError, AsideError, aside
from loadtune.measure.open_files import descriptors, offset, open_anew, opened_since


def raising() -> None:
    raise ValueError("no such\nsample")


def leaving(error: BaseException) -> None:
    raise error


def test_what_it_returns_comes_back_and_what_it_does_stays_there() -> None:
    """A result of a megabyte arrives whole, and a list that was changed there is unchanged here."""
    here: list[int] = []

    def look() -> bytes:
        here.append(1)
        return b"x" * (1 << 20)

    assert aside(look, within_seconds=30) == b"x" * (1 << 20)
    assert here == []


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (raising, "ValueError: no such sample"),
        (partial(leaving, asyncio.CancelledError()), "^CancelledError$"),
        (partial(os._exit, 0), "died"),
        (partial(os.kill, 0, 9), "died"),  # its whole group, which is its own
        (partial(time.sleep, 60), "too long"),
    ],
)
def test_what_gives_nothing_is_an_error_in_time(look: partial[None], says: str) -> None:
    """A process that raises, exits, is killed or hangs is an AsideError, and none is waited for beyond its time."""
    began = time.monotonic()
    with pytest.raises(AsideError, match=says):
        aside(look, within_seconds=2)
    assert time.monotonic() - began < 20


def test_a_helper_that_holds_the_line_delays_nothing() -> None:
    """A process that was started there lives on in a session of its own: the answer comes at once, and so a death."""

    def start(then: Callable[[], int]) -> int:
        helper = os.fork()
        if helper == 0:
            os.setsid()
            time.sleep(10)
            os._exit(0)
        return then() or helper

    began = time.monotonic()
    helper = aside(partial(start, lambda: 0), within_seconds=30)
    os.kill(helper, signal.SIGKILL)
    with pytest.raises(AsideDiedError) as died:
        aside(partial(start, lambda: os._exit(7)), within_seconds=8)
    assert os.waitstatus_to_exitcode(died.value.status) == 7
    assert time.monotonic() - began < 8


def test_a_process_whose_line_was_closed_says_so_and_writes_nowhere_else(tmp_path: Path) -> None:
    """After os.closerange its descriptor is a file of its own: nothing is written there, and the exit code tells."""

    def close() -> None:
        os.closerange(3, 1024)
        for number in range(8):
            os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY)
        time.sleep(0.2)

    with pytest.raises(AsideDiedError) as died:
        aside(close, within_seconds=30)
    assert os.waitstatus_to_exitcode(died.value.status) == LINE_CLOSED_CODE
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {0}


def test_files_are_found_that_were_opened_for_reading(tmp_path: Path) -> None:
    """Of three files opened since, the one that is written only is left out, and so is what was open before."""
    for name in ("before", "read", "both"):
        (tmp_path / name).write_bytes(b"12345678")
    with (tmp_path / "before").open("rb"):
        known = descriptors()
        with (tmp_path / "read").open("rb"), (tmp_path / "both").open("r+b"), (tmp_path / "written").open("wb"):
            found = {Path(file.path).name for file in opened_since(known)}
    assert found == {"read", "both"}
    assert opened_since(known) == ()


def test_a_process_that_opens_anew_has_an_offset_of_its_own(tmp_path: Path) -> None:
    """A fork that reads moves the offset here; after opening its files anew it reads on and moves nothing."""
    (tmp_path / "file").write_bytes(b"0123456789")
    known = descriptors()
    with (tmp_path / "file").open("rb", buffering=0) as file:
        (shared,) = opened_since(known)

        def read_apart() -> bytes:
            open_anew([shared])
            return file.read(2)

        assert aside(partial(file.read, 3), within_seconds=30) == b"012"
        assert offset(shared) == 3
        assert aside(read_apart, within_seconds=30) == b"34"
        assert offset(shared) == 3
