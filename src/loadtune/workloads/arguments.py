"""Arguments of a target: text as it stands on a command line, made what the callable's annotation says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from loadtune.errors import TargetError

_SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def _switch(text: str) -> bool:
    return _SWITCH[text.strip().lower()]


_KINDS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_switch, "true or false"),
}


def converted(given: Any, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as the callable takes them: text for ``int``, ``float`` or ``bool`` is read as that.

    ``X | None`` counts as ``X``. What is annotated otherwise, or not at all, stays text.

    Args:
        given: The callable.
        name: What it is called.
        arguments: By the name of the parameter.

    Raises:
        TargetError: Text that is no such value.
    """
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(given).parameters
    except (TypeError, ValueError):
        parameters = {}
    return {key: _converted(value, parameters.get(key), name) for key, value in arguments.items()}


def _converted(value: Any, parameter: inspect.Parameter | None, name: str) -> Any:
    if parameter is None or not isinstance(value, str):
        return value
    annotation = parameter.annotation
    words = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    # By its words: an annotation that is text may name what cannot be evaluated here.
    known = _KINDS.get(words.replace(" ", "").removesuffix("|None"))
    if known is None:
        return value
    read, what = known
    try:
        return read(value)
    except (ValueError, KeyError) as error:
        raise TargetError(
            f"'{name}' takes {what} for the argument {parameter.name} ({words}), and '{value}' is none"
        ) from error
