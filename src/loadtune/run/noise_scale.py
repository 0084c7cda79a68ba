"""The gradient noise scale of a search for a batch size: seen to be measurable before it, measured after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from loadtune.errors import TargetError
from loadtune.judge import batch_memory
from loadtune.judge import noise_scale as by_pairs
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, Bound, StepProbe, StepRequest
from loadtune.record.noise_scale import GradientRequest, NoiseScale
from loadtune.record.results import Probe
from loadtune.run.protocol import Stepped
from loadtune.run.step_verdict import Evidence, judge

SHARE = 0.5
"""Of the time of a probe is for the pairs; starting its process and the last pair have the rest."""


class Stepper(Protocol):
    """Runs what is asked of the training step in a process of its own."""

    @property
    def probe(self) -> Probe:
        """What the data set is like."""

    def step(self, request: StepRequest, *, within_seconds: float) -> tuple[Stepped, str]:
        """Run it; return what became of it, and what was written on standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Asks for gradients of a step, and makes the noise scale and the goodput of them.

    Args:
        plan: Of the search.
        bounds: That the process must keep to.
        stepper: Runs it.
        step_path: File with a pickled step.
    """

    plan: BatchSizePlan
    bounds: Sequence[Bound]
    stepper: Stepper
    step_path: str | None

    def check(self) -> None:
        """See that the gradients can be measured, where they are to be.

        Raises:
            TargetError: The parameters of the step cannot be reached, or there is no step.
        """
        if self.plan.noise_scale != "measure":
            return
        wanted = GradientRequest(small_batch_size=1, large_batch_size=2, most_pairs=0, seconds=0.0)
        unusable = self._ask(wanted)[0].unusable
        if unusable is not None:
            raise TargetError(unusable)

    def added(self, result: BatchSizeResult, *, seconds_left: Callable[[], float]) -> BatchSizeResult:
        """Return the result with the noise scale and the goodput, where they are asked for and a batch fits."""
        if self.plan.noise_scale is None or result.largest is None:
            return result
        largest = result.largest
        found = self._noise_scale(largest, result.probes, seconds_left())
        result = replace(result, noise_scale=found)
        if found.samples is None:
            return result
        baseline = self.stepper.probe.baseline.batch_size or largest
        goodputs = by_pairs.goodputs(result.probes, noise_samples=found.samples, baseline=baseline)
        return replace(result, goodputs=goodputs, best_goodput=by_pairs.best(goodputs), baseline_batch_size=baseline)

    def _noise_scale(self, largest: int, probes: Sequence[StepProbe], seconds_left: float) -> NoiseScale:
        given = self.plan.noise_scale
        if isinstance(given, (int, float)):
            return NoiseScale(source="given", samples=float(given))
        if seconds_left <= 0:
            return _unknown(f"the time of {self.plan.time_budget_seconds:g} s (--time-budget) was over")
        seconds = min(SHARE * self.plan.probe_timeout_seconds, seconds_left)
        sizes = by_pairs.batch_sizes(
            largest,
            multiple_of=self.plan.multiple_of,
            samples=self.stepper.probe.dataset_samples,
            samples_per_second=self._samples_per_second(probes),
            seconds=seconds,
        )
        if sizes is None:
            return _unknown("there is room, time or samples for one batch size only, and it takes two")
        small, large = sizes
        return self._measured(
            GradientRequest(
                small_batch_size=small, large_batch_size=large, most_pairs=by_pairs.MOST_PAIRS, seconds=seconds
            )
        )

    def _samples_per_second(self, probes: Sequence[StepProbe]) -> float | None:
        """Return the rate at which samples are loaded one after another, and taken by the slowest step."""
        rates = [rate for probe in probes if probe.fit == "fits" and (rate := probe.samples_per_second) is not None]
        if not rates:
            return None
        return 1 / (1 / min(rates) + (self.stepper.probe.seconds_per_sample or 0.0))

    def _measured(self, wanted: GradientRequest) -> NoiseScale:
        stepped, stderr = self._ask(wanted)
        if stepped.unusable is not None:
            return _unknown(stepped.unusable)
        measured = stepped.measured
        evidence = Evidence(
            bounds=self.bounds,
            used=batch_memory.used(measured, self.bounds, self.plan.loader) if measured is not None else {},
            predicted={},
            killed=None,
            stderr=stderr,
            seconds_per_sample=None,
            least_steps=0,
        )
        within = self.plan.probe_timeout_seconds
        outcome = judge(stepped, evidence, batch_size=wanted.large_batch_size, within_seconds=within)
        if outcome.fit != "fits" or stepped.gradients is None:
            return _unknown(f"gradients with batches of {wanted.large_batch_size}: {outcome.reason}")
        return by_pairs.noise_scale(stepped.gradients)

    def _ask(self, wanted: GradientRequest) -> tuple[Stepped, str]:
        request = StepRequest(
            batch_size=wanted.large_batch_size,
            consumer=self.plan.consumer,
            step_path=self.step_path,
            seed=self.plan.seed,
            gradients=wanted,
        )
        return self.stepper.step(request, within_seconds=self.plan.probe_timeout_seconds)


def _unknown(because: str) -> NoiseScale:
    return NoiseScale(source="measured", samples=None, because=because)
