"""A child of the trial host that is forked ahead of its trial: it waits for the order while nothing is measured.

To fork a process that holds torch and a data set takes 10 ms and more, and so does its end. The child of the next trial
is forked while that of the last one ends, so that a sweep waits for one of the two. A spare is never there beside a
trial: it would take its share of the pages whose memory is counted.
"""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable

from loadtune.measure.lifeline import die_with_parent
from loadtune.run.protocol import Channel, Leaving, Replay, RunTrial, Started


class Spare:
    """A forked child that leads a process group of its own, carries out one order and ends.

    Args:
        obey: Carries it out, in the child.
    """

    def __init__(self, obey: Callable[[RunTrial | Replay], None]) -> None:
        self._line, there = Channel.pair()
        host, self.pid = os.getpid(), os.fork()
        if self.pid == 0:
            os.setsid()
            die_with_parent(host)
            self._line.close()
            _serve(Channel(there), obey)
        there.close()

    def begin(self, order: RunTrial | Replay) -> None:
        """Give the order, and wait until it is taken.

        Raises:
            EOFError: The child was killed while it waited for it.
        """
        self._line.send(order)
        self._line.receive()

    def wait_until_leaving(self) -> bool:
        """Return True once all the child has left to do is to end, or it is dead; False at once where none can tell."""
        try:
            death = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            return False
        # Its workers hold its end of the line as well, so that the line alone does not tell its death.
        ready = select.poll()
        ready.register(death, select.POLLIN)
        ready.register(self._line.fileno(), select.POLLIN)
        ready.poll()
        os.close(death)
        return True

    def close(self) -> None:
        """Close the line to it."""
        self._line.close()


def _serve(line: Channel, obey: Callable[[RunTrial | Replay], None]) -> None:
    try:
        order = line.receive()
        if isinstance(order, (RunTrial, Replay)):
            line.send(Started(pid=os.getpid()))
            obey(order)
            line.send(Leaving())
    except BaseException:  # noqa: BLE001 - a mistake of loadtune's own: whatever a data set raises is a result
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
