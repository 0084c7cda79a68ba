"""A configuration as the code or the data that takes it: plain torch, JSON, Lightning, Transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtune.describe.config import LoaderConfig
from loadtune.judge.reasons import AGAIN
from loadtune.record.results import Pick, RunResult
from loadtune.show import summary
from loadtune.show.words import config_words, kept_in, loader_code, plain

_TRAINING_ARGUMENTS = {
    "batch_size": "per_device_train_batch_size",
    "num_workers": "dataloader_num_workers",
    "pin_memory": "dataloader_pin_memory",
    "drop_last": "dataloader_drop_last",
    "prefetch_factor": "dataloader_prefetch_factor",
    "persistent_workers": "dataloader_persistent_workers",
}
"""What ``transformers.TrainingArguments`` calls a setting; those that are missing it does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What is suggested, and where it is from."""

    result: RunResult
    pick: Pick
    anew: bool = False
    """Whether the run was judged anew for it, under other limits than its own, and nothing measured."""


def as_python(said: Suggestion) -> str:
    """Return a call of ``DataLoader`` under a comment on where it comes from."""
    return "\n".join([*_comments(said), loader_code(said.pick.config, said.result.probe.kept_arguments)])


def as_json(said: Suggestion) -> str:
    """Return what the loader takes, with the rate, the memory and the reason, as one JSON object."""
    pick, rate = said.pick, said.pick.samples_per_second
    values = {
        "config_id": pick.config_id,
        "loader_kwargs": _kwargs(said),
        "kept_arguments": list(_kept(said)),
        "samples_per_second": {"estimate": rate.estimate, "low": rate.low, "high": rate.high},
        "host_peak_bytes": pick.host_peak_bytes,
        "gpu_peak_bytes": pick.gpu_peak_bytes,
        "judged_anew": said.anew,
        "measured_again": _measured_again(said),
        "reason": plain(pick.reason),
    }
    return json.dumps(values, indent=1, allow_nan=False)


def as_lightning(said: Suggestion) -> str:
    """Return a ``LightningDataModule`` that loads with these settings."""
    kept = _kept(said)
    taken = ["dataset", *kept]
    code = loader_code(said.pick.config, said.result.probe.kept_arguments).splitlines()
    call = [code[0].replace("DataLoader(", "return DataLoader("), *code[1:]]
    call = [line.replace("    dataset,", "    self.dataset,", 1) for line in call]
    for name in kept:
        call = [line.replace(f" {name}={name},", f" {name}=self.{name},", 1) for line in call]
    return "\n".join(
        [
            *_comments(said),
            "import lightning",
            "from torch.utils.data import DataLoader",
            "",
            "",
            "class Data(lightning.LightningDataModule):",
            f"    def __init__(self, {', '.join(taken)}):",
            "        super().__init__()",
            *(f"        self.{name} = {name}" for name in taken),
            "",
            "    def train_dataloader(self):",
            *(f"        {line}" for line in call),
        ]
    )


def as_transformers(said: Suggestion) -> str:
    """Return ``TrainingArguments`` with these settings, and in a comment those that it does not take."""
    taken = [(_TRAINING_ARGUMENTS[name], value) for name, value in _kwargs(said).items() if name in _TRAINING_ARGUMENTS]
    return "\n".join(
        [
            *_comments(said),
            *(f"# TrainingArguments takes no {lost} where this was measured." for lost in _lost(said)),
            *(["# Trainer takes the collate_fn as its data_collator."] if "collate_fn" in _kept(said) else []),
            "TrainingArguments(",
            "    output_dir=output_dir,",
            *(f"    {name}={value!r}," for name, value in taken),
            ")",
        ]
    )


FORMATS: dict[str, Callable[[Suggestion], str]] = {
    "python": as_python,
    "json": as_json,
    "lightning": as_lightning,
    "transformers": as_transformers,
}
"""What ``loadtune suggest`` writes, by the name of the format."""


def _kept(said: Suggestion) -> Sequence[str]:
    """Return the arguments of the loader that was given, beside its data set, which stay as they are."""
    return kept_in(said.pick.config, said.result.probe.kept_arguments)


def _has_batch_sampler(said: Suggestion) -> bool:
    """Whether the loader that was given has a batch sampler, which forms the batches itself."""
    return "batch_sampler" in _kept(said)


def _kwargs(said: Suggestion) -> dict[str, Any]:
    """Return what the loader takes; a batch sampler that is kept forms the batches itself."""
    kwargs = said.pick.config.loader_kwargs()
    if said.pick.config.batch_size is None or _has_batch_sampler(said):
        kwargs = {name: value for name, value in kwargs.items() if name not in ("batch_size", "drop_last")}
    return kwargs


def _lost(said: Suggestion) -> Sequence[str]:
    """Return the settings that ``TrainingArguments`` does not take, each with what it was."""
    kwargs, config = _kwargs(said), said.pick.config
    kept = [f"{name}: one was given" for name in _kept(said) if name not in ("batch_sampler", "collate_fn")]
    defaults = LoaderConfig(batch_size=config.batch_size, num_workers=config.num_workers).as_dict()
    rest = ((name, value) for name, value in kwargs.items() if name not in _TRAINING_ARGUMENTS)
    lost = [*kept, *(f"{name}: it was {value!r}" for name, value in rest if value != defaults.get(name))]
    if _has_batch_sampler(said):
        return ["batch_sampler: one formed the batches, of its own size,", *lost]
    if config.batch_size is None:
        return ["batch_size of None: the data set formed the batches, of its own size,", *lost]
    return lost


def _comments(said: Suggestion) -> Sequence[str]:
    """Return where the settings come from, as comments: rate, memory, machine."""
    result = said.result
    lines = (
        f"loadtune: {config_words(said.pick.config)}: steady {summary.pick_rate(said.pick)}",
        *(("It was judged anew under these limits from what the run measured.",) if said.anew else ()),
        *_flattered(said),
        *filter(
            None,
            (
                summary.epoch_sentence(result),
                summary.gain_sentence(result),
                summary.start_sentence(result),
                summary.training_sentence(result),
            ),
        ),
        *_warned(said),
        summary.workload_sentence(result),
        *summary.limit_sentences(result),
    )
    return tuple(f"# {plain(line)}" for line in lines)


def _measured_again(said: Suggestion) -> bool:
    row = said.result.trial(said.pick.config_id)
    return row is not None and row.measured_again


def _flattered(said: Suggestion) -> Sequence[str]:
    """Return that the rate is the best of many, where it was not measured again after the choice."""
    if _measured_again(said):
        return ()
    row = said.result.trial(said.pick.config_id)
    again = AGAIN[min(row.fresh_trials, 1)] if row is not None else AGAIN[0]
    remedy = "A sweep with these limits" if said.anew else "A longer --time-budget"
    return (f"It was {again}: its rate may be flattered. {remedy} measures it again.",)


def _warned(said: Suggestion) -> Sequence[str]:
    """Return the codes of what the run warns of, or of what is warned of as it is judged anew."""
    codes = [finding.code for finding in said.result.findings if finding.severity != "info"]
    who = "Judged so, loadtune" if said.anew else "The run"
    return (f"{who} warns of {', '.join(codes)}: loadtune explain {codes[0]}",) if codes else ()
