"""The option groups of the command line, and what they mean: one frozen dataclass a group."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, TypeVar

from cyclopts import Group, Parameter

from loadtune.describe.plan import CacheState, Consumer, Limits, Measurement, Search, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.errors import LoadtuneError, UsageError
from loadtune.units import brief, parse_duration, parse_share, parse_size, parse_step_time

T = TypeVar("T")

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?", re.ASCII)
_MOST_DIGITS = 18
_BELOW_ZERO = re.compile(r"\s*-\s*[\d.]", re.ASCII)


def option(value: str, text: str, *names: str, hyphen: bool = False, heading: str | None = None) -> Parameter:
    """Return the description of an option; ``value`` is what the help page shows after its name.

    Args:
        value: An example or a placeholder; empty for a switch.
        text: One line of help.
        *names: The names, where they do not follow from the field.
        hyphen: Whether a value may begin with ``-``, as ``-1`` (to be refused with a reason) or ``-`` (stdout).
        heading: The group on the help page, where it is not that of its dataclass.
    """
    description = Parameter(name=names or None, help=f"{value}\n{text}", allow_leading_hyphen=hyphen)
    return description if heading is None else Parameter.combine(description, Parameter(group=heading))


def group(title: str, order: int) -> Parameter:
    """Return the description of a group of options, whose fields become options of their own."""
    return Parameter(name="*", group=Group(title, sort_key=order))


@group("Search space", 1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceOptions:
    """The axes of the sweep, as text."""

    batch_size: Annotated[
        str | None, option("32..512:x2", "Batch sizes: a range or a list.  [default: 32..512:x2]", hyphen=True)
    ] = None
    num_workers: Annotated[
        str | None,
        option("auto|0..8|0,2,4", "Worker processes; 0 loads in the main process.  [default: auto]", hyphen=True),
    ] = None
    pin_memory: Annotated[
        str | None,
        option("auto|on|off|both", "Page-locked host memory; auto: both with an accelerator.  [default: auto]"),
    ] = None
    drop_last: Annotated[
        str | None, option("on|off|both", "Leave out a last batch that is not full.  [default: both]")
    ] = None
    prefetch_factor: Annotated[
        str | None, option("2,4", "Batches that each worker loads ahead.  [default: 2]", hyphen=True)
    ] = None
    persistent_workers: Annotated[
        str | None, option("on|off|both", "Keep the workers between epochs.  [default: off]")
    ] = None
    in_order: Annotated[
        str | None, option("on|off|both", "Hand batches out in the sampler's order.  [default: on]")
    ] = None
    multiprocessing_context: Annotated[
        str | None, option("fork,spawn,...", "How workers are started.  [default: Python's own]")
    ] = None

    def build(self) -> SearchSpace:
        """Return the space that these options span."""
        return SearchSpace.parse(**asdict(self))


@group("Consumer", 2)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """What takes the batches, as text."""

    step_time: Annotated[
        str,
        option("20ms", "Time that a training step takes for a batch.  [default: 0, as fast as they come]", hyphen=True),
    ] = "0"
    step: Annotated[
        str | None,
        option("module:callable|model", "The training step that takes the batches; model is the target's own."),
    ] = None
    amp: Annotated[
        Literal["off", "bf16", "fp16"], option("off|bf16|fp16", "Type that --step model computes in.  [default: off]")
    ] = "off"
    device: Annotated[str, option("auto|cpu|cuda:0", "Where batches are copied to.  [default: auto]")] = "auto"

    def build(self) -> Consumer:
        """Return the consumer that these options describe."""
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"--device '{self.device}' is not a device: write auto, cpu, cuda or cuda:0")
        seconds = parsed("--step-time", self.step_time, step_time)
        if self.step is not None and seconds > 0:
            raise UsageError("--step and --step-time contradict each other: give one of them")
        if self.amp != "off" and self.step != "model":
            raise UsageError("--amp is for --step model: a step of its own chooses its types itself")
        return Consumer(step_seconds=seconds, device=self.device, step=self.step, amp=self.amp)


@group("Measurement", 3)
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementOptions:
    """How it is measured, as text."""

    search: Annotated[
        Search,
        option("adaptive|grid", "Also optuna:tpe, optuna:random, optuna:grid.  [default: adaptive]"),
    ] = "adaptive"
    time_budget: Annotated[
        str, option("60s", "Hard bound on the time; at its end, the best so far.  [default: 60s]", hyphen=True)
    ] = "60s"
    precision: Annotated[
        str, option("2%", "Half-width of the 95 % interval at which a trial stops.  [default: 2%]", hyphen=True)
    ] = "2%"
    cache: Annotated[
        CacheState,
        option("as-is|warm|cold", "Page cache: as is, filled once, or emptied before each trial.  [default: as-is]"),
    ] = "as-is"
    seed: Annotated[str, option("0", "Of the order of trials and the samples drawn.  [default: 0]", hyphen=True)] = "0"

    def build(self) -> Measurement:
        """Return how one trial is measured."""
        return Measurement(precision=parsed("--precision", self.precision, share))


@group("Limits", 4)
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """What a configuration may use, as text."""

    host_memory: Annotated[
        str | None, option("8GiB|50%", "Most host memory; a share is of the limit really in force.", hyphen=True)
    ] = None
    gpu_memory: Annotated[
        str | None, option("20GiB|90%", "Most device memory; a share is of the whole device.", hyphen=True)
    ] = None
    max_batch_size: Annotated[str | None, option("N", "Batch sizes above this are never chosen.", hyphen=True)] = None
    trial_timeout: Annotated[
        str, option("60s", "A trial that takes longer is ended, recorded as hung.  [default: 60s]", hyphen=True)
    ] = "60s"

    def build(self) -> Limits:
        """Return the limits, shares not yet resolved."""
        return Limits(
            host_memory=maybe("--host-memory", self.host_memory, parse_size),
            gpu_memory=maybe("--gpu-memory", self.gpu_memory, parse_size),
            max_batch_size=maybe("--max-batch-size", self.max_batch_size, positive),
        )


@group("Output", 5)
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where results go."""

    output: Annotated[str | None, option("DIR", "The run directory.  [default: reports/TARGET-TIME/]")] = None
    export_csv: Annotated[str | None, option("FILE|-", "One row a configuration; - is stdout.", hyphen=True)] = None
    export_json: Annotated[str | None, option("FILE|-", "The whole run.", hyphen=True)] = None
    export_html: Annotated[str | None, option("FILE|-", "The report as one page.", hyphen=True)] = None
    export_markdown: Annotated[str | None, option("FILE|-", "A table to paste into a discussion.", hyphen=True)] = None
    force: Annotated[bool, option("", "Replace what is there already.")] = False

    def exports(self) -> dict[str, str | None]:
        """Return the place of each export by kind.

        Raises:
            UsageError: A place that looks like an option.
        """
        places = {"csv": self.export_csv, "json": self.export_json, "html": self.export_html}
        places["markdown"] = self.export_markdown
        for kind, place in places.items():
            if place is not None and (not place or (place.startswith("-") and place != "-")):
                raise UsageError(f"--export-{kind} needs a file name, or - for stdout, not '{place}'")
        return places


