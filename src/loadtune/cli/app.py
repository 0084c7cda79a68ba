"""The command: its verbs, and the one place where an error becomes an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence

import loadtune
from loadtune.cli import help as pages
from loadtune.cli import interrupts, streams
from loadtune.cli.surroundings import environment
from loadtune.errors import LoadtuneError, OutputError, UsageError, did_you_mean

HELP = "Finds the batch size and DataLoader settings to train with, on this machine, and proves its number."
VERBS = {
    "sweep": "Measure real loaders and pick a configuration.",
    "batch-size": "The largest and the best batch for a training step, within the memory limits.",
    "model": "The document's models N/B, K·B·T and K·B·M for given figures, checked.",
    "show": "Print the result of a run again.",
    "report": "Write the report of a run again.",
    "suggest": "Print the choice of a run as code to paste, under its own limits of memory or others.",
    "compare": "Compare two runs of one data set on one machine; --fail-above makes a slower one an error.",
    "doctor": "Show the machine as a sweep sees it, and what to do where a limit is small.",
    "explain": "Explain a finding (LT003) or a kind of failure (shm_full).",
    "completion": "Print the lines that teach a shell to complete loadtune's commands and options.",
}
INTERRUPTED = 130
FAULT = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1, 2, 3, 4, 5 or 130.

    Args:
        argv: The arguments behind the command's name; None takes the process's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.open_closed()
    with interrupts.heard():
        code = _guarded(arguments)
    return _flushed(code)


def _guarded(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except LoadtuneError as error:
        _say(f"loadtune: {error}", error.hint)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        kept, *how_to_go_on = map(str, interrupt.args or ("nothing was measured",))
        _say(f"loadtune: interrupted; {kept}", "\n  ".join(how_to_go_on) or None)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence turns a fault into a message
        return _fault(error, verbose=_is_verbose(arguments))


def _is_verbose(arguments: list[str]) -> bool:
    return bool({"-v", "--verbose"} & set(arguments))


def _dispatch(arguments: list[str]) -> int:
    words = [word for word in arguments if word not in ("-h", "--help")]
    asked_for_help = len(words) < len(arguments)
    if words[:1] == ["--version"]:
        return _print(loadtune.__version__)
    if not words:
        return _print(pages.main_page(HELP, VERBS.items()))
    verb, *rest = words
    if verb not in VERBS:
        raise UsageError(_unknown(verb))
    # Neither the page above nor --version needs a parser, and importing one costs more than both.
    parser = importlib.import_module("loadtune.cli.parser")
    return _print(parser.help_page(verb)) if asked_for_help else int(parser.run_verb(verb, rest))


def _unknown(word: str) -> str:
    if word.startswith("-"):
        return f"unknown option '{word}': loadtune --help lists the commands"
    return f"unknown command '{word}'{did_you_mean(word, VERBS) or ': it must be one of ' + ', '.join(VERBS)}"


def _print(text: str) -> int:
    streams.stdout().write(text + "\n")
    return 0


def _say(message: str, hint: str | None = None) -> None:
    lines = [_one_line(message), *(f"  {hint}".split("\n") if hint else ())]
    try:
        sys.stderr.write("".join(f"{_one_line(line)}\n" for line in lines))
    except OSError:  # nobody reads, or the terminal is gone
        return


def _one_line(text: str) -> str:
    """Return ``text`` on one line: what the user gave may hold line ends and terminal sequences."""
    if text.isprintable():
        return text
    return str(importlib.import_module("loadtune.show.words").plain(text))


def _fault(error: Exception, *, verbose: bool) -> int:
    if verbose or environment().get("LOADTUNE_VERBOSE"):
        traceback.print_exception(error)
    hint = None if verbose else "run it again with -v for the traceback, and report it"
    _say(f"loadtune: a fault of loadtune itself: {type(error).__name__}: {error}", hint)
    return FAULT


def _flushed(code: int) -> int:
    try:
        streams.stdout().flush()
    except OutputError as error:  # a full disk
        _say(f"loadtune: {error}")
        return code or error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
