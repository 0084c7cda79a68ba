"""What takes the batches in a trial: nothing, or a step of a fixed time, on the device that is asked for."""

from __future__ import annotations

import time
from typing import Any

from loadtune.describe.plan import Consumer as ConsumerPlan
from loadtune.measure import accelerator


class Consumer:
    """Takes a batch as a training loop would: copies it to the device, then spends the step's time.

    A simulated step waits without holding the interpreter, as waiting for a device does.
    """

    def __init__(self, plan: ConsumerPlan, *, pinned: bool) -> None:
        self.device = plan.device
        self._step_seconds = plan.step_seconds
        self._move = accelerator.mover(plan.device, pinned=pinned)
        self.held: Any = None
        """The batch taken last."""

    def take(self, batch: Any) -> None:
        """Consume one batch; it is kept until the next one comes, as a training loop's variable does."""
        self.held = self._move(batch)
        if self._step_seconds > 0:
            time.sleep(self._step_seconds)

    def synchronise(self) -> None:
        """Wait until everything taken has arrived; called at the ends of windows only."""
        accelerator.synchronise(self.device)
