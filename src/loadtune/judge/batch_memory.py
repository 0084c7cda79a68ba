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

NEAR = 0.9
"""A batch at this share of one that was out of memory tells more than that: an allocator that looks for room in vain
takes some more meanwhile (glibc maps an arena of 64 MiB)."""
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
    is what comes next. Where a much larger one was out of memory, the line is as steep as what that needed. A
    resource that did not grow between the two has no line.
    """
    found: dict[str, Line] = {}
    for bound in bounds:
        points = {probe.batch_size: probe.used_bytes[bound.resource] for probe in probes if _tells(probe, bound)}
        ran = sorted(points.items())[-2:]
        needed = sorted(
            need for probe in probes if (need := _needed(probe, bound)) and NEAR * need[0] > max(points, default=0)
        )
        through = (_through(ran), _through([*ran[-1:], *needed[:1]]))
        if any(through):
            found[bound.resource] = max((line for line in through if line), key=lambda line: line.slope)
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


def _needed(probe: StepProbe, bound: Bound) -> tuple[int, int] | None:
    """Return a batch that was out of memory and what it needed at least: what it had, and what it asked for in vain.

    None where its error does not tell, and of one that was through a step: what it asked for is not on top of its peak.
    """
    measured, had = probe.measured, probe.used_bytes.get(bound.resource)
    of_it = probe.kind == ("device_oom" if bound.resource == "device" else "host_oom")
    if probe.fit != "out_of_memory" or not of_it or measured is None or measured.steps or had is None:
        return None
    asked = _asked_bytes(measured.error_message)
    return (probe.batch_size, had + asked) if asked else None


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
