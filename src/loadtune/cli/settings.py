"""Options that are not on the command line: environment over configuration file over default."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, Token

from loadtune.cli.surroundings import environment
from loadtune.errors import UsageError, did_you_mean, nearest

Step = Callable[[App, tuple[str, ...], ArgumentCollection], None]
"""What a parser does between reading the command line and checking it."""

PREFIX = "LOADTUNE_"
_SWITCH_WORDS = {True: "on", False: "off"}
_NOT_IN_A_FILE = ("config", "no-config", "resume")


def note_given(given: set[str]) -> Step:
    """Return a step of parsing that notes which arguments the command line gives, before the others fill the rest."""

    def note(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        given.update(name for name, argument in options_of(arguments) if argument.tokens)

    return note


def apply_environment(of_any_verb: Callable[[], Collection[str]]) -> Step:
    """Return a step that gives each option which the command line leaves out the value of its ``LOADTUNE_`` variable.

    A variable that is set and belongs to no option of any command is a UsageError.

    Args:
        of_any_verb: Gives the names of the options of all commands; asked only where a variable is none of this one's.
    """

    def apply(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        options = {_variable(name): (name, argument) for name, argument in options_of(arguments)}
        for variable, text in environment().items():
            if not variable.startswith(PREFIX) or not text:
                continue
            if variable in options:
                name, argument = options[variable]
                texts = text.split(",") if name == "arg" else [text]
                if not argument.tokens:
                    _give(argument, texts, source=variable)
            elif variable not in map(_variable, of_any_verb()):
                raise UsageError(f"'{variable}' in the environment is no option{_did_you_mean(variable, options)}")

    return apply


def refuse_environment(of_sweeps: Callable[[], Collection[str]]) -> Step:
    """Return a step that refuses a ``LOADTUNE_`` variable which can be meant for this command alone.

    Nothing reads it, and a limit that is not kept to has to be noticed. What is an option of a sweep too is for sweeps.

    Args:
        of_sweeps: Gives the names of the options of a sweep; asked only where a variable is set.
    """

    def refuse(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        for name, argument in options_of(arguments):
            variable = _variable(name)
            if environment().get(variable) and not argument.tokens and name not in of_sweeps():
                raise UsageError(
                    f"'{variable}' in the environment is not read, as only a sweep takes settings from there: give "
                    f"--{name} on the command line"
                )

    return refuse


def apply_file(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give each option that is still open the value of its key in ``[tool.loadtune]``.

    Raises:
        UsageError: A file that cannot be read or is both named and forbidden, an unknown key, or a value of the wrong
            kind.
    """
    options = dict(options_of(arguments))
    if _no_file(options["config"], options["no-config"]):
        return
    given = _text(options["config"])
    path = Path(given) if given is not None else nearest_pyproject(Path.cwd())
    if path is None:
        return
    allowed = [name for name in options if name not in _NOT_IN_A_FILE]
    for key, value in read_table(path).items():
        name = key.replace("_", "-")
        if name not in allowed:
            raise UsageError(f"'{key}' in [tool.loadtune] of {path} is no option{did_you_mean(name, allowed)}")
        texts = _as_texts(value, flag=options[name].hint is bool, where=f"'{key}' in [tool.loadtune] of {path}")
        if not options[name].tokens:
            _give(options[name], texts, source=str(path))


def nearest_pyproject(folder: Path) -> Path | None:
    """Return the ``pyproject.toml`` of ``folder`` or of the nearest folder above that has one."""
    candidates = (place / "pyproject.toml" for place in (folder, *folder.parents))
    return next((path for path in candidates if path.is_file()), None)


def read_table(path: Path) -> Mapping[str, Any]:
    """Return ``[tool.loadtune]`` of a TOML file, empty when the file has none.

    Raises:
        UsageError: No such file, not TOML, or no table.
    """
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"configuration file {path} is not TOML: {error}") from error
    tool = document.get("tool", {})
    table = tool.get("loadtune", {}) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise UsageError(f"[tool.loadtune] of {path} is not a table")
    return table


def options_of(arguments: ArgumentCollection) -> Iterator[tuple[str, Argument]]:
    """Return the options of a command, each with its name, such as ``batch-size``."""
    for argument in arguments:
        if argument.name != "*":
            yield argument.name.lstrip("-").lower(), argument


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace("-", "_")


def _did_you_mean(variable: str, known: Collection[str]) -> str:
    # Without the prefix: any two variables are alike in it.
    match = nearest(variable.removeprefix(PREFIX), (one.removeprefix(PREFIX) for one in known))
    return f"; did you mean '{PREFIX}{match}'?" if match else ""


def _give(argument: Argument, texts: list[str], *, source: str) -> None:
    for index, text in enumerate(texts):
        argument.append(Token(keyword=argument.name, value=text, source=source, index=index))


def _text(argument: Argument) -> str | None:
    return argument.tokens[-1].value if argument.tokens else None


def _no_file(named: Argument, forbidden: Argument) -> bool:
    """Whether no file is to be read; where one is named and forbidden, the command line wins over the environment."""
    if not (_is_on(forbidden) and named.tokens):
        return _is_on(forbidden)
    if _on_command_line(named) == _on_command_line(forbidden):
        raise UsageError("--config and --no-config contradict each other: give one of them")
    return _on_command_line(forbidden)


def _on_command_line(argument: Argument) -> bool:
    return argument.tokens[-1].source == "cli"


def _is_on(argument: Argument) -> bool:
    # A flag on the command line has no text of its own; one from the environment has.
    return bool(argument.tokens) and (_text(argument) or "true").lower() not in ("0", "false", "no", "off")


def _as_texts(value: Any, *, flag: bool, where: str) -> list[str]:
    """Return a value of the file as it would stand on the command line."""
    if isinstance(value, bool):
        return [str(value).lower() if flag else _SWITCH_WORDS[value]]
    if isinstance(value, (str, int, float)):
        return [str(value)]
    if isinstance(value, list) and all(isinstance(item, (str, int)) for item in value):
        words = [_SWITCH_WORDS[item] if isinstance(item, bool) else str(item) for item in value]
        return ["both"] if set(words) == {"on", "off"} else [",".join(words)]
    if isinstance(value, dict) and where.startswith("'arg'"):
        return [f"{key}={item}" for key, item in value.items()]
    raise UsageError(f"{where} is not text, a number, true, false or a list of them")
