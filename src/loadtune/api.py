"""What a training script calls: ``sweep`` a data set, ``load`` a run, take its ``best`` loader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SEARCHES, CacheState, Consumer, Limits, Measurement, Search, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.describe.workload import Workload
from loadtune.errors import NothingFitsError, TargetError, UsageError
from loadtune.judge.lack import lack
from loadtune.record.results import Finding, Interval, Pick, RunResult, TrialResult
from loadtune.record.store import RunStore
from loadtune.run.events import Listener, SilentListener
from loadtune.run.resume import load as load_result
from loadtune.run.scratch import Scratch
from loadtune.run.sweep import run_sweep
from loadtune.show import outputs, page, tables
from loadtune.units import parse_duration, parse_share, parse_size, parse_step_time

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import DataLoader

Integers = int | str | Iterable[int]
Switch = bool | Literal["on", "off", "both"] | tuple[bool, ...] | list[bool]


class Best:
    """A configuration that a run points out, ready to be used."""

    def __init__(self, pick: Pick) -> None:
        self.config: LoaderConfig = pick.config
        self.config_id: str = pick.config_id
        self.samples_per_second: Interval = pick.samples_per_second
        self.host_peak_bytes: int | None = pick.host_peak_bytes
        self.gpu_peak_bytes: int | None = pick.gpu_peak_bytes
        self.reason: str = pick.reason

    def loader_kwargs(self) -> dict[str, Any]:
        """Return exactly what ``DataLoader(dataset, **kwargs)`` takes; valid without workers too."""
        return self.config.loader_kwargs()

    def loader(self, dataset: Any, **kwargs: Any) -> DataLoader[Any]:
        """Return a ``DataLoader`` of ``dataset`` with these settings.

        Args:
            dataset: What to load.
            **kwargs: Everything else that DataLoader takes, such as ``shuffle=True``; a setting given here wins.
        """
        from torch.utils.data import DataLoader  # noqa: PLC0415 - importing loadtune must not import torch

        return DataLoader(dataset, **{**self.loader_kwargs(), **kwargs})

    def __repr__(self) -> str:
        return f"Best({self.config_id}: {self.reason})"


class Run:
    """A sweep that was made, finished or interrupted.

    Args:
        result: All that was measured and chosen, as typed values.
        directory: The run directory, or None when the run was not kept.
    """

    def __init__(self, result: RunResult, directory: Path | None = None) -> None:
        self.result = result
        self.directory = directory

    @property
    def best(self) -> Best:
        """The chosen configuration.

        Raises:
            NothingFitsError: Nothing can be chosen; the message says why.
        """
        if self.result.best is None:
            raise NothingFitsError(self._lack)
        return Best(self.result.best)

    @property
    def fastest(self) -> Best | None:
        """The fastest within the limits, which may cost more than the chosen one and be no faster to speak of."""
        return Best(self.result.fastest) if self.result.fastest else None

    @property
    def baseline(self) -> Best | None:
        """The given loader's own settings, else torch's defaults with batch 64."""
        return Best(self.result.baseline) if self.result.baseline else None

    @property
    def gain(self) -> Interval | None:
        """Rate of the chosen configuration over the baseline's, with its 95 % interval."""
        return self.result.gain

    @property
    def trials(self) -> tuple[TrialResult, ...]:
        """One row a configuration."""
        return self.result.trials

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a person should know."""
        return self.result.findings

    def to_frame(self) -> pd.DataFrame:
        """Return one row a configuration, in the columns of the CSV."""
        return tables.to_frame(self.result)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row a configuration; an empty cell was not measured.

        Raises:
            OutputError: The file cannot be written.
        """
        outputs.write_file(Path(path), tables.to_csv(self.result))

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything, by the schema ``loadtune.run/1``.

        Raises:
            OutputError: The file cannot be written.
        """
        outputs.write_file(Path(path), tables.to_json(self.result))

    def to_html(self, path: str | os.PathLike[str], *, interactive: bool = False) -> None:
        """Write the report: one file that needs nothing else.

        Args:
            path: Where to.
            interactive: With tooltips, sorting and a linked selection, by a script within the page.

        Raises:
            OutputError: The file cannot be written.
        """
        outputs.write_file(Path(path), page.render_apart(self.result, interactive=interactive))

    def to_markdown(self, path: str | os.PathLike[str]) -> None:
        """Write the verdict and the leaders as Markdown.

        Raises:
            OutputError: The file cannot be written.
        """
        outputs.write_file(Path(path), tables.to_markdown(self.result))

    def __repr__(self) -> str:
        chosen = self.result.best.reason if self.result.best else self._lack
        return f"Run({self.result.target}: {chosen})"

    @property
    def _lack(self) -> str:
        return lack(self.result.trials, self.result.plan, self.result.probe).sentence


def sweep(
    dataset_or_target: Any = "cifar10",
    *,
    batch_size: Integers | None = None,
    num_workers: Integers | None = None,
    pin_memory: Switch | Literal["auto"] | None = None,
    drop_last: Switch | None = None,
    prefetch_factor: Integers | None = None,
    persistent_workers: Switch | None = None,
    in_order: Switch | None = None,
    multiprocessing_context: str | Iterable[str] | None = None,
    step: Callable[[Any], Any] | str | None = None,
    step_time: str | float | None = None,
    device: str = "auto",
    search: Search = "adaptive",
    time_budget: str | float = "60s",
    precision: str | float = "2%",
    cache: CacheState = "as-is",
    seed: int = 0,
    host_memory: str | int | None = None,
    gpu_memory: str | int | None = None,
    max_batch_size: int | None = None,
    trial_timeout: str | float = "60s",
    arguments: Mapping[str, str] | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Run:
    """Measure loaders of a data set on this machine and return the run, with the configuration to use.

    Everything is measured in other processes: this one's random number streams, environment, start method and
    accelerator are as before.

    Args:
        dataset_or_target: A data set, a ``DataLoader`` (its settings are the baseline), a ``Workload``, a callable that
            gives one of them, or a target as on the command line.
        batch_size: Batch sizes to try: ``64``, ``[32, 64]`` or ``"32..512:x2"``.
        num_workers: Worker counts to try; None goes from 0 to the usable cores, and on from there while it helps.
        pin_memory: Whether to pin; None tries both where there is an accelerator.
        drop_last: Whether to drop the last batch; None judges both on an epoch.
        prefetch_factor: Batches a worker loads ahead.
        persistent_workers: Whether to keep workers between epochs.
        in_order: Whether batches keep the sampler's order.
        multiprocessing_context: Start methods of the workers.
        step: The training step that takes the batches: a function of a batch, ``"module:callable"``, or ``"model"`` for
            the model of the workload; None takes them as they come.
        step_time: Time a consumer takes for a batch of any size, ``"20ms"`` or a number of seconds; None takes batches
            as they come.
        device: Where batches are copied: ``"auto"``, ``"cpu"`` or ``"cuda:0"``.
        search: ``"adaptive"`` tries what a model of the loader thinks worth a trial, ``"grid"`` everything;
            ``"optuna:tpe"``, ``"optuna:random"`` and ``"optuna:grid"`` need the extra ``optuna``.
        time_budget: Hard bound on the time for trials, ``"60s"`` or seconds.
        precision: Half-width of the 95 % interval that is aimed at, ``"2%"`` or ``0.02``.
        cache: ``"as-is"``, ``"warm"`` to read the files once before, or ``"cold"`` to take them out of the page cache
            before each trial.
        seed: Of the order of trials and of the samples drawn.
        host_memory: Most host memory, ``"8GiB"``, ``"50%"`` or bytes.
        gpu_memory: Most device memory, likewise.
        max_batch_size: Largest batch that may be chosen.
        trial_timeout: A trial that takes longer is killed and recorded as hung.
        arguments: Keyword arguments for a target that is named.
        output: Directory to keep the run in; None keeps nothing.
        force: Replace a run that is there.
        listener: Told of each trial; None is silent.

    Raises:
        UsageError: An argument out of range, a target that cannot be used, an output that is there already.
        OutputError: What was measured cannot be kept, as on a full disk; the trials before are, and ``load`` reads
            them.
    """
    if step is not None and step_time is not None:
        raise UsageError("step and step_time contradict each other: give one of them")
    space = SearchSpace.parse(
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=pin_memory,
        drop_last=drop_last,
        prefetch_factor=prefetch_factor,
        persistent_workers=persistent_workers,
        in_order=in_order,
        multiprocessing_context=multiprocessing_context,
    )
    plan = SweepPlan(
        target=_name_of(dataset_or_target),
        target_args=dict(arguments or {}),
        space=space,
        consumer=_consumer(step_time, step, device),
        measurement=Measurement(precision=parse_share(precision)),
        limits=_limits(host_memory, gpu_memory, max_batch_size),
        search=_search(search),
        time_budget_seconds=parse_duration(time_budget),
        trial_timeout_seconds=parse_duration(trial_timeout),
        cache=_cache_state(cache),
        seed=seed,
    )
    given = _with_step(dataset_or_target, step) if callable(step) else dataset_or_target
    return _measured(plan, given, output=output, force=force, listener=listener or SilentListener())


def _measured(
    plan: SweepPlan, given: Any, *, output: str | os.PathLike[str] | None, force: bool, listener: Listener
) -> Run:
    """Return the run of a plan, kept in a directory where one is named."""
    kept = RunStore.create(output, force=force, force_words="force=True") if output is not None else nullcontext()
    with kept as store, Scratch() as folder:
        result = run_sweep(
            plan,
            listener=listener,
            store=store,
            command=("loadtune.sweep",),
            environ=os.environ,
            pickle_path=None if isinstance(given, str) else pickled(given, plan.target, folder),
        )
        run = Run(result, Path(output) if output is not None else None)
        if run.directory is not None:
            run.to_csv(run.directory / "trials.csv")
            run.to_html(run.directory / "report.html")
    return run


def _name_of(given: Any) -> str:
    return given if isinstance(given, str) else f"<{type(given).__qualname__}>"


def _consumer(step_time: str | float | None, step: Callable[[Any], Any] | str | None, device: str) -> Consumer:
    return Consumer(
        step_seconds=parse_step_time(step_time) if step_time is not None else 0.0,
        device=device,
        step=step if step is None or isinstance(step, str) else "model",
    )


def _limits(host_memory: str | int | None, gpu_memory: str | int | None, max_batch_size: int | None) -> Limits:
    return Limits(
        host_memory=parse_size(host_memory) if host_memory is not None else None,
        gpu_memory=parse_size(gpu_memory) if gpu_memory is not None else None,
        max_batch_size=_positive(max_batch_size),
    )


def load(run_directory: str | os.PathLike[str]) -> Run:
    """Return the run that a directory holds.

    Of a run that was not finished it is what its trials so far say; finding LT017 tells, and ``result.finished``.

    Raises:
        RunDirectoryError: No run, or one that cannot be read.
    """
    place = Path(run_directory)
    return Run(load_result(place), place if place.is_dir() else place.parent)


def pickled(given: Any, name: str, folder: Path) -> str:
    """Write what is to be loaded to a file for the trial host; what a script defines goes by value."""
    import cloudpickle  # noqa: PLC0415 - only where there is an object to carry

    if not isinstance(given, Workload) and hasattr(given, "batch_sampler"):
        from loadtune.workloads.source import source_from_loader  # noqa: PLC0415 - imports torch

        # A loader holds iterators and contexts that do not travel; what trials need of it does.
        given = source_from_loader(given, name)
    path = folder / "workload.pickle"
    try:
        path.write_bytes(cloudpickle.dumps(given))
    except Exception as error:
        raise TargetError(f"{name} cannot be carried to the process that measures: {error}") from error
    return str(path)


def _with_step(given: Any, step: Callable[[Any], Any]) -> Any:
    """Return what is to be loaded with the step that takes it."""
    from loadtune.workloads.resolve import resolve_object  # noqa: PLC0415 - imports torch

    if isinstance(given, str):
        raise TargetError("a target by its name takes its step by name too: give step='module:callable'")
    source = resolve_object(given, f"<{type(given).__qualname__}>")
    if source.workload is None:
        raise TargetError("loaders built by a function of their own take a step by name: step='module:callable'")
    return replace(source, workload=replace(source.workload, step=step))


def _positive(count: int | None) -> int | None:
    if count is not None and count < 1:
        raise UsageError(f"max_batch_size {count} is no batch: it must be 1 or more")
    return count


def _search(search: str) -> Search:
    known = next((one for one in SEARCHES if one == search), None)
    if known is None:
        raise UsageError(f"search '{search}' is not known: it must be one of {', '.join(SEARCHES)}")
    return known


def _cache_state(cache: str) -> CacheState:
    if cache == "as-is":
        return "as-is"
    if cache == "warm":
        return "warm"
    if cache == "cold":
        return "cold"
    raise UsageError(f"cache '{cache}' is not known: it must be as-is, warm or cold")
