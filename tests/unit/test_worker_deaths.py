"""The handler of SIGCHLD: real signals, raised where they come in the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from loadtune.measure import worker_deaths


class DeathError(RuntimeError):
    """Raised by the handler, as torch's does."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[list[int]]:
    """A handler that raises whenever it is called, and is put in place as torch's is."""
    calls: list[int] = []

    def raises(number: int, _: FrameType | None) -> None:
        calls.append(number)
        raise DeathError(f"death {len(calls)}")

    before = signal.signal(signal.SIGCHLD, raises)
    yield calls
    signal.signal(signal.SIGCHLD, before)


def worker_dies() -> None:
    signal.raise_signal(signal.SIGCHLD)  # to this thread: another one would hear it while this one must not


def test_it_raises_once(handler: list[int]) -> None:
    """The second worker that dies is not heard."""
    worker_deaths.raise_once()
    with pytest.raises(DeathError, match="death 1"):
        worker_dies()
    worker_dies()
    assert handler == [signal.SIGCHLD]
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_it_is_wrapped_once() -> None:
    """Each loader of a trial asks for it."""
    worker_deaths.raise_once()
    wrapped = signal.getsignal(signal.SIGCHLD)
    worker_deaths.raise_once()
    assert signal.getsignal(signal.SIGCHLD) is wrapped
    worker_deaths.ignore()
    worker_deaths.raise_once()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_one_that_does_not_raise_stays() -> None:
    """Children that end as they should are no deaths."""
    seen: list[int] = []
    signal.signal(signal.SIGCHLD, lambda number, _: seen.append(number))
    worker_deaths.raise_once()
    worker_dies()
    worker_dies()
    assert seen == [signal.SIGCHLD] * 2


def test_after_an_exception_no_death_is_raised(handler: list[int]) -> None:
    """Whoever reads the exception is left alone."""
    worker_deaths.raise_once()

    def measure() -> None:
        raise ValueError("a broken pipe")

    with pytest.raises(ValueError, match="a broken pipe"):
        worker_deaths.settled(measure)
    worker_dies()
    assert handler == []


def test_a_death_that_is_heard_of_while_an_exception_leaves_is_the_last(handler: list[int]) -> None:
    """It takes the place of the first, which follows from it, and no second one comes after it."""
    worker_deaths.raise_once()

    def measure() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            worker_dies()
            raise ValueError("a broken pipe")
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    with pytest.raises(DeathError) as raised:
        worker_deaths.settled(measure)
    worker_dies()
    assert isinstance(raised.value.__context__, ValueError)
    assert handler == [signal.SIGCHLD]
