"""Two runs side by side in a terminal: what became faster, slower, or neither as far as can be told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtune.judge.comparison import Compared, Comparison, rate_of
from loadtune.record.results import TrialResult
from loadtune.show.trimmed import Trimmed
from loadtune.show.words import config_words, other_words, plain
from loadtune.units import WIDE_INTERVAL, format_bytes, format_estimate, format_share

_GAP = 2
"""Columns between two cells of the table."""
_REMARKS = 24
"""Columns that the remarks, which may wrap, are given at most before the table is too wide."""

_Column = tuple[str, Callable[[Compared], str]]

_RATES = {"over an epoch": "the rate over an epoch", "steady": "the steady rate"}
_STYLES = {"improved": "green", "regressed": "red"}


def print_comparison(found: Comparison, facts: Iterable[tuple[str, str, str]], console: Console) -> None:
    """Print every comparison, as a table where it fits the console, then the sentence on the deciding one.

    Args:
        found: What the two runs have in common.
        facts: Differences to be named beside it: fact, as it was, as it is.
        console: Where to.
    """
    rows = (*found.deciding, *found.others)
    if not rows:
        console.print(Text("The two runs have no measured configuration in common, and one of them has no pick."))
        return
    console.print(Trimmed(_rows(rows, console.width)))
    for fact, was, here in facts:
        console.print(Text(f"{plain(fact)} was {plain(was)} and is {plain(here)}", style="dim"))
    console.print(Trimmed(Padding(Text(verdict(found)), (1, 0))))
    console.print(Trimmed(Text(reading(found), style="dim")))


def verdict(found: Comparison) -> str:
    """Return the sentences on what decides: a configuration, how its rate changed, and the word for it."""
    return "\n".join(_sentence(one) for one in found.deciding) or "No pick to compare: see the table."


def reading(found: Comparison) -> str:
    """Return what the words for a change mean, a line each."""
    share = format_share(found.threshold)
    return (
        f"improved, regressed: by more than {share}; the whole 95 % interval of new / base is beyond that.\n"
        f"within noise: the interval leaves out 1, but it reaches into ±{share}, by which two runs may differ without "
        "a cause.\n"
        "no change: none shows, as the interval holds 1; one that is smaller than the interval may be there.\n"
        "Rates are those that a choice goes by: over an epoch, start-up and tail included, or steady where one of the "
        "runs knows no epoch."
    )


def ratio_text(one: Compared) -> str:
    """Return ``0.93 ± 0.04 ×``."""
    if not math.isfinite(one.ratio.high):
        return "not known"
    return format_estimate(one.ratio.estimate, one.ratio.low, one.ratio.high, unit="×")


def rate_words(one: Compared) -> str:
    """Return ``the rate over an epoch`` or ``the steady rate``: which one is compared."""
    return _RATES[one.rate]


def rate_text(row: TrialResult, one: Compared) -> str:
    """Return ``3,032 ± 33``: the rate that is compared, its interval as wide as the steady one's, relative to it."""
    rate, low, high = rate_of(row, one.rate), row.samples_per_second_low, row.samples_per_second_high
    over_steady = rate / rate_of(row, "steady")
    low, high = (None if end is None else end * over_steady for end in (low, high))
    return format_estimate(rate, low, high, unit="")


def change_text(one: Compared) -> str:
    """Return ``-7.1 %``."""
    return f"{100 * (one.ratio.estimate - 1):+.1f} %"


def _sentence(one: Compared) -> str:
    if one.name == "the picks":
        who = f"The pick was {config_words(one.base.config)} and is {config_words(one.new.config)}"
    else:
        who = f"The pick of the base, {config_words(one.base.config)}"
    if _is_untold(one):
        return f"{who}: {one.change} that can be told: {_range(one)} fits these two runs. Measure for longer."
    said = f"{who}: {one.change}, {change_text(one)} ({ratio_text(one)} {rate_words(one)}, 95 %)."
    if one.change == "no change":
        said += f" A change of less than {format_share(_blind(one), 0)} would not show in these two runs."
    return said


