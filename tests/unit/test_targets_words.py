"""What somebody is told who forgot an argument of a target, or to say that a run may be replaced."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from loadtune.api import sweep
from loadtune.errors import OutputError, TargetError, UsageError
from loadtune.record.store import RUN_FILE
from loadtune.units import parse_step_time
from loadtune.workloads.arguments import converted
from loadtune.workloads.resolve import resolve_object, resolve_target


def of_a_path(root: str) -> list[int]:
    return [len(root)]


def of_anything(root: Any) -> Any:
    return open(root)  # noqa: PTH123 - what a forgetful user's function does with a path


def no_loader(config: Any) -> int:
    return config.batch_size or 0


def test_a_forgotten_argument_is_asked_for() -> None:
    """A parameter that is annotated as no LoaderConfig is asked for with --arg, and the function is not called."""
    with pytest.raises(TargetError, match=r"needs the argument root: give it with --arg root=VALUE"):
        resolve_object(of_a_path, "data.py:make")


def test_a_function_that_was_given_a_configuration_says_so() -> None:
    """Where nothing tells whether an argument was forgotten, the error says with what the function was called."""
    for given in (of_anything, no_loader):
        with pytest.raises(
            TargetError, match=r"was given a LoaderConfig; if it is an argument of your own, give it with"
        ):
            resolve_object(given, "data.py:make")


class Rows:
    """A data set of no library."""

    def __getitem__(self, place: int) -> int:
        return place

    def __len__(self) -> int:
        return 3


def splits() -> tuple[Any, Any]:
    return TensorDataset(torch.zeros(3)), TensorDataset(torch.zeros(2))


def loaders(config: Any) -> list[Any]:
    return [DataLoader(Rows(), batch_size=config.batch_size) for _ in range(3)]


def with_classes() -> tuple[Any, Any]:
    return Rows(), 10


def test_several_data_sets_are_no_data_set_of_as_many_samples() -> None:
    """A tuple or list of data sets or loaders is refused in words that say so, by whichever way it is given."""
    ours: tuple[tuple[Any, str], ...] = (
        (splits, "'t.py:make' returns a tuple of 2 data sets: make a function that returns one of them"),
        (loaders, "'t.py:make' returns a list of 3 loaders: make a function"),
        (lambda: [Rows()], "'t.py:make' returns a list of 1 data set: make a function"),
        (with_classes, "'t.py:make' returns a tuple of 2 with a data set in it: make a function"),
        (splits(), "'t.py:make' is a tuple of 2 data sets: name one of them"),
        ([TensorDataset(torch.zeros(3))] * 12, "'t.py:make' is a list of 12 data sets: name one of them"),
    )
    for given, words in ours:
        with pytest.raises(TargetError, match=f"^{re.escape(words)}"):
            resolve_object(given, "t.py:make")


def test_a_list_of_samples_stays_a_data_set() -> None:
    """Tensors, arrays, pairs, texts and dictionaries are samples although they can be indexed and have a length."""
    samples = (torch.zeros(3), np.zeros(3), (torch.zeros(3), 1), [1, 2], "text", {"x": 1}, b"raw", 7)
    for sample in samples:
        for given in ([sample, sample], (sample, sample)):
            source = resolve_object(lambda given=given: given, "t.py:make")
            assert source.workload is not None
            assert source.workload.dataset is given
    graphs = [Rows()] * 100
    assert resolve_object(graphs, "t.py:graphs").workload is not None


def of_values(root: str, n: int = 1, *, share: float | None = None, shuffled: bool = False, more=None) -> list[Any]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return [root, n, share, shuffled, more]


def test_arguments_are_what_the_annotation_says() -> None:
    """Text for int, float and bool is read as that, and stays text elsewhere; what cannot be read is named."""
    given = {"root": "7", "n": "12", "share": "0.5", "shuffled": "true", "more": "3"}
    assert converted(of_values, "data.py:make", given) == {
        "root": "7",
        "n": 12,
        "share": 0.5,
        "shuffled": True,
        "more": "3",
    }
    assert converted(of_values, "data.py:make", {"shuffled": "Off"}) == {"shuffled": False}
    for key, text, what in (
        ("n", "abc", "a whole number"),
        ("share", "half", "a number"),
        ("shuffled", "2", "true or"),
    ):
        with pytest.raises(TargetError, match=f"takes {what}.* for the argument {key} .*, and '{text}' is none"):
            resolve_object(of_values, "data.py:make", {"root": "x", key: text})


def test_a_file_alone_is_told_what_is_in_it(tmp_path: Path) -> None:
    """A file without a name offers its functions and classes, and is not imported for that."""
    file = tmp_path / "my.py"
    file.write_text("raise SystemExit\nclass Data: ...\ndef train(): ...\ndef _own(): ...\n", encoding="utf-8")
    with pytest.raises(TargetError, match=f"is a file, .*: write one of {file}:Data, {file}:train$"):
        resolve_target(str(file), {})
    file.write_text("not Python", encoding="utf-8")
    with pytest.raises(TargetError, match=f"write {file}:NAME"):
        resolve_target(str(file), {})


def test_a_folder_is_no_target_and_what_reads_it_is(tmp_path: Path) -> None:
    """Who names the folder of the data is told that a target is a Dataset in a file."""
    with pytest.raises(TargetError, match="is a folder, and a target is what reads it: a Dataset"):
        resolve_target(str(tmp_path), {})


def test_from_python_the_word_is_force_true(tmp_path: Path) -> None:
    """A run that is there already is replaced with force=True, and the API does not name an option."""
    (tmp_path / RUN_FILE).write_text("{}")
    with pytest.raises(OutputError, match=r"holds a run already: use force=True to replace it"):
        sweep("cifar10", output=tmp_path)


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("2s", 2.0), ("0", 0.0), (0.02, 0.02), (3, 3.0)])
def test_step_times_have_a_unit_or_are_numbers(text: str | float, seconds: float) -> None:
    """Text says its unit; a number from Python is in seconds, as documented."""
    assert parse_step_time(text) == pytest.approx(seconds)


def test_a_step_time_without_a_unit_is_refused() -> None:
    """A bare 20 might be seconds or milliseconds: it is refused with both ways to write it."""
    with pytest.raises(UsageError, match=r"'20' has no unit: write 20ms or 20s"):
        parse_step_time("20")


def test_a_file_does_not_hide_a_built_in_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is called as a built-in target is leaves the name to the target: its argument is what is refused."""
    (tmp_path / "cifar10").write_text("notes")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError, match="nope"):
        resolve_target("cifar10", {"nope": "1"})