@group("Session", 6)
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How the command behaves."""

    resume: Annotated[
        str | None,
        option("DIR", "Go on with the run in DIR, by its own options; a longer --time-budget is the one to change."),
    ] = None
    dry_run: Annotated[bool, option("", "Say what would be tried and how long it takes; measure nothing.")] = False
    strict: Annotated[
        bool, option("", "Exit with 4 when the choice is less precise than --precision, or not steady.")
    ] = False
    config: Annotated[
        str | None, option("FILE", "Read [tool.loadtune] of this file.  [default: the nearest pyproject.toml]")
    ] = None
    no_config: Annotated[bool, option("", "Read no configuration file.", "--no-config")] = False
    quiet: Annotated[bool, option("", "Say only what was chosen.", "--quiet", "-q")] = False
    verbose: Annotated[bool, option("", "Say more; show the traceback of a fault.", "--verbose", "-v")] = False
    no_progress: Annotated[bool, option("", "No live line.", "--no-progress")] = False
    color: Annotated[Literal["auto", "always", "never"], option("auto|always|never", "Colour.  [default: auto]")] = (
        "auto"
    )

    @property
    def verbosity(self) -> int:
        """-1 for quiet, 0, or 1 for verbose."""
        return int(self.verbose) - int(self.quiet)


def build_plan(
    target: str,
    arguments: Mapping[str, str],
    *,
    space: SpaceOptions,
    consumer: ConsumerOptions,
    measurement: MeasurementOptions,
    limits: LimitOptions,
) -> SweepPlan:
    """Return the plan that the options describe, each value checked.

    Raises:
        UsageError: A value that cannot be used.
    """
    return SweepPlan(
        target=target,
        target_args=dict(arguments),
        space=space.build(),
        consumer=consumer.build(),
        measurement=measurement.build(),
        limits=limits.build(),
        search=measurement.search,
        time_budget_seconds=parsed("--time-budget", measurement.time_budget, positive_duration),
        trial_timeout_seconds=parsed("--trial-timeout", limits.trial_timeout, positive_duration),
        cache=measurement.cache,
        seed=parsed("--seed", measurement.seed, whole),
    )


def key_values(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the keyword arguments that ``--arg key=value`` gives.

    Raises:
        UsageError: No ``=``, a key that is no name, or a key given twice.
    """
    arguments: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--arg '{pair}' is not key=value with a Python name as its key")
        if key in arguments:
            raise UsageError(f"--arg '{key}' is given twice")
        arguments[key] = value
    return arguments


