"""The error tree and the public names."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import loadtune
from loadtune import errors

_LINE = re.compile(r"^([│ ├└─]*)(\w+Error) +(\d+)  \S")


def drawn_tree() -> dict[str, tuple[str | None, int]]:
    """Return each class of the drawing with its parent and its exit code."""
    tree: dict[str, tuple[str | None, int]] = {}
    ancestors: list[str] = []
    for match in filter(None, map(_LINE.match, (errors.__doc__ or "").splitlines())):
        depth = len(match[1]) // 4
        del ancestors[depth:]
        tree[match[2]] = (ancestors[-1] if ancestors else None, int(match[3]))
        ancestors.append(match[2])
    return tree


def test_the_tree_is_as_drawn() -> None:
    """The drawing at the top of errors.py has exactly the classes, their parents and their exit codes."""
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LoadtuneError)
    }
    real = {
        name: (None if name == "LoadtuneError" else value.__bases__[0].__name__, value.exit_code)
        for name, value in classes.items()
    }
    assert drawn_tree() == real


def test_every_error_carries_its_sentence_and_hint() -> None:
    """The message is the sentence; the hint is beside it and may be absent."""
    error = errors.OutputError("'x' is there already", hint="use --force")
    assert str(error) == "'x' is there already"
    assert error.hint == "use --force"
    assert errors.LoadtuneError("x").hint is None


@pytest.mark.parametrize(("name", "match"), [("batchsize", "batch-size"), ("cifar", "cifar10"), ("zebra", None)])
def test_the_nearest_name_is_offered(name: str, match: str | None) -> None:
    """A misspelt name gets the nearest right one, and a foreign one gets none."""
    assert errors.nearest(name, ["batch-size", "cifar10", "images"]) == match


def test_the_offer_is_half_a_sentence() -> None:
    """The offer can be put behind any sentence, and is empty when nothing is near."""
    assert errors.did_you_mean("swep", ["sweep"]) == "; did you mean 'sweep'?"
    assert errors.did_you_mean("--trian", ["--rain", "--train"]) == "; did you mean '--train'?"
    for far, allowed in (("--foo", "--color"), ("LT999", "LT019"), ("m", "n")):
        assert errors.did_you_mean(far, [allowed]) == ""
    assert errors.did_you_mean("zebra", ["sweep"]) == ""


def test_the_public_names_are_exact() -> None:
    """``loadtune.__all__`` is what is promised, sorted, and each name can be looked up in ``dir``."""
    assert loadtune.__all__ == [
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
    assert dir(loadtune) == sorted(loadtune.__all__)


def test_every_public_name_is_there() -> None:
    """Each public name can be imported."""
    for name in loadtune.__all__:
        assert getattr(loadtune, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """A misspelt public name behaves as in any module."""
    with pytest.raises(AttributeError, match="watchh"):
        _ = loadtune.watchh


def test_importing_loadtune_imports_nothing_heavy() -> None:
    """``import loadtune`` loads neither torch, pandas nor numpy."""
    program = "import sys, loadtune; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_watched_loop_tells_is_read_without_torch() -> None:
    """``loadtune.WatchSummary``, as a type to annotate with, loads neither torch nor pandas."""
    program = "import sys, loadtune; loadtune.WatchSummary; print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
