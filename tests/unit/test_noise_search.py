"""When a search for a batch size asks for gradients, of which sizes, and what it makes of the answer: by a script."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factories import make_probe
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, Limits
from loadtune.errors import TargetError
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, StepMeasurement, StepRequest
from loadtune.record.noise_scale import Gradients
from loadtune.run.batch_size import find_batch_size
from loadtune.run.protocol import Stepped

MEASURED = StepMeasurement(
    steps=3, step_seconds=None, evaluated=True, batch_bytes=1, resident_peak_bytes=1, address_peak_bytes=None
)


def seen(small: int, large: int, pairs: int = 8) -> Gradients:
    """Return pairs with |G|² = 1 and S = 100, a little more or less in each: B_n is 100."""
    shares = [1 + (pair - (pairs - 1) / 2) / 400 for pair in range(pairs)]
    return Gradients(
        small_batch_size=small,
        large_batch_size=large,
        small_squares=tuple(share * (1 + 100 / small) for share in shares),
        large_squares=tuple(share * (1 + 100 / large) for share in shares),
    )


class Script:
    """Answers each probe with 1,000 samples/s after some seconds, and each request for gradients as it is told.

    Args:
        checked: The answer to the first request for gradients, before the search.
        measured: The answer to the next; None is that of gradients by which B_n is 100.
        seconds: That each takes.
        probe: What the data set is like, where it is not the ordinary one.
    """

    def __init__(
        self, *, checked: Stepped | None = None, measured: Stepped | None = None, seconds: float = 1.0, **probe: Any
    ) -> None:
        baseline = LoaderConfig(batch_size=64)
        self.probe = replace(make_probe(), **{"dataset_samples": 5_000, "baseline": baseline, **probe})
        self.now = 0.0
        self.asked: list[StepRequest] = []
        self._seconds = seconds
        self._answers = [checked or Stepped(measured=MEASURED), measured]

    def step(self, request: StepRequest, *, within_seconds: float) -> tuple[Stepped, str]:
        self.now += self._seconds
        assert within_seconds == 60.0
        self.asked.append(request)
        wanted = request.gradients
        if wanted is None:
            return Stepped(measured=replace(MEASURED, step_seconds=request.batch_size / 1_000)), ""
        found = seen(wanted.small_batch_size, wanted.large_batch_size)
        return self._answers.pop(0) or Stepped(measured=MEASURED, gradients=found), ""

    @property
    def order(self) -> list[int | str]:
        """The sizes of the probes, and the two of each request for gradients."""
        return [
            one.batch_size
            if one.gradients is None
            else f"{one.gradients.small_batch_size}+{one.gradients.large_batch_size}"
            for one in self.asked
        ]


def search(script: Script, root: Path = Path("/nowhere"), **changes: Any) -> BatchSizeResult:
    settings = {"noise_scale": "measure", "most": 256, "find_best": False, **changes}
    plan = BatchSizePlan(target="t", consumer=Consumer(step="model"), **settings)
    return find_batch_size(plan, Limits(), script, environ={}, bounds=(), clock=lambda: script.now, root=root)


def test_gradients_are_seen_before_the_search_and_measured_after_it() -> None:
    """A few of small batches first, then the probes, then those of half of the largest: B_n is 100, to a digit."""
    script = Script()
    result = search(script)
    assert script.order[0] == "2+8"
    assert script.order[-1] == "16+128"
    assert all(isinstance(size, int) for size in script.order[1:-1])
    assert result.largest == 256
    assert result.noise_scale is not None
    assert result.noise_scale.samples == pytest.approx(100)
    assert [one.batch_size for one in result.goodputs] == sorted({one.batch_size for one in result.probes})
    assert (result.best_goodput, result.baseline_batch_size) == (min(one.batch_size for one in result.goodputs), 64)


def test_a_step_whose_gradients_cannot_be_had_is_refused_before_any_probe() -> None:
    """What the first look says is the error, as it is; no probe ran."""
    script = Script(checked=Stepped(unusable="the step takes several steps of its optimiser on a batch"))
    with pytest.raises(TargetError, match=r"^the step takes several steps of its optimiser on a batch$"):
        search(script)
    assert len(script.asked) == 1


def test_what_the_first_look_raises_is_left_to_the_search() -> None:
    """A step that is out of memory at 8 is no reason to end: the search finds out what fits."""
    failed = Stepped(measured=replace(MEASURED, error_type="RuntimeError", error_message="out of memory"))
    assert search(Script(checked=failed)).largest == 256


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Stepped(unusable="two batches of 128 hold the same samples"), "^two batches of 128 hold the same samples$"),
        (
            Stepped(measured=replace(MEASURED, error_type="RuntimeError", error_message="Cannot allocate memory")),
            "^gradients with batches of 128: out of memory, RuntimeError: Cannot allocate memory$",
        ),
        (Stepped(status=signal.SIGKILL), "^gradients with batches of 128: the measuring process was killed by SIGKILL"),
        (Stepped(is_late=True), r"^gradients with batches of 128: no end after 60\.0 s"),
    ],
    ids=["unusable", "memory", "killed", "late"],
)
def test_gradients_that_fail_leave_the_scale_unknown(answer: Stepped, words: str) -> None:
    """Whatever becomes of them the batch size stands, and the reason is said once; there is no goodput."""
    result = search(Script(measured=answer))
    assert result.largest == 256
    assert result.noise_scale is not None
    assert re.search(words, result.noise_scale.because)
    assert (result.noise_scale.samples, result.goodputs, result.best_goodput) == (None, (), None)


class Killed(Script):
    """Has its gradients killed by the kernel, which counts it."""

    def __init__(self, root: Path) -> None:
        super().__init__(measured=Stepped(status=signal.SIGKILL))
        self._count = root / "proc/vmstat"
        self._count.parent.mkdir()
        self._count.write_text("oom_kill 3\n")

    def step(self, request: StepRequest, *, within_seconds: float) -> tuple[Stepped, str]:
        found = super().step(request, within_seconds=within_seconds)
        if found[0].status is not None:
            self._count.write_text("oom_kill 4\n")
        return found


def test_a_kill_that_the_kernel_counts_is_want_of_memory(tmp_path: Path) -> None:
    """Gradients whose process was killed while the kernel's count of such kills went up are said to lack memory."""
    result = search(Killed(tmp_path), root=tmp_path)
    assert result.noise_scale is not None
    assert "gradients with batches of 128: out of memory, the measuring process" in result.noise_scale.because


