"""From TARGET to what trials load from. Runs in the trial host: it imports torch and the user's code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch.utils.data import DataLoader, Dataset

from loadtune.describe.config import ARTICLE_BATCH_SIZE, LoaderConfig
from loadtune.describe.workload import Workload
from loadtune.errors import TargetError, did_you_mean
from loadtune.units import words_of
from loadtune.workloads.arguments import converted
from loadtune.workloads.names import offer
from loadtune.workloads.source import Source, config_of, source_from_loader, source_from_workload

BUILT_IN = ("cifar10", "images")
_FRAMES_SHOWN = 3
_FEW = 8
"""Items of a list that are looked at for data sets among them: a data set may be a list of millions. In a longer one
what can be indexed and has a length may be a sample, such as a graph."""


def resolve_target(target: str, arguments: dict[str, str]) -> Source:
    """Return what ``target`` loads from.

    Args:
        target: A built-in name, ``package.module:name`` or ``path/to/file.py:name``.
        arguments: Keyword arguments for the callable that it names.

    Raises:
        TargetError: Unknown target or attribute, a factory that raises or needs arguments, a result that is no data
            set, loader, workload or function of a configuration, or an empty data set.
    """
    if ":" not in target:
        return _built_in(target, arguments)
    return resolve_object(find(target), target, arguments)


def find(name: str, *, again: bool = True) -> Any:
    """Return what ``package.module:name`` or ``path/to/file.py:name`` stands for.

    Args:
        name: A place, a colon, an attribute.
        again: Whether a file that was imported before is imported anew.

    Raises:
        TargetError: Nothing to be imported, an import that raises, or no such attribute.
    """
    place, _, attribute = name.rpartition(":")
    module = None if again else _imported_before(place)
    if module is None:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise TargetError(f"'{place}' has no attribute '{attribute}'{did_you_mean(attribute, names)}")
    return getattr(module, attribute)


def _imported_before(place: str) -> ModuleType | None:
    module = sys.modules.get(Path(place).stem)
    file = getattr(module, "__file__", None)
    return module if file is not None and Path(file).resolve() == Path(place).resolve() else None


def resolve_object(given: Any, name: str, arguments: dict[str, str] | None = None) -> Source:
    """Return what an object loads from: a data set, loader, workload, or a callable that gives one.

    Raises:
        TargetError: As ``resolve_target``.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, Workload):
        return source_from_workload(given, name)
    if isinstance(given, DataLoader):
        return source_from_loader(given, name)
    several = _several(given)
    if several:
        raise TargetError(f"'{name}' is {several}: name one of them, or a function that returns one")
    if isinstance(given, Dataset) or _is_map_style(given):
        return source_from_workload(Workload(dataset=given), name)
    if not callable(given):
        raise TargetError(
            f"'{name}' is of type {type(given).__qualname__}: no Dataset, DataLoader, Workload or a function of one"
        )
    required = _required_parameters(given, name, arguments or {})
    values = converted(given, name, arguments or {})
    if len(required) == 1:
        return _from_loader_factory(given, name, values, parameter=required[0])
    return _checked(_call(given, name, values), name)


def _built_in(target: str, arguments: dict[str, str]) -> Source:
    if target not in BUILT_IN and Path(target).is_file():
        raise TargetError(f"'{target}' is a file, and a target is something in it: {offer(target)}")
    if target not in BUILT_IN and Path(target).is_dir():
        raise TargetError(
            f"'{target}' is a folder, and a target is what reads it: a Dataset, DataLoader or Workload in a file of "
            "yours, as in path/to/file.py:name"
        )
    if target not in BUILT_IN:
        raise TargetError(
            f"'{target}' is no target: it must be {' or '.join(BUILT_IN)}, package.module:name or path/to/file.py:name"
            f"{did_you_mean(target, BUILT_IN)}"
        )
    module = importlib.import_module(f"loadtune.workloads.{target}")
    _required_parameters(module.workload, target, arguments)
    return source_from_workload(_call(module.workload, target, arguments), target)


def _import_module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(f"there is no module '{error.name}' to import '{name}' from") from error
        raise _raised(error, f"importing '{name}'") from error
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise _raised(error, f"importing '{name}'") from error


def _import_file(path: Path) -> ModuleType:
    """Import a file under its own name from its own folder, so that spawned workers find it too."""
    if not path.is_file():
        near = [sibling.name for sibling in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise TargetError(f"there is no file '{path}'{did_you_mean(path.name, near)}")
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"'{path}' is no Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise _raised(error, f"importing '{path}'") from error
    return module


def _required_parameters(given: Any, name: str, arguments: dict[str, str]) -> list[str]:
    """Return the parameters that must be given and are not; at most one, the configuration of a loader factory."""
    try:
        parameters = inspect.signature(given).parameters
    except (TypeError, ValueError):
        return []
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key in arguments:
        if key not in parameters and not open_ended:
            raise TargetError(f"'{name}' takes no argument '{key}'{did_you_mean(key, parameters)}")
    required = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in arguments
    ]
    if len(required) > 1 or (required and (inspect.isclass(given) or _is_no_config(parameters[required[0]]))):
        raise TargetError(
            f"'{name}' needs {'the argument' if len(required) == 1 else 'the arguments'} {', '.join(required)}: give "
            f"{'it' if len(required) == 1 else 'them'} with --arg {required[0]}=VALUE, or name a callable without any"
        )
    return required


