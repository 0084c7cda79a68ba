"""A configuration as the code or the data that takes it: plain torch, JSON, Lightning, Transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.judge.reasons import AGAIN
from loadtune.record.results import Pick, RunResult
from loadtune.show import summary
from loadtune.show.words import config_words, loader_code, plain

_TRAINING_ARGUMENTS = {
    "batch_size": "per_device_train_batch_size",
    "num_workers": "dataloader_num_workers",
    "pin_memory": "dataloader_pin_memory",
    "drop_last": "dataloader_drop_last",
    "prefetch_factor": "dataloader_prefetch_factor",
    "persistent_workers": "dataloader_persistent_workers",
}
"""What ``transformers.TrainingArguments`` calls a setting; those that are missing it does not take."""


def as_python(result: RunResult, pick: Pick) -> str:
    """Return a call of ``DataLoader`` under a comment on where it comes from."""
    return "\n".join([*_comments(result, pick), loader_code(pick.config, result.probe.kept_arguments)])


def as_json(result: RunResult, pick: Pick) -> str:
    """Return what the loader takes, with the rate, the memory and the reason, as one JSON object."""
    rate = pick.samples_per_second
    said = {
        "config_id": pick.config_id,
        "loader_kwargs": _kwargs(result, pick.config),
        "samples_per_second": {"estimate": rate.estimate, "low": rate.low, "high": rate.high},
        "host_peak_bytes": pick.host_peak_bytes,
        "gpu_peak_bytes": pick.gpu_peak_bytes,
        "measured_again": _measured_again(result, pick),
        "reason": plain(pick.reason),
    }
    return json.dumps(said, indent=1, allow_nan=False)


def as_lightning(result: RunResult, pick: Pick) -> str:
    """Return a ``LightningDataModule`` that loads with these settings."""
    code = loader_code(pick.config, result.probe.kept_arguments).splitlines()
    call = [code[0].replace("DataLoader(", "return DataLoader("), *code[1:]]
    call = [line.replace("    dataset,", "    self.dataset,", 1) for line in call]
    return "\n".join(
        [
            *_comments(result, pick),
            "import lightning",
            "from torch.utils.data import DataLoader",
            "",
            "",
            "class Data(lightning.LightningDataModule):",
            "    def __init__(self, dataset):",
            "        super().__init__()",
            "        self.dataset = dataset",
            "",
            "    def train_dataloader(self):",
            *(f"        {line}" for line in call),
        ]
    )


def as_transformers(result: RunResult, pick: Pick) -> str:
    """Return ``TrainingArguments`` with these settings, and in a comment those that it does not take."""
    kwargs = _kwargs(result, pick.config)
    defaults = LoaderConfig(batch_size=pick.config.batch_size, num_workers=pick.config.num_workers).as_dict()
    lost = [name for name, value in kwargs.items() if name not in _TRAINING_ARGUMENTS and value != defaults.get(name)]
    taken = [(_TRAINING_ARGUMENTS[name], value) for name, value in kwargs.items() if name in _TRAINING_ARGUMENTS]
    return "\n".join(
        [
            *_comments(result, pick),
            *(
                f"# TrainingArguments takes no {name}: it was {kwargs[name]!r} where this was measured."
                for name in lost
            ),
            "TrainingArguments(",
            "    output_dir=output_dir,",
            *(f"    {name}={value!r}," for name, value in taken),
            ")",
        ]
    )


FORMATS: dict[str, Callable[[RunResult, Pick], str]] = {
    "python": as_python,
    "json": as_json,
    "lightning": as_lightning,
    "transformers": as_transformers,
}
"""What ``loadtune suggest`` writes, by the name of the format."""


def _kwargs(result: RunResult, config: LoaderConfig) -> dict[str, Any]:
    """Return what the loader takes; a batch sampler that is kept forms the batches itself."""
    kwargs = config.loader_kwargs()
    if config.batch_size is None or "batch_sampler" in result.probe.kept_arguments:
        kwargs = {name: value for name, value in kwargs.items() if name not in ("batch_size", "drop_last")}
    return kwargs


def _comments(result: RunResult, pick: Pick) -> Sequence[str]:
    """Return where the settings come from, as comments: rate, memory, machine."""
    lines = (
        f"loadtune: {config_words(pick.config)}: {summary.pick_rate(pick)}",
        *_flattered(result, pick),
        *_told(result, pick),
        *_warned(result, pick),
        summary.workload_sentence(result),
        *summary.limit_sentences(result),
    )
    return tuple(f"# {plain(line)}" for line in lines)


def _measured_again(result: RunResult, pick: Pick) -> bool:
    row = result.trial(pick.config_id)
    return row is not None and row.measured_again


def _flattered(result: RunResult, pick: Pick) -> Sequence[str]:
    """Return that the rate is the best of many, where it was not measured again after the choice."""
    if _measured_again(result, pick):
        return ()
    row = result.trial(pick.config_id)
    again = AGAIN[min(row.fresh_trials, 1)] if row is not None else AGAIN[0]
    is_own = result.best is not None and pick.config_id == result.best.config_id
    remedy = "A longer --time-budget" if is_own else "A sweep with these limits"
    return (f"It was {again}: its rate may be flattered. {remedy} measures it again.",)


def _told(result: RunResult, pick: Pick) -> Sequence[str]:
    """Return the gain, what the start of workers takes and what the batch size changes, of the run's own pick."""
    if result.best is None or pick.config_id != result.best.config_id:
        return ()
    said = (summary.gain_sentence(result), summary.start_sentence(result), summary.training_sentence(result))
    return tuple(sentence for sentence in said if sentence)


def _warned(result: RunResult, pick: Pick) -> Sequence[str]:
    """Return the codes of what the run warns of, where it is the run's own pick."""
    codes = [finding.code for finding in result.findings if finding.severity != "info"]
    if not codes or result.best is None or pick.config_id != result.best.config_id:
        return ()
    return (f"The run warns of {', '.join(codes)}: loadtune explain {codes[0]}",)