def test_a_search_leaves_time_for_the_gradients() -> None:
    """Of 100 s, at 30 s each, one look and two probes end past 70: no other begins, and gradients have the rest."""
    script = Script(seconds=30.0)
    result = search(script, time_budget_seconds=100.0, most=100_000)
    assert [type(one) for one in script.order] == [str, int, int, str]
    assert result.because.endswith(
        "the time of 100 s (--time-budget) was over, but for the 30 % that are kept for the noise scale"
    )
    assert script.asked[-1].gradients is not None
    assert script.asked[-1].gradients.seconds == 10.0
    given = Script(seconds=30.0)
    search(given, time_budget_seconds=100.0, most=100_000, noise_scale=500.0)
    assert given.now > 100.0


def test_no_gradient_is_begun_when_the_time_is_over() -> None:
    """With the budget used up by the first probe the scale is not known for want of time; the batch is found."""
    script = Script(seconds=30.0)
    result = search(script, time_budget_seconds=50.0, most=16)
    assert result.largest is not None
    assert result.noise_scale is not None
    assert "(--time-budget) was over" in result.noise_scale.because
    assert isinstance(script.order[-1], int)


def test_a_scale_that_is_given_asks_for_no_gradient() -> None:
    """By a number there is a goodput at once, by that number."""
    script = Script()
    result = search(script, noise_scale=192.0)
    assert all(isinstance(size, int) for size in script.order)
    assert result.noise_scale is not None
    assert (result.noise_scale.source, result.noise_scale.samples) == ("given", 192.0)
    worth = {one.batch_size: one.efficiency for one in result.goodputs}
    assert worth[256] == pytest.approx(256 / 448)


def global_batch(result: BatchSizeResult) -> str | None:
    return next((note for note in result.notes if note.startswith("a global batch")), None)


def test_a_global_batch_is_held_against_what_fits() -> None:
    """1,024 asked for and 256 fit: 4 micro-batches; that of a given loader likewise; no loader, no global batch."""
    split = "a global batch of 1,024 is 4 micro-batches of 256"
    assert (global_batch(search(Script(), noise_scale=None, global_batch=1_024)) or "").startswith(split)
    config = LoaderConfig(batch_size=1_024)
    assert global_batch(search(Script(baseline=config), noise_scale=None)) is None
    given = Script(baseline=config, baseline_is_given=True)
    assert (global_batch(search(given, noise_scale=None)) or "").startswith(split)
    fits = search(Script(baseline_is_given=True), noise_scale=None)
    assert global_batch(fits) is None
    asked = search(Script(), noise_scale=None, global_batch=256)
    assert global_batch(asked) == "a global batch of 256 fits as it is: nothing has to be accumulated"
