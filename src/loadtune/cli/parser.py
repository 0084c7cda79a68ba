"""One verb at a time: its parser, its help page, its run."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from cyclopts import App, CycloptsError, Parameter

from loadtune.cli.help import verb_page
from loadtune.cli.settings import apply_environment, apply_file, note_given, options_of, refuse_environment
from loadtune.cli.wording import sentence
from loadtune.errors import UsageError


def run_verb(verb: str, tokens: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Raises:
        UsageError: The arguments cannot be used; one sentence says why.
    """
    given: set[str] = set()
    app = verb_app(_module(verb), given)
    try:
        run, bound, left_out = app.parse_args(list(tokens), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(sentence(error, verb)) from error
    if "command" in left_out:
        bound.arguments["command"] = ("loadtune", verb, *tokens)
    if "given" in left_out:
        bound.arguments["given"] = frozenset(given)
    return int(run(*bound.args, **bound.kwargs))


def help_page(verb: str) -> str:
    """Return the help page of a command."""
    module = _module(verb)
    return verb_page(verb_app(module), usage=module.USAGE, text=module.HELP, notes=module.NOTES)


def verb_app(module: ModuleType, given: set[str] | None = None) -> App:
    """Return the parser of the command that ``module`` describes.

    Args:
        module: The command's.
        given: Filled by parsing with the names that the command line itself gives, such as ``batch-size``.
    """
    note = note_given(given if given is not None else set())
    app = App(
        name="loadtune",
        help_flags=[],
        version_flags=[],
        # Settings are a sweep's: LOADTUNE_OUTPUT names run directories, not the file of `loadtune report`.
        config=(note, apply_environment(_names_of_all), apply_file)
        if module.READS_SETTINGS
        else (refuse_environment(_names_of_sweep),),
        default_parameter=Parameter(negative="", show_env_var=False, consume_multiple=False),
        suppress_keyboard_interrupt=False,
    )
    app.default(module.run)
    return app


def whole_app() -> App:
    """Return a parser of all commands together, which is what a completion script is made from."""
    from loadtune.cli.app import VERBS  # noqa: PLC0415 - it imports this module

    app = App(name="loadtune", help_flags=["--help", "-h"], version_flags=["--version"])
    for verb, text in VERBS.items():
        command = App(name=verb, help=text, help_flags=["--help", "-h"], version_flags=[])
        command.default_parameter = Parameter(negative="", show_env_var=False, consume_multiple=False)
        command.default(_module(verb).run)
        app.command(command)
    return app


def _names_of_all() -> set[str]:
    from loadtune.cli.app import VERBS  # noqa: PLC0415 - it imports this module

    return set().union(*map(_names, VERBS))


def _names_of_sweep() -> set[str]:
    return _names("sweep")


def _names(verb: str) -> set[str]:
    return {name for name, _ in options_of(verb_app(_module(verb)).assemble_argument_collection(parse_docstring=False))}


def _module(verb: str) -> ModuleType:
    # Only the module of the verb at hand is imported.
    return importlib.import_module(f"loadtune.cli.{verb.replace('-', '_')}")
