"""Building the data set: how long it may take, where it stands when it takes longer, and what it may not close."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from loadtune.errors import TargetError
from loadtune.measure.aside import LINE_CLOSED_CODE
from loadtune.measure.witness import ASK
from loadtune.run import stands
from loadtune.run.protocol import Setup
from loadtune.units import format_seconds

BUILD_TIMEOUTS = 10.0
"""Of ``--trial-timeout``, that building the data set may take: some read an index of a million files."""
LEAST_BUILD_SECONDS = 300.0
"""It may always take this long, however short trials are."""
CONTENTS_SECONDS = 30.0
"""For what is looked at when the data set is there: its contents are, for less than that."""
LINE_CLOSED = (
    "found its line to loadtune closed: the target's code closes descriptors that are not its own, "
    "as os.closerange does; have it close those that it opened"
)


def build_seconds(trial_timeout_seconds: float) -> float:
    """Return how long building the data set may take, beside trials of so much."""
    return max(LEAST_BUILD_SECONDS, BUILD_TIMEOUTS * trial_timeout_seconds)


def patience_seconds(setup: Setup) -> float:
    """Return how long a trial host may take until it is ready, the looks at the data set included."""
    looks = setup.warm_seconds + setup.probe_timeout_seconds + CONTENTS_SECONDS if setup.probe else 0.0
    return setup.build_timeout_seconds + looks


def closed_its_line(status: int) -> bool:
    """Return whether a process that ran the target's code ended for want of its line.

    Args:
        status: As the kernel encodes it.
    """
    return status == LINE_CLOSED_CODE << 8


def too_late(seconds: float, pid: int, heard: Callable[[], str]) -> TargetError:
    """Return the error of a trial host that is not ready, with the place where it stands and its stack.

    Args:
        seconds: How long it took.
        pid: Of the host.
        heard: Gives what it has written since it was asked last.
    """
    before = heard()
    if ASK is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, ASK)
        time.sleep(stands.ANSWER_SECONDS / 2)
    stack = heard()
    stand = stands.parse(pid, stack) if "most recent call first" in stack else None
    where = f"; it stood in {stand.place}" if stand is not None else ""
    return TargetError(
        f"building the data set was not over after {format_seconds(seconds)} (ten times --trial-timeout, five minutes "
        f"at least){where}",
        hint=(stack or before).strip() or None,
    )
