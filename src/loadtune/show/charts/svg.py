"""From an Altair chart to SVG that stands in a page: colours from the page's style, names that do not clash."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

# The page gives these their values, one set for light and one for dark; elsewhere the fallback stands.
ACCENT = "var(--accent, #2a6fb8)"
WARNING = "var(--warning, #a4500f)"
PAGE = "var(--page, #fff)"
INK = "currentColor"
HATCH = "url(#hatch)"

WIDEST = 1.25
"""How much wider a page's letters may be than those that a chart is laid out with: the reader's font is not known.

Charts are laid out with letters this much larger than they are drawn: nothing is cut or runs into its neighbour then.
"""

SMALL = 420
"""Up to this width a chart may shrink with the page and its text can still be read; a wider one scrolls."""

_HATCHING = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path d="M0,0V6" stroke="currentColor" stroke-opacity="0.28" stroke-width="2"/></pattern></defs>'
)
_ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"0 0 (\d+) (\d+)\"[^>]*>")
_BACKGROUND = re.compile(r'<rect width="\d+" height="\d+" fill="(?:white|transparent)"\s*/>')
_NAME = re.compile(r'(\bid="|url\(#|href="#)([A-Za-z][\w-]*)')
_ROLE_TWICE = re.compile(r' aria-roledescription="[\w ]*"')
_EMPTY_FRAME = re.compile(r'<path class="(?:background|foreground)" aria-hidden="true" d="[^"]*"(?: [a-z-]+="none")*/>')
_FALLBACK = re.compile(r"(var\(--\w+), #[0-9a-f]+\)")
_COORDINATES = re.compile(r' (?:d|transform|[xy][12]?|opacity|[a-z]+-opacity)="[^"]*"')
_MARKS = re.compile(r'(<g class="mark-[^>]*>)((?:<(?:path|line|rect)[^>]*/>|<text[^>]*>[^<]*</text>)+)</g>')
_LETTERS = re.compile(r'font-size="([\d.]+)px"')
_MARK = re.compile(r"<(?:path|line|rect|text)\b")
_INHERITED = ("fill", "stroke", "stroke-width", "stroke-opacity", "font-family", "font-size", "text-anchor")
_LONG = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")


def axis_bytes(largest: float) -> tuple[float, str]:
    """Return what to divide bytes by for an axis that goes to ``largest``, and the unit's name."""
    return (2**30, "GiB") if largest >= 2 * 2**30 else (2**20, "MiB")


def rows_of(rows: list[dict[str, Any]]) -> Any:
    """Return the rows as data that stands in the chart itself."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    class SharedRows(alt.InlineData):
        """Copies of a chart share them: Altair makes one with each thing that is added, and rows are never changed."""

        def __deepcopy__(self, memo: Any) -> SharedRows:
            return self

    return SharedRows(values=rows)


def chart_of(rows: list[dict[str, Any]]) -> Any:
    """Return an empty chart of these rows, to be given marks and encodings."""
    import altair as alt  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    return alt.Chart(rows_of(rows))


def letters(pixels: float) -> float:
    """Return the font size to lay a chart out with for letters that the page shows in ``pixels``."""
    return WIDEST * pixels


def halo(text: Any) -> list[Any]:
    """Return the layers of a text that stays readable over lines and points: a rim in the page's colour beneath it."""
    rim = text.copy()
    rim.mark = text.mark.copy()
    rim.mark.fill, rim.mark.stroke, rim.mark.strokeWidth = PAGE, PAGE, 4
    return [rim, text]


def to_svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart, title: str, *, hatched: bool = False) -> str:
    """Return the chart as an SVG element for a page, with a name for screen readers.

    Args:
        chart: What is drawn, from data that is in it.
        title: Its name; also what its ids begin with, so that no two charts of a page share one.
        hatched: Whether it uses the pattern ``HATCH``.
    """
    import vl_convert  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small

    specification = chart.configure(**_configuration()).to_dict(validate=False)
    drawn = str(vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]))
    return _for_a_page(drawn, title, hatched=hatched)


def _for_a_page(drawn: str, title: str, *, hatched: bool) -> str:
    found = _ROOT.search(drawn)
    if found is None:
        raise AssertionError("the drawing has no viewBox")
    width, height = found[1], found[2]
    small = " small" if int(width) <= SMALL else ""
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart{small}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="graphics-document" aria-roledescription="chart" '
        f'aria-label="{html.escape(title)}">'
    )
    body = _BACKGROUND.sub("", drawn[found.end() :], count=1)
    prefix = re.sub(r"\W+", "-", title.lower())
    body = _LETTERS.sub(lambda size: f'font-size="{round(float(size[1]) / WIDEST, 2):g}px"', body)
    inside = (_HATCHING if hatched else "") + body
    return root + _NAME.sub(lambda name: f"{name[1]}{prefix}-{name[2]}", _slimmed(inside))


def _slimmed(drawn: str) -> str:
    """Return the drawing without what nobody sees: a page of 500 trials has thousands of marks.

    Coordinates end at a hundredth of a pixel, marks have no second name for readers beside their own, empty frames go,
    and colours need no fallback in a page that gives them.
    """
    for pattern, replacement in ((_ROLE_TWICE, ""), (_EMPTY_FRAME, ""), (_FALLBACK, r"\1)")):
        drawn = pattern.sub(replacement, drawn)
    return _MARKS.sub(_hoisted, _COORDINATES.sub(lambda found: _LONG.sub(_short, found[0]), drawn))


def _hoisted(group: re.Match[str]) -> str:
    """Return a group of marks that says once what all of them say: what is inherited alone."""
    head, marks = group[1], group[2]
    count = len(_MARK.findall(marks))
    for name in _INHERITED:
        values = re.findall(rf' {name}="[^"]*"', marks)
        if count > 1 and len(values) == count and len(set(values)) == 1:
            marks = marks.replace(values[0], "")
            head = head[:-1] + values[0] + ">"
    return head + marks + "</g>"


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _configuration() -> dict[str, Any]:
    """Return the look: the page's own ink, quiet grid lines, no frame."""
    quiet = {"gridColor": INK, "gridOpacity": 0.12, "domainColor": INK, "domainOpacity": 0.4, "tickColor": INK}
    return {
        "background": "transparent",
        "font": "sans-serif",
        "view": {"stroke": None},
        "text": {"fontSize": letters(12)},
        "axis": {
            **quiet,
            "tickOpacity": 0.4,
            "labelColor": INK,
            "titleColor": INK,
            "labelFontSize": letters(12),
            "titleFontSize": letters(12),
            "titleFontWeight": "normal",
            "labelOpacity": 0.85,
            "labelSeparation": 6,
        },
        # Labels of numbers stand at their ticks, where none comes near its neighbour, and are left out where one does.
        "axisQuantitative": {"labelFlush": False, "labelOverlap": "greedy"},
        "legend": {"labelColor": INK, "labelFontSize": letters(12), "symbolStrokeWidth": 2},
        "header": {"labelColor": INK, "labelFontSize": letters(12), "labelFontWeight": "bold", "title": None},
    }
