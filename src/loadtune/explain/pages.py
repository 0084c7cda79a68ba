"""Pages on findings and kinds of failure: ``codes/CODE.md``, the one home of their titles and of what to do.

To add one, write the file: a heading ``# CODE: title``, a line on what it is, the five sections below. Its row in
docs/failures.md and the code that gives it are asked for by tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files

from loadtune.errors import UsageError, nearest

SECTIONS = ("What it means", "How it is found out", "Why it happens", "What to do", "Read more")
"""The headings of every page, in their order."""

_FINDING = re.compile(r"LT\d{3}")
_SHORT_FINDING = re.compile(r"lt0*(\d{1,3})", re.IGNORECASE | re.ASCII)
_FOLDER = "codes"
_SUFFIX = ".md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is to be known of one code."""

    code: str
    """A finding, ``LT003``, or a kind of failure, ``shm_full``."""
    title: str
    about: str
    """What it is: ``Finding, warning.``"""
    sections: tuple[tuple[str, str], ...]
    """Heading and text of each, in Markdown: paragraphs, lists, code, links."""


def codes() -> tuple[str, ...]:
    """Return every code that has a page: findings, then kinds of failure, each in alphabetical order."""
    names = (entry.name for entry in files("loadtune.explain").joinpath(_FOLDER).iterdir())
    found = [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]
    return tuple(sorted(found, key=lambda code: (not is_finding(code), code)))


def is_finding(code: str) -> bool:
    """Return whether a code is that of a finding, and not of a kind of failure."""
    return _FINDING.fullmatch(code) is not None


def find(code: str) -> Page:
    """Return the page of a code, whatever the case of its letters; ``lt3`` is LT003.

    Raises:
        UsageError: There is no such code.
    """
    known = {known.lower(): known for known in codes()}
    asked = code.strip().lower()
    short = _SHORT_FINDING.fullmatch(asked)
    found = known.get(f"lt{int(short[1]):03}" if short else asked)
    if found is None:
        # Codes that differ in a digit are not alike in what they mean.
        like = None if short else nearest(asked, known) or _holding(asked, known)
        hint = f"; did you mean '{known[like]}'?" if like else ": loadtune explain lists them"
        raise UsageError(f"'{code}' is no finding and no kind of failure{hint}")
    return read(found)


def _holding(asked: str, known: Iterable[str]) -> str | None:
    return next((name for name in known if len(asked) > 1 and asked in name), None)


def read(code: str) -> Page:
    """Return the page of a code that is written as its file is.

    Raises:
        FileNotFoundError: There is no such page.
        ValueError: The page lacks its heading or a section.
    """
    text = files("loadtune.explain").joinpath(_FOLDER).joinpath(code + _SUFFIX).read_text(encoding="utf-8")
    return parse(code, text)


def parse(code: str, text: str) -> Page:
    """Return the page that ``text`` holds.

    Raises:
        ValueError: It lacks its heading or a section, or has others.
    """
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    match = re.fullmatch(rf"# {re.escape(code)}: (.+)\n+((?:.+\n)+)\n*", head)
    sections = tuple((heading, body.strip()) for heading, _, body in (part.partition("\n") for part in parts))
    if match is None or tuple(heading for heading, _ in sections) != SECTIONS or not all(body for _, body in sections):
        raise ValueError(f"the page of {code} needs a heading '# {code}: title', a line, and {', '.join(SECTIONS)}")
    return Page(code=code, title=match[1], about=" ".join(match[2].split()), sections=sections)


def titles() -> Iterator[tuple[str, str]]:
    """Yield each code with its title, in the order of `codes`."""
    for code in codes():
        yield code, read(code).title
