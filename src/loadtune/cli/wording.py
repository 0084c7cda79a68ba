"""What the parser says, as one plain sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args, get_origin

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from loadtune.errors import did_you_mean


def sentence(error: CycloptsError, verb: str) -> str:
    """Return one sentence that names what is wrong and, where there is one, the nearest right one."""
    if isinstance(error, UnknownOptionError):
        name = (error.token.keyword or error.token.value).split("=", 1)[0]
        suggestion = did_you_mean(name, _names(error.argument_collection))
        return f"unknown option '{name}'{suggestion or f': loadtune {verb} --help lists the options'}"
    if isinstance(error, UnusedCliTokensError):
        return f"'{(error.unused_tokens or ['?'])[0]}' is one argument too many"
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given twice"
    if isinstance(error, MissingArgumentError):
        return _missing(error)
    if isinstance(error, CoercionError):
        return _coercion(error)
    return " ".join(str(error).split())


def _names(arguments: Iterable[object]) -> list[str]:
    names = [name for argument in arguments for name in getattr(argument, "names", ())]
    return [name for name in names if name.startswith("-")]


def _missing(error: MissingArgumentError) -> str:
    argument = error.argument
    if argument is None:
        return " ".join(str(error).split())
    if argument.index is not None:
        return f"{argument.name.lstrip('-').upper()} is missing"
    return f"{argument.name} needs a value" if error.keyword or argument.tokens else f"{argument.name} is missing"


def _coercion(error: CoercionError) -> str:
    value = error.token.value if error.token else "?"
    name = (error.token.keyword if error.token else None) or (error.argument.name if error.argument else "the value")
    origin = error.token.source if error.token and error.token.source not in ("", "cli") else ""
    origin = f" (from {origin})" if origin else ""
    hint = error.target_type
    if get_origin(hint) is Literal:
        allowed = [str(choice) for choice in get_args(hint)]
        return f"{name} '{value}'{origin} must be one of {', '.join(allowed)}{did_you_mean(value, allowed)}"
    if hint is bool:
        return f"{name}{origin} is a switch: it takes no value '{value}'"
    return f"{name} '{value}'{origin} cannot be used"
