"""The gradient noise scale of a search for a batch size: seen to be measurable before it, measured after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from loadtune.errors import TargetError
from loadtune.judge import noise_scale as by_pairs
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, StepProbe, StepRequest
from loadtune.record.noise_scale import GradientRequest, NoiseScale
from loadtune.record.results import Probe
from loadtune.run.protocol import Stepped
from loadtune.run.step_verdict import Outcome

SHARE = 0.5
"""Of the time of a probe is for the pairs; starting its process and the last pair have the rest."""
CHECKED_LARGEST = 16
"""Batches with which it is seen whether gradients can be had are made as if no larger one fitted."""
CHECKED_PAIRS = 2
CHECKED_SHARE = 0.1
"""Of the time budget is for these pairs; a few steps of the small batch come in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Asks for gradients of a step, and makes the noise scale and the goodput of them.

    Args:
        plan: Of the search.
        probe: What the data set is like.
        step_path: File with a pickled step.
        run: Runs what is asked of the step in a process of its own: what it gave, and whether it kept to the limits.
    """

    plan: BatchSizePlan
    probe: Probe
    step_path: str | None
    run: Callable[[StepRequest], tuple[Stepped, Outcome]]

    def check(self) -> None:
        """See that the gradients can be measured, where they are to be, by a few real steps.

        What the step raises is left to the search, which tells whether it is the batch size.

        Raises:
            TargetError: The gradients of the step cannot be had, samples are repeated, or there is no step.
        """
        if self.plan.noise_scale != "measure":
            return
        most = max(CHECKED_LARGEST, by_pairs.HELD * self.plan.multiple_of)
        sizes = self._batch_sizes(min(most, self.plan.most or most))
        if sizes is None:
            return
        seconds = min(SHARE * self.plan.probe_timeout_seconds, CHECKED_SHARE * self.plan.time_budget_seconds)
        stepped, _ = self._ask(sizes, pairs=CHECKED_PAIRS, planned=1, seconds=seconds)
        if stepped.unusable is not None:
            raise TargetError(stepped.unusable)

    def added(self, result: BatchSizeResult, *, seconds_left: Callable[[], float]) -> BatchSizeResult:
        """Return the result with the noise scale and the goodput, where they are asked for and a batch fits."""
        baseline = self.probe.baseline.batch_size
        if self.plan.noise_scale is None or result.largest is None or baseline is None:
            return result
        found = self._noise_scale(result.largest, result.probes, seconds_left())
        goodputs = by_pairs.goodputs(result.probes, scale=found, baseline=baseline)
        best, ends = by_pairs.best(goodputs, tie=self.plan.tie)
        return replace(
            result,
            noise_scale=found,
            goodputs=goodputs,
            best_goodput=best,
            best_goodput_range=ends,
            baseline_batch_size=baseline if goodputs else None,
        )

    def _noise_scale(self, largest: int, probes: Sequence[StepProbe], seconds_left: float) -> NoiseScale:
        given = self.plan.noise_scale
        if isinstance(given, (int, float)):
            return NoiseScale(source="given", samples=float(given))
        if seconds_left <= 0:
            return _unknown(f"the time of {self.plan.time_budget_seconds:g} s (--time-budget) was over")
        seconds = min(SHARE * self.plan.probe_timeout_seconds, seconds_left)
        sizes = self._batch_sizes(largest, samples_per_second=self._samples_per_second(probes), seconds=seconds)
        if sizes is None:
            return _unknown("there is room, time or samples for one batch size only, and it takes two")
        stepped, outcome = self._ask(sizes, pairs=by_pairs.MOST_PAIRS, planned=by_pairs.PLANNED_PAIRS, seconds=seconds)
        if stepped.unusable is not None:
            return _unknown(stepped.unusable)
        if outcome.fit != "fits" or stepped.gradients is None:
            memory = "out of memory, " if outcome.fit == "out_of_memory" else ""
            return _unknown(f"gradients with batches of {sizes[1]}: {memory}{outcome.reason}")
        return by_pairs.noise_scale(stepped.gradients)

    def _batch_sizes(
        self, largest: int, *, samples_per_second: float | None = None, seconds: float = 0.0
    ) -> tuple[int, int] | None:
        return by_pairs.batch_sizes(
            largest,
            multiple_of=self.plan.multiple_of,
            samples=self.probe.dataset_samples,
            samples_per_second=samples_per_second,
            seconds=seconds,
        )

    def _samples_per_second(self, probes: Sequence[StepProbe]) -> float | None:
        """Return the rate at which samples are loaded one after another, and taken by the slowest step."""
        rates = [rate for probe in probes if probe.fit == "fits" and (rate := probe.samples_per_second) is not None]
        if not rates:
            return None
        return 1 / (1 / min(rates) + (self.probe.seconds_per_sample or 0.0))

    def _ask(self, sizes: tuple[int, int], *, pairs: int, planned: int, seconds: float) -> tuple[Stepped, Outcome]:
        small, large = sizes
        wanted = GradientRequest(
            small_batch_size=small, large_batch_size=large, most_pairs=pairs, planned_pairs=planned, seconds=seconds
        )
        return self.run(
            StepRequest(
                batch_size=large,
                consumer=self.plan.consumer,
                step_path=self.step_path,
                seed=self.plan.seed,
                gradients=wanted,
            )
        )


def _unknown(because: str) -> NoiseScale:
    return NoiseScale(source="measured", samples=None, because=because)