def _is_no_config(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter is annotated as something other than a ``LoaderConfig``."""
    annotation = parameter.annotation
    words = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return annotation is not parameter.empty and not any(name in words for name in ("LoaderConfig", "Any", "object"))


def _from_loader_factory(factory: Any, name: str, arguments: dict[str, Any], *, parameter: str) -> Source:
    def build(config: LoaderConfig) -> Any:
        return factory(config, **arguments)

    # Whoever forgot an argument is told so: a function with one open parameter is taken for one of a LoaderConfig.
    forgotten = (
        f"its one open parameter, '{parameter}', was given a LoaderConfig; if it is an argument of your own, give it "
        f"with --arg {parameter}=VALUE"
    )
    try:
        first = _call(build, name, {"config": LoaderConfig(batch_size=ARTICLE_BATCH_SIZE)})
    except TargetError as error:
        raise TargetError(f"{error}; {forgotten}", hint=error.hint) from error
    _refuse_several(first, name)
    if not hasattr(first, "__iter__"):
        raise TargetError(
            f"'{name}' is no factory: for a LoaderConfig it returns {type(first).__qualname__}, no loader; {forgotten}"
        )
    if type(first) is DataLoader:
        source = source_from_loader(first, name)
        return Source(
            name=name,
            workload=source.workload,
            build_loader=build,
            baseline=config_of(first),
            kept_arguments=source.kept_arguments,
        )
    return Source(name=name, workload=None, build_loader=build, baseline=LoaderConfig(batch_size=ARTICLE_BATCH_SIZE))


def _checked(result: Any, name: str) -> Source:
    _refuse_several(result, name)
    if isinstance(result, (Workload, DataLoader, Dataset)) or _is_map_style(result):
        return resolve_object(result, name)
    raise TargetError(
        f"'{name}' is no factory: it returns {type(result).__qualname__}, not a Dataset, DataLoader or Workload"
    )


def _refuse_several(result: Any, name: str) -> None:
    several = _several(result)
    if several:
        raise TargetError(f"'{name}' returns {several}: make a function that returns one of them")


def _several(given: Any) -> str | None:
    """Return ``a tuple of 2 data sets`` where that was given: else it would pass for a data set of 2 samples."""
    if not isinstance(given, (tuple, list)):
        return None
    is_short = len(given) <= _FEW
    found = [_is_data_set(one) or (is_short and _is_like_one(one)) for one in itertools.islice(given, _FEW)]
    kind = "tuple" if isinstance(given, tuple) else "list"
    if not any(found):
        return None
    if not all(found):
        return f"a {kind} of {len(given):,} with a data set in it"
    what = "loader" if all(isinstance(one, DataLoader) for one in given) else "data set"
    return f"a {kind} of {len(given):,} {what}{'' if len(given) == 1 else 's'}"


def _is_data_set(item: Any) -> bool:
    return isinstance(item, (Dataset, DataLoader, Workload))


def _is_like_one(item: Any) -> bool:
    """Return whether one of few items is a data set of another library, and no sample.

    Tensors, arrays, pairs, texts and dictionaries can be indexed and have a length too, and are what torch collates.
    """
    is_array = any(hasattr(type(item), name) for name in ("__array__", "__array_interface__", "__dlpack__"))
    return _is_map_style(item) and not is_array and not isinstance(item, (Sequence, Mapping, bytearray, memoryview))


def _is_map_style(given: Any) -> bool:
    """Return whether an instance can be indexed and has a length, as data sets of other libraries."""
    kind = type(given)
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__") and not isinstance(given, (str, bytes, dict))


def _call(given: Any, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return given(**arguments)
    except TargetError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise _raised(error, f"'{name}'") from error


def _raised(error: BaseException, doing: str) -> TargetError:
    """Return one sentence on what the user's code raised, with the last frames of its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "loadtune/workloads/resolve" not in frame.filename.replace("\\", "/")]
    shown = "".join(traceback.format_list([f for f in own if "importlib" not in f.filename][-_FRAMES_SHOWN:]))
    summary = " ".join(words_of(error).split()) or "no message"
    return TargetError(f"{doing} raised {type(error).__name__[:200]}: {summary}", hint=shown.rstrip() or None)
