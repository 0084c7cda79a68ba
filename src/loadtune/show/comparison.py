"""Two runs side by side in a terminal: what became faster, slower, or neither as far as can be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtune.judge.comparison import Compared, Comparison
from loadtune.record.results import TrialResult
from loadtune.show import leaders
from loadtune.show.words import config_words, other_words, plain
from loadtune.units import format_bytes, format_estimate, format_share

WIDE = 90
"""Columns from which there is room for the memory."""

NARROW = 72
"""Below this the two rates make room for what became of them."""

_STYLES = {"improved": "green", "regressed": "red"}


def print_comparison(found: Comparison, facts: Iterable[tuple[str, str, str]], console: Console) -> None:
    """Print every comparison in a table, then the sentence on the deciding one.

    Args:
        found: What the two runs have in common.
        facts: Differences to be named beside it: fact, as it was, as it is.
        console: Where to.
    """
    rows = (*found.deciding, *found.others)
    if not rows:
        console.print(Text("The two runs have no measured configuration in common, and one of them has no pick."))
        return
    console.print(_table(rows, console.width))
    for fact, was, here in facts:
        console.print(Text(f"{plain(fact)} was {plain(was)} and is {plain(here)}", style="dim"))
    console.print(Padding(Text(verdict(found)), (1, 0, 0, 0)))
    console.print(Text(reading(found), style="dim"))


def verdict(found: Comparison) -> str:
    """Return the sentences on what decides: a configuration, how its rate changed, and the word for it."""
    return "\n".join(_sentence(one) for one in found.deciding) or "No pick to compare: see the table."


def reading(found: Comparison) -> str:
    """Return what the words in the table mean."""
    share = format_share(found.threshold)
    return (
        "improved, regressed: the 95 % interval of the ratio lies wholly beyond "
        f"±{share}. within noise: surely a change, perhaps a smaller one. no change: the interval holds 1."
    )


def ratio_text(one: Compared) -> str:
    """Return ``0.93 ± 0.04 ×``."""
    return format_estimate(one.ratio.estimate, one.ratio.low, one.ratio.high, unit="×")


def change_text(one: Compared) -> str:
    """Return ``-7.1 %``."""
    return f"{100 * (one.ratio.estimate - 1):+.1f} %"


def _sentence(one: Compared) -> str:
    if one.name == "the picks":
        who = f"The pick was {config_words(one.base.config)} and is {config_words(one.new.config)}"
    else:
        who = f"The pick of the base, {config_words(one.base.config)}"
    said = f"{who}: {one.change}, {change_text(one)} ({ratio_text(one)} the rate, 95 %)."
    if one.change == "no change":
        said += f" A change of less than {format_share(_blind(one), 0)} would not show in these two runs."
    return said


def _blind(one: Compared) -> float:
    """Return the change, as a share, that the interval is too wide to show."""
    return max(one.ratio.high / one.ratio.estimate - 1, 1 - one.ratio.low / one.ratio.estimate)


def _table(rows: Iterable[Compared], width: int) -> Table:
    rows = tuple(rows)
    columns = [column for column in _columns(width) if any(column[1](one) not in ("", "–") for one in rows)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1))
    for name, _ in columns:
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=name != "")
    for one in rows:
        cells = (Text(cell(one)) for _, cell in columns)
        table.add_row(*cells, style=_STYLES.get(one.change, ""))
    return table


_Column = tuple[str, Callable[[Compared], str]]


def _columns(width: int) -> tuple[_Column, ...]:
    wide: tuple[_Column, ...] = (("memory", _memory),) if width >= WIDE else ()
    rates: tuple[_Column, ...] = (
        ("base", lambda one: leaders.trial_rate(one.base)),
        ("new", lambda one: leaders.trial_rate(one.new)),
    )
    return (
        ("batch", lambda one: _both(one, lambda row: "own" if row.batch_size is None else str(row.batch_size))),
        ("workers", lambda one: _both(one, lambda row: str(row.num_workers))),
        *(rates if width >= NARROW else ()),
        ("new / base", ratio_text),
        *wide,
        ("", _marks),
    )


def _both(one: Compared, cell: Callable[[TrialResult], str]) -> str:
    was, here = cell(one.base), cell(one.new)
    return was if was == here else f"{was} → {here}"


def _marks(one: Compared) -> str:
    """Return the word for the change, what the row is, and its settings that are not torch's default."""
    name = {"the pick of the base": "pick", "the picks": "pick → pick"}.get(one.name, "")
    others = _both(one, lambda row: other_words(row.config))
    return ", ".join(filter(None, (one.change, name, others.strip("→ "))))


def _memory(one: Compared) -> str:
    was, here = one.base.host_peak_bytes, one.new.host_peak_bytes
    if was is None or here is None:
        return "–"
    return f"{'+' if here >= was else '−'}{format_bytes(abs(here - was))}"