def _is_untold(one: Compared) -> bool:
    """Whether the interval holds 1 because it is too wide to say anything."""
    return one.change == "no change" and _blind(one) > WIDE_INTERVAL


def _range(one: Compared) -> str:
    if not math.isfinite(one.ratio.high):
        return f"any change of {rate_words(one)}"
    return f"anything from {one.ratio.low:.2g} to {one.ratio.high:.2g} times {rate_words(one)}"


def _blind(one: Compared) -> float:
    """Return the change, as a share, that the interval is too wide to show."""
    return max(one.ratio.high / one.ratio.estimate - 1, 1 - one.ratio.low / one.ratio.estimate)


def _rows(rows: Sequence[Compared], width: int) -> RenderableType:
    """Return a table where all of it fits, else each row below the other: nothing is left out or cut."""
    columns = [column for column in _COLUMNS if any(column[1](one) not in ("", "–") for one in rows)]
    widths = [max(len(name), *(len(cell(one)) for one in rows)) for name, cell in columns]
    needed = sum(widths) + _GAP * (len(widths) - 1)
    if columns[-1] is _COLUMNS[-1]:
        needed -= max(widths[-1] - _REMARKS, 0)
    return _table(rows, columns) if needed <= width else _stacked(rows)


def _table(rows: Sequence[Compared], columns: Sequence[_Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, padding=(0, _GAP, 0, 0))
    for name, _ in columns:
        table.add_column(name, justify="left" if name in ("change", "") else "right", no_wrap=name != "")
    for one in rows:
        table.add_row(*(Text(cell(one)) for _, cell in columns), style=_STYLES.get(one.change, ""))
    return table


def _stacked(rows: Sequence[Compared]) -> Table:
    """Return the word for each change, and beside it all that the table has, on as many lines as that takes."""
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for one in rows:
        text = Text("\n".join(filter(None, (_who(one), _figures(one)))))
        table.add_row(Text(one.change), text, style=_STYLES.get(one.change, ""))
    return table


def _who(one: Compared) -> str:
    return ", ".join(filter(None, (_both(one, lambda row: config_words(row.config)), *_notes(one))))


def _figures(one: Compared) -> str:
    memory = f", memory {_memory(one)}" if _memory(one) != "–" else ""
    return f"{ratio_text(one)}: {rate_text(one.base, one)} → {rate_text(one.new, one)} samples/s {one.rate}{memory}"


def _both(one: Compared, cell: Callable[[TrialResult], str]) -> str:
    was, here = cell(one.base), cell(one.new)
    return was if was == here else f"{was} → {here}"


def _remarks(one: Compared) -> str:
    """Return what the row is, and its settings that are not torch's default."""
    others = _both(one, lambda row: other_words(row.config)).strip("→ ")
    return ", ".join(filter(None, (*_notes(one), others)))


def _notes(one: Compared) -> tuple[str, ...]:
    name = {"the pick of the base": "pick", "the picks": "pick → pick"}.get(one.name, "")
    return name, "cannot be told" if _is_untold(one) else ""


def _memory(one: Compared) -> str:
    was, here = one.base.host_peak_bytes, one.new.host_peak_bytes
    if was is None or here is None:
        return "–"
    sign = "+" if here > was else "−" if here < was else "±"
    return f"{sign}{format_bytes(abs(here - was))}"


_COLUMNS: tuple[_Column, ...] = (
    ("batch", lambda one: _both(one, lambda row: "own" if row.batch_size is None else str(row.batch_size))),
    ("workers", lambda one: _both(one, lambda row: str(row.num_workers))),
    ("rate", lambda one: one.rate.removeprefix("over an ")),
    ("base", lambda one: rate_text(one.base, one)),
    ("new", lambda one: rate_text(one.new, one)),
    ("new / base", ratio_text),
    ("memory", _memory),
    ("change", lambda one: one.change),
    ("", _remarks),
)
