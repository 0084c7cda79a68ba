"""What a training step takes at a batch size: a line through what probes took, one for each limited resource."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.record.batch_size import Bound, LoaderHolds, Resource, StepMeasurement, StepProbe
from loadtune.units import BYTES

LEAST_GROWTH_BYTES = 16 << 20
"""Less than this between two probes may be anything: an arena of the allocator, a cache of a library."""

_ASKED = re.compile(r"(?:tried|unable) to allocate (\d+(?:\.\d+)?) ?(bytes|B|[KMGT]iB)\b", re.IGNORECASE)
"""What torch and numpy say of an allocation that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Bytes against batch size: fixed + slope · B (model, optimiser and library; activations and batch)."""

    fixed: float
    slope: float

    def at(self, batch_size: float) -> int:
        """Return the bytes at a batch size."""
        return round(self.fixed + self.slope * batch_size)

    def largest(self, limit_bytes: int) -> float:
        """Return the batch size at which the limit is reached; infinite where nothing grows."""
        return (limit_bytes - self.fixed) / self.slope if self.slope > 0 else math.inf


def used(measured: StepMeasurement, bounds: Sequence[Bound], loader: LoaderHolds) -> dict[str, int]:
    """Return what a step takes of each limited resource; the host's has what a loader holds beside it."""
    peaks: dict[Resource, int | None] = {
        "host": measured.resident_peak_bytes,
        "address_space": measured.address_peak_bytes,
        "device": measured.device_peak_bytes,
    }
    beside = {"host": loader.bytes(measured.batch_bytes)}
    return {
        bound.resource: peak + beside.get(bound.resource, 0)
        for bound in bounds
        if (peak := peaks[bound.resource]) is not None
    }


def lines(probes: Sequence[StepProbe], bounds: Sequence[Bound]) -> dict[str, Line]:
    """Return the line of each resource through the two largest batches that were measured to their end.

    The last secant, and not a fit through all: libraries choose other algorithms for larger batches, and what matters
    is what comes next. A resource that did not grow between the two has no line.
    """
    found: dict[str, Line] = {}
    for bound in bounds:
        points = {probe.batch_size: probe.used_bytes[bound.resource] for probe in probes if _tells(probe, bound)}
        line = _through(sorted(points.items())[-2:])
        if line is not None:
            found[bound.resource] = line
    return found


def _tells(probe: StepProbe, bound: Bound) -> bool:
    return probe.fit in ("fits", "over") and bound.resource in probe.used_bytes


def _through(points: Sequence[tuple[int, int]]) -> Line | None:
    if len(points) < 2:  # noqa: PLR2004 - a line needs two
        return None
    (small, less), (large, more) = points
    if more - less < LEAST_GROWTH_BYTES:
        return None
    slope = (more - less) / (large - small)
    return Line(fixed=more - slope * large, slope=slope)


def predicted_largest(found: dict[str, Line], bounds: Sequence[Bound]) -> tuple[float, Bound | None]:
    """Return the batch size at which the first limit is reached, and that limit; infinite where none is in sight."""
    reached = [(found[bound.resource].largest(bound.limit_bytes), bound) for bound in bounds if bound.resource in found]
    return min(reached, key=lambda pair: pair[0]) if reached else (math.inf, None)


def largest_below(ran: StepProbe, failed: StepProbe, bound: Bound) -> float | None:
    """Return the batch size that reaches a limit by what a batch that did not fit would have needed at least.

    That is what it had and what it asked for in vain; None where that is not told. One that was through a step lacked
    little, and its peak is that of the step: what it asked for does not come on top.
    """
    if failed.measured is not None and failed.measured.steps:
        return float(failed.batch_size)
    asked = _asked_bytes(failed.measured.error_message) if failed.measured is not None else 0
    had, took = failed.used_bytes.get(bound.resource), ran.used_bytes.get(bound.resource)
    if not asked or had is None or took is None or had + asked <= bound.limit_bytes:
        return None
    line = _through([(ran.batch_size, took), (failed.batch_size, had + asked)])
    return line.largest(bound.limit_bytes) if line is not None else None


def _asked_bytes(message: str) -> int:
    """Return what an allocation asked for that failed, by the words of the error; 0 where they do not tell."""
    found = _ASKED.search(message)
    return round(float(found[1]) * BYTES.get(found[2].upper(), 1)) if found is not None else 0


def bytes_per_sample(probes: Sequence[StepProbe]) -> float:
    """Return the bytes that one sample adds to a batch."""
    sizes = [
        (p.batch_size, p.measured.batch_bytes) for p in probes if p.measured is not None and p.measured.batch_bytes
    ]
    return max(sizes)[1] / max(sizes)[0] if sizes else 0.0