def parsed(name: str, text: str, parse: Callable[[str], T]) -> T:
    """Return ``parse(text)``; an error names the option.

    Raises:
        UsageError: ``parse`` refuses the text.
    """
    try:
        return parse(text)
    except LoadtuneError as error:
        raise UsageError(f"{name}: {error}", hint=error.hint) from error


def maybe(name: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return ``parse(text)``, or None where nothing was given."""
    return None if text is None else parsed(name, text, parse)


def whole(text: str) -> int:
    """Return the whole number, zero or more, that ``text`` stands for."""
    if not re.fullmatch(r"\d+", text.strip(), re.ASCII):
        raise UsageError(f"'{text}' is not a whole number of 0 or more")
    return _of_some_digits(text)


def positive(text: str) -> int:
    """Return the whole number, one or more, that ``text`` stands for."""
    if not re.fullmatch(r"0*[1-9]\d*", text.strip(), re.ASCII):
        raise UsageError(f"'{text}' is not a whole number of 1 or more")
    return _of_some_digits(text)


def _of_some_digits(text: str) -> int:
    """Return a whole number that other programs can hold too: what has more digits than this is a slip of the hand."""
    digits = text.strip().lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS:
        raise UsageError(f"'{brief(text.strip())}' is out of range: it must have at most {_MOST_DIGITS} digits")
    return int(digits)


def positive_duration(text: str) -> float:
    """Return the seconds, above zero, that ``text`` stands for."""
    if _BELOW_ZERO.match(text) or (seconds := parse_duration(text)) <= 0:
        raise UsageError(f"'{text}' is no time: it must be above 0")
    return seconds


def duration(text: str) -> float:
    """Return the seconds, zero or more, that ``text`` stands for."""
    if _BELOW_ZERO.match(text):
        raise UsageError(f"'{text}' is no time: it must be above 0, or 0 for none")
    return parse_duration(text)


def step_time(text: str) -> float:
    """Return the seconds of a step; a bare number might be meant in seconds or in milliseconds, and is refused."""
    duration(text)
    return parse_step_time(text)


def share(text: str) -> float:
    """Return the fraction, between zero and one, that ``text`` stands for."""
    if _BELOW_ZERO.match(text):
        raise UsageError(f"share '{text}' must be above 0% and below 100%")
    return parse_share(text)
