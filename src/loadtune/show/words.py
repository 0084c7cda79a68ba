"""The words all outputs share: a configuration in plain English, the code to paste, strings made harmless."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from loadtune.describe.config import LoaderConfig
from loadtune.describe.workload import KEPT_ARGUMENTS
from loadtune.judge.reasons import label

CODE_WIDTH = 56
"""Columns that the code to paste may take: it fits a terminal of 60."""

_SEPARATOR = ", "
_TERMINAL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC and its like: titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_LINE_OR_CONTROL = frozenset({"Cc", "Zl", "Zp"})


def plain(text: str) -> str:
    """Return ``text`` on one line, without anything a terminal, a table or a page could take for an instruction.

    Names of data sets, paths and messages of errors come from elsewhere: terminal sequences go, control characters and
    line ends become a space, marks that turn the reading direction go, halves of surrogate pairs are replaced.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    return " ".join("".join(map(_harmless, _TERMINAL_SEQUENCE.sub("", text))).split())


def _harmless(character: str) -> str:
    if character in _REORDERING:
        return ""
    category = unicodedata.category(character)
    if category in _LINE_OR_CONTROL:
        return " "
    return "\N{REPLACEMENT CHARACTER}" if category == "Cs" else character


def config_words(config: LoaderConfig) -> str:
    """Return ``8 workers, batch 256, pinned``: every setting that is not torch's default, as the reasons call it."""
    return label(config)


def short_words(config: LoaderConfig) -> str:
    """Return ``8 workers, batch 256``, other settings left out: a label in a chart."""
    return _SEPARATOR.join(label(config).split(_SEPARATOR)[:2])


def other_words(config: LoaderConfig) -> str:
    """Return the settings beside batch size and workers that are not torch's default; empty when all are."""
    return _SEPARATOR.join(label(config).split(_SEPARATOR)[2:])


def batch_words(config: LoaderConfig) -> str:
    """Return ``batch 256``, or who forms the batches instead."""
    return label(config).split(_SEPARATOR)[1]


def worker_words(num_workers: int) -> str:
    """Return ``1 worker`` or ``8 workers``."""
    return "1 worker" if num_workers == 1 else f"{num_workers} workers"


def kept_in(config: LoaderConfig, kept_arguments: Sequence[str]) -> list[str]:
    """Return which of the arguments that were given a loader with these settings takes, in one order.

    Without workers it refuses a timeout, and trials without workers have none.
    """
    return [name for name in KEPT_ARGUMENTS if name in kept_arguments and (name != "timeout" or config.num_workers)]


def loader_code(config: LoaderConfig, kept_arguments: Sequence[str] = ()) -> str:
    """Return the lines to paste: ``DataLoader(dataset, ...)`` with these settings, at most 56 columns wide.

    Args:
        config: The settings.
        kept_arguments: Arguments of the loader that was given: yours, by their own names.
    """
    kwargs = config.loader_kwargs()
    if "batch_sampler" in kept_arguments:
        # DataLoader takes a batch sampler only where neither of these is given.
        kwargs = {name: value for name, value in kwargs.items() if name not in ("batch_size", "drop_last")}
    arguments = ["dataset", *(f"{name}={name}" for name in kept_in(config, kept_arguments))]
    arguments += [f"{name}={value!r}" for name, value in kwargs.items()]
    return "\n".join(["DataLoader(", *_packed(arguments), ")"])


def _packed(arguments: list[str]) -> list[str]:
    """Return the arguments on as few lines as the width allows."""
    lines: list[str] = []
    for argument in arguments:
        if lines and len(lines[-1]) + len(argument) + 2 <= CODE_WIDTH:
            lines[-1] += f" {argument},"
        else:
            lines.append(f"    {argument},")
    return lines
