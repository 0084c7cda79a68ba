"""The public API as a training script uses it. mypy reads this file; nobody runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import DataLoader, Dataset
from typing_extensions import assert_type

import loadtune
from loadtune import Best, LoaderConfig, Run, Workload


class Numbers(Dataset[int]):
    """Numbers."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return index


def tune_and_load() -> DataLoader[Any]:
    """Sweep a data set, then take the loader that was chosen."""
    dataset = Numbers()
    run = loadtune.sweep(
        dataset, batch_size=[32, 64, 128], num_workers=range(9), pin_memory="auto", drop_last=True,
        host_memory="8GiB", time_budget="30s", seed=1,
    )  # fmt: skip
    assert_type(run, Run)
    best = run.best
    assert_type(best, Best)
    assert_type(best.config, LoaderConfig)
    kwargs: dict[str, Any] = best.loader_kwargs()
    assert_type(best.samples_per_second.low, float)
    return best.loader(dataset, **kwargs, shuffle=True)


def tune_other_targets() -> list[Run]:
    """Sweep what else a target can be: a name, a loader, a workload, a function."""
    return [
        loadtune.sweep("cifar10", batch_size="32..512:x2"),
        loadtune.sweep("data.py:train", step_time="20ms"),
        loadtune.sweep("data.py:train", step="train.py:step"),
        loadtune.sweep(DataLoader(Numbers(), batch_size=32)),
        loadtune.sweep(Workload(dataset=Numbers(), name="numbers"), gpu_memory="90%"),
    ]


def look_at(folder: Path) -> pd.DataFrame:
    """Load a run and write it in every format."""
    run = loadtune.load(folder)
    run.to_csv(folder / "a.csv")
    run.to_json(str(folder / "a.json"))
    run.to_html(folder / "a.html")
    if run.gain is not None and run.fastest is not None:
        assert_type(run.gain.low, float)
        assert_type(run.fastest.config_id, str)
    frame = run.to_frame()
    assert_type(frame, pd.DataFrame)
    return frame


def survive() -> int:
    """Catch what a sweep raises."""
    try:
        loadtune.sweep("nowhere")
    except loadtune.TargetError as error:
        return error.exit_code
    except (loadtune.NothingFitsError, loadtune.TooNoisyError, loadtune.TrialHostError) as error:
        return error.exit_code
    except loadtune.LoadtuneError as error:
        return len(error.hint or "")
    return 0


def batch_sizes() -> tuple[int | None, int | None, bool]:
    """A training script asks for its batch size."""

    def step(batch: list[float]) -> float:
        return sum(batch)

    def make_batch(size: int) -> list[float]:
        return [0.0] * size

    found: loadtune.BatchSizeResult = loadtune.find_batch_size(step, make_batch, host_memory="6GiB", multiple_of=8)
    known = loadtune.find_batch_size("train:step", make_batch, noise_scale="measure", global_batch=512)
    assert_type(known.best_goodput, int | None)
    if known.noise_scale is not None:
        assert_type(known.noise_scale.samples, float | None)
    assert_type([one.goodput_samples_per_second for one in known.goodputs], list[float])
    return found.largest, found.best, found.exact


def watched() -> tuple[loadtune.WatchSummary, float | None]:
    """A training loop is watched, over a loader and over a plain list."""
    loader = DataLoader(Numbers(), batch_size=32)
    with loadtune.watch(loader) as watched:
        for batch in watched:
            del batch
        watched.sampler.set_epoch(len(watched))
    for number in loadtune.watch([1, 2, 3]):
        assert_type(number, int)
    summary = watched.summary()
    assert_type(summary.verdict, str)
    return summary, summary.wait_share.high if summary.wait_share is not None else None
