"""``loadtune completion``: what teaches a shell to complete commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

from loadtune.cli.options import option
from loadtune.cli.streams import stdout

USAGE = "completion bash|zsh|fish"
HELP = "Prints a script for the shell that completes loadtune's commands, options and the values that are a fixed set."
NOTES = (
    'bash: eval "$(loadtune completion bash)" in ~/.bashrc. zsh: loadtune completion zsh > _loadtune in a folder of '
    "$fpath. fish: loadtune completion fish > ~/.config/fish/completions/loadtune.fish."
)
READS_SETTINGS = False


def run(
    shell: Annotated[Literal["bash", "zsh", "fish"], option("", "The shell: bash, zsh or fish.", "SHELL")],
    /,
) -> int:
    """Print the script for ``shell``."""
    from loadtune.cli.parser import whole_app  # noqa: PLC0415 - not needed for the help page

    stdout().write(whole_app().generate_completion(shell=shell) + "\n")
    return 0
