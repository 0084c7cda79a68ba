"""Which batch size is probed next, and when the largest is found. Pure: from the probes so far to the next one.

Two small probes give a line of memory against batch size, a third at about half of what it predicts makes it good at
that scale, the fourth is the prediction itself, and what is left narrows the gap. A batch that is out of memory bounds
the search from above, one that ran from below; what is reported always ran. One that is not over in its time bounds
nothing: no batch is probed that is not expected to end in time, and a search that ends for this says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtune.judge.batch_memory import NEAR, Line, bytes_per_sample, lines, predicted_largest
from loadtune.judge.batch_pace import reach
from loadtune.record.batch_size import BatchSizePlan, Bound, Purpose, StepProbe
from loadtune.units import format_bytes, format_count, format_seconds

START = 16
STEP_UP = 8
BLIND_STEP_UP = 16
"""Where memory did not grow to speak of, there is no line to jump along."""
HALFWAY = 0.5
LITTLE_UP = 1.5
MOST_GROWTH = 16
"""No probe is further from the largest that ran than so many times: what is fixed at first begins to grow later."""
FAR = 0.25
"""Below this share of the predicted largest a line is too short a lever: a probe halfway comes first."""
MARGIN = 0.01
FAR_MARGIN = 0.02
"""Where the line goes by what a batch needed that did not fit, which is known to about 64 MiB."""
CLOSE = 0.985
"""A batch at this share of the predicted largest, or more, is taken for the largest."""
NARROW = 0.98
"""So is one at this share of a batch that does not fit."""
BACK_OFF = 0.96
CONTRADICTED = 0.9
"""A batch below this share of the predicted largest that does not fit says that something else decides."""
LITTLE_MORE = 1.1
"""Where no batch so many times the largest is expected to end in time, it is left at that."""
MOST_LATE = 3
"""Each costs all of its time, and what does not end with less either may never."""
BLIND_FACTOR = 2
"""So many times as many probes are made then: the gap is halved by each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The next probe."""

    batch_size: int
    purpose: Purpose
    why: str
    predicted_bytes: dict[str, int]
    refusal: str | None = None
    """Why it is known not to fit: it is a row and is not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The largest batch."""

    largest: int | None
    exact: bool
    because: str


class Search:
    """Where the search stands.

    Args:
        plan: What is searched for.
        bounds: The limits.
        samples: N of the data set; None where it has no length.
        probes: So far; those for the rate are left out.
    """

    def __init__(
        self, plan: BatchSizePlan, bounds: Sequence[Bound], samples: int | None, probes: Sequence[StepProbe]
    ) -> None:
        self._plan = plan
        self._bounds = bounds
        self._samples = samples
        self._probes = [probe for probe in probes if probe.purpose != "rate"]
        fits = [probe.batch_size for probe in self._probes if probe.fit == "fits"]
        self._low = max(fits, default=0)
        """Largest that ran within the limits."""
        above = [probe for probe in self._probes if probe.fit not in ("fits", "late") and probe.batch_size > self._low]
        self._above = min(above, key=lambda probe: probe.batch_size, default=None)
        self._reach = reach(self._probes, plan.probe_timeout_seconds)
        self._lines = lines(self._probes, bounds)
        self._limit, self._binding = predicted_largest(self._lines, bounds)

    def next(self) -> Ask | Found:
        """Return what to probe next, or what was found."""
        top, low, above = self._top(), self._low, self._above
        if top == 0:
            return Found(largest=None, exact=True, because=self._too_few())
        if low >= top:
            return Found(largest=low, exact=True, because=self._capped())
        if above is not None and above.batch_size - low <= self._plan.multiple_of:
            return Found(largest=low or None, exact=True, because=_says(above))
        if self._is_spent():
            return self._lower_bound()
        return self._in_time(self._first(top) if not low else self._further(top))

    def given_up(self, because: str) -> Found:
        """Return what there is when no more probes can be made."""
        return Found(largest=self._low or None, exact=False, because=because)

    def _first(self, top: int) -> Ask:
        if not self._probes:
            return self._ask(min(top, START), "start", "a small batch to begin with")
        smallest = min(probe.batch_size for probe in self._probes)
        return self._ask(smallest // STEP_UP, "bisect", "the one before did not run: a smaller one")

    def _further(self, top: int) -> Ask | Found:
        low, high = self._low, self._above.batch_size if self._above is not None else math.inf
        if not self._lines or len({probe.batch_size for probe in self._probes if probe.fit == "fits"}) == 1:
            return self._step_up(top, high)
        refusal = self._refusal(top)
        if refusal is not None:
            return refusal
        if low < FAR * self._limit and HALFWAY * self._limit < high:
            size = min(top, HALFWAY * self._limit, MOST_GROWTH * low)
            return self._ask(size, "slope", "half of what the line predicts, for its slope")
        if high == math.inf:
            return self._jump(top)
        return self._narrow(high)

    def _step_up(self, top: int, high: float) -> Ask | Found:
        size = self._low * (STEP_UP if len(self._probes) == 1 else BLIND_STEP_UP)
        if size < high:
            return self._ask(min(top, size), "slope", "a larger one, for what a sample more takes")
        if sum(1 for probe in self._probes if probe.fit == "fits") == 1 and self._low * LITTLE_UP < high:
            return self._ask(self._between(self._low * LITTLE_UP), "slope", "a little larger, to have a line")
        return self._lower_bound() if self._low >= NARROW * high else self._halve(high)

    def _jump(self, top: int) -> Ask | Found:
        low, limit = self._low, self._limit
        if low >= CLOSE * limit:
            return self._lower_bound()
        target = min(float(top), (1 - MARGIN) * limit)
        if self._aligned(target) <= low:
            return self._lower_bound()
        return self._ask(target, "jump", f"the most that the line predicts, less {MARGIN:.0%}")

    def _narrow(self, high: float) -> Ask | Found:
        """Close in on a batch that did not fit: near it first where the line was nearly right, else by halves."""
        low = self._low
        by_needs = low < NEAR * high and self._limit < high
        predicted = (1 - (FAR_MARGIN if by_needs else MARGIN)) * self._limit
        if low >= NARROW * high or CLOSE * self._limit <= low < self._limit < high:
            return self._lower_bound()
        if low < predicted < (1 - MARGIN) * high:
            return self._ask(
                self._between(predicted), "bisect", "what the line predicts below the one that did not fit"
            )
        if low < BACK_OFF * high * BACK_OFF and not self._is_contradicted():
            return self._below(high)
        return self._halve(high)

    def _below(self, high: float) -> Ask:
        """Return one a little below what did not fit: very little for the first, where it was through a step."""
        failed = [probe.measured for probe in self._probes if probe.fit == "out_of_memory"]
        lacked_little = len(failed) == 1 and failed[0] is not None and failed[0].steps > 0
        size = self._between(((1 - MARGIN) if lacked_little else BACK_OFF) * high)
        return self._ask(size, "bisect", "a little below the one that did not fit")

    def _halve(self, high: float) -> Ask:
        middle = math.sqrt(self._low * high) if high > 2 * self._low else (self._low + high) / 2
        return self._ask(self._between(middle), "bisect", "between one that ran and one that did not")

    def _between(self, size: float) -> int:
        """Return a size that is above the largest that ran; what does not fit is further up than one multiple."""
        return max(self._aligned(size), self._low + self._plan.multiple_of)

    def _is_contradicted(self) -> bool:
        """Return whether a batch did not fit that is well below what the line predicts, or there is no line."""
        return self._above is not None and self._above.batch_size < CONTRADICTED * self._limit

    def _is_spent(self) -> bool:
        """Return whether enough probes were made; where no line leads the way it takes more of them."""
        made = sum(1 for probe in self._probes if probe.fit != "refused")
        return made >= self._plan.most_probes * (BLIND_FACTOR if self._is_contradicted() else 1)

    def _in_time(self, answer: Ask | Found) -> Ask | Found:
        """Return a smaller batch where the one that is asked for is not expected to end in its time."""
        if isinstance(answer, Found) or answer.refusal is not None or answer.batch_size <= self._reach:
            return answer
        size, late = self._aligned(self._reach), [one.batch_size for one in self._probes if one.fit == "late"]
        within = format_seconds(self._plan.probe_timeout_seconds)
        if len(late) < MOST_LATE and size >= max(LITTLE_MORE * self._low, self._plan.multiple_of):
            return self._ask(size, answer.purpose, f"the most that is expected to end within {within}")
        what = (
            f"{format_count(min(late))} was not" if late else f"{format_count(answer.batch_size)} is not expected to be"
        )
        return self.given_up(f"{what} over within {within} (--trial-timeout), whatever memory it takes")

    def _refusal(self, top: int) -> Ask | None:
        """Return the batch that would fit but for what the loader holds, to be refused with the sum."""
        loader, host = self._plan.loader, next((one for one in self._bounds if one.resource == "host"), None)
        line, sample = self._lines.get("host"), bytes_per_sample(self._probes)
        if not loader.num_workers or host is None or line is None or any(p.fit == "refused" for p in self._probes):
            return None
        held = loader.batches * sample
        alone = Line(fixed=line.fixed - loader.num_workers * loader.worker_bytes, slope=max(line.slope - held, 0.0))
        rest = min(predicted_largest({**self._lines, "host": alone}, self._bounds)[0], top)
        if self._binding is not host or rest <= self._limit / CLOSE:
            return None
        size = self._aligned((1 - MARGIN) * rest)
        if not size or (self._above is not None and size >= self._above.batch_size):
            return None
        total = line.at(size)
        reason = (
            f"{format_bytes(alone.at(size))} for the step + {loader.num_workers} workers × {loader.prefetch_factor}"
            f" batches × {format_bytes(sample * size)} + {loader.num_workers} ×"
            f" {format_bytes(loader.worker_bytes)} = {format_bytes(total)} of host memory, and {host.source} is"
            f" {format_bytes(host.limit_bytes)}"
        )
        return Ask(
            batch_size=size,
            purpose="jump",
            why="the most that would fit without what the loader holds",
            predicted_bytes={"host": total},
            refusal=reason,
        )

    def _lower_bound(self) -> Found:
        above = self._above
        if not self._low:
            return Found(largest=None, exact=False, because=_says(above) if above is not None else "nothing ran")
        if above is not None:
            return Found(largest=self._low, exact=False, because=_says(above))
        if self._binding is None:
            return Found(largest=self._low, exact=False, because=f"{len(self._probes)} probes were made")
        at = f"at {format_count(int(self._limit))} {_NAMES[self._binding.resource]} would reach {self._binding.source}"
        return Found(
            largest=self._low, exact=False, because=f"{at}, {format_bytes(self._binding.limit_bytes)}, by the line"
        )

    def _ask(self, size: float, purpose: Purpose, why: str) -> Ask:
        aligned = max(self._aligned(size), self._plan.multiple_of)
        predicted = {resource: line.at(aligned) for resource, line in self._lines.items()}
        return Ask(batch_size=aligned, purpose=purpose, why=why, predicted_bytes=predicted)

    def _aligned(self, size: float) -> int:
        return int(size) // self._plan.multiple_of * self._plan.multiple_of

    def _top(self) -> int:
        """Return the largest batch that may be probed at all."""
        caps = [cap for cap in (self._plan.most, self._samples) if cap is not None]
        return self._aligned(min(caps)) if caps else self._aligned(MOST)

    def _capped(self) -> str:
        if self._samples is not None and (self._plan.most is None or self._samples <= self._plan.most):
            return f"the data set has {format_count(self._samples)} samples"
        return f"--max-batch-size is {format_count(self._plan.most or MOST)}"

    def _too_few(self) -> str:
        return f"{self._capped()}, and a batch is to be a multiple of {self._plan.multiple_of}"


MOST = 2**24
_NAMES = {"host": "host memory", "address_space": "the address space", "device": "device memory"}


def _says(probe: StepProbe) -> str:
    return f"{format_count(probe.batch_size)} does not: {probe.reason}"
