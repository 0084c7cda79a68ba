"""loadtune finds the batch size and DataLoader settings to train with, and proves its number.

Importing this package imports neither torch nor pandas: each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadtune.api import Best, Run, load, sweep
    from loadtune.describe.config import LoaderConfig
    from loadtune.describe.workload import Workload
    from loadtune.errors import (
        LoadtuneError,
        NothingFitsError,
        OutputError,
        RunDirectoryError,
        TargetError,
        TooNoisyError,
        TrialHostError,
        UsageError,
    )
    from loadtune.judge.watching import WatchSummary
    from loadtune.record.batch_size import BatchSizeResult
    from loadtune.tuner import find_batch_size
    from loadtune.watcher import watch

__version__ = "0.1.0"

_HOMES = {
    "BatchSizeResult": "loadtune.record.batch_size",
    "Best": "loadtune.api",
    "LoaderConfig": "loadtune.describe.config",
    "LoadtuneError": "loadtune.errors",
    "NothingFitsError": "loadtune.errors",
    "OutputError": "loadtune.errors",
    "Run": "loadtune.api",
    "RunDirectoryError": "loadtune.errors",
    "TargetError": "loadtune.errors",
    "TooNoisyError": "loadtune.errors",
    "TrialHostError": "loadtune.errors",
    "UsageError": "loadtune.errors",
    "WatchSummary": "loadtune.judge.watching",
    "Workload": "loadtune.describe.workload",
    "find_batch_size": "loadtune.tuner",
    "load": "loadtune.api",
    "sweep": "loadtune.api",
    "watch": "loadtune.watcher",
}

__all__ = [
    "BatchSizeResult",
    "Best",
    "LoaderConfig",
    "LoadtuneError",
    "NothingFitsError",
    "OutputError",
    "Run",
    "RunDirectoryError",
    "TargetError",
    "TooNoisyError",
    "TrialHostError",
    "UsageError",
    "WatchSummary",
    "Workload",
    "__version__",
    "find_batch_size",
    "load",
    "sweep",
    "watch",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loadtune' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
