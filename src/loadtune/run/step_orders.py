"""A probe of a batch size as the trial host carries it out: in a child of its own, so that nothing of it stays.

Part of the trial host: the process that asks it may import torch.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from loadtune.errors import LoadtuneError
from loadtune.measure.aside import AsideDiedError, AsideError, AsideLateError, aside
from loadtune.run.protocol import RunStep, Stepped
from loadtune.units import words_of

if TYPE_CHECKING:
    from loadtune.workloads.source import Source


def run_step(source: Source, order: RunStep) -> Stepped:
    """Return what became of the step, whatever that is."""
    if not order.fork:
        return _run(source, order)
    # Torch's optimisers import it when they first step, which takes seconds: here once, so that no child does it again.
    import torch._dynamo  # noqa: F401, PLC0415

    try:
        return aside(partial(_run, source, order), within_seconds=order.within_seconds)  # type: ignore[no-any-return]
    except AsideLateError:
        return Stepped(is_late=True)
    except AsideDiedError as error:
        return Stepped(status=error.status)
    except AsideError as error:
        return Stepped(unusable=str(error))


def _run(source: Source, order: RunStep) -> Stepped:
    # Only where it is asked for.
    from loadtune.measure.gradients import run_gradients  # noqa: PLC0415
    from loadtune.measure.step_probe import run_probe  # noqa: PLC0415

    try:
        if order.request.gradients is not None:
            measured, gradients = run_gradients(source, order.request, order.request.gradients)
            return Stepped(measured=measured, gradients=gradients)
        return Stepped(measured=run_probe(source, order.request))
    except LoadtuneError as error:
        return Stepped(unusable=words_of(error))
