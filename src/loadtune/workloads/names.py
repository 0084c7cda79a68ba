"""What a file names that may be a target, told from its text: nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path

MOST = 8
"""Names that are offered."""


def callables_in(path: Path) -> tuple[str, ...]:
    """Return the public functions and classes at the top of a Python file, in their order; none where it is not one."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found = (node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    return tuple(name for name in found if not name.startswith("_"))


def offer(target: str) -> str:
    """Return what to write for a file that is given without a name in it: its own names, as far as it has any."""
    names = callables_in(Path(target))
    if not names:
        return f"write {target}:NAME, where NAME is a data set, a loader, or a function of one"
    more = f" and {len(names) - MOST:,} more" if len(names) > MOST else ""
    return f"write one of {', '.join(f'{target}:{name}' for name in names[:MOST])}{more}"
