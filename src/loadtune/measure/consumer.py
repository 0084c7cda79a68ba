"""What takes the batches in a trial: nothing, a step of a fixed time or a training step, on the device asked for."""

from __future__ import annotations

import time
from typing import Any

from loadtune.describe.plan import Consumer as ConsumerPlan
from loadtune.describe.workload import Workload
from loadtune.measure import accelerator


class Consumer:
    """Takes a batch as a training loop would: copies it to the device, then runs the step or spends its time.

    A simulated step waits without holding the interpreter, as waiting for a device does.
    """

    def __init__(self, plan: ConsumerPlan, *, pinned: bool, workload: Workload | None = None) -> None:
        self.device = plan.device
        self._step_seconds = plan.step_seconds
        self._step = _step(plan, workload)
        self._move = accelerator.mover(plan.device, pinned=pinned)
        self.held: Any = None
        """The batch taken last."""

    @property
    def is_training(self) -> bool:
        """Whether there is a step, real or simulated."""
        return self._step is not None or self._step_seconds > 0

    def take(self, batch: Any) -> None:
        """Consume one batch; it is kept until the next one comes, as a training loop's variable does."""
        self.held = self._move(batch)
        if self._step is not None:
            self._step(self.held)
        elif self._step_seconds > 0:
            time.sleep(self._step_seconds)

    def synchronise(self) -> None:
        """Wait until everything taken has arrived and is computed; called at the ends of windows only."""
        accelerator.synchronise(self.device)


def _step(plan: ConsumerPlan, workload: Workload | None) -> Any:
    if plan.step is None:
        return None
    from loadtune.measure import step  # noqa: PLC0415 - only where there is one

    return step.build(plan, workload)
