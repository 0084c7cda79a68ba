"""The pages on findings and kinds of failure: each there is, none too many, and how they are found and shown."""

from __future__ import annotations

import ast
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from loadtune.cli.app import main
from loadtune.errors import UsageError
from loadtune.explain import pages
from loadtune.judge.lack import OUT_OF_MEMORY
from loadtune.record.failure import FailureKind
from loadtune.show.explanation import print_page, print_titles

SOURCE = Path(__file__).parents[2] / "src" / "loadtune"
SNAPSHOTS = Path(__file__).parent / "snapshots"
CODES = pages.codes()
GIVING_ROOMS = ("judge", "run")


def calls() -> Iterator[ast.Call]:
    """Yield every call in the rooms that make findings and failures."""
    for room in GIVING_ROOMS:
        for file in (SOURCE / room).rglob("*.py"):
            yield from (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call))


def constant(call: ast.Call, name: str) -> str | None:
    value = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def findings_given() -> dict[str, set[str]]:
    """Return the code of each finding that is made somewhere, with the severities that are fixed."""
    given: dict[str, set[str]] = {}
    for call in calls():
        if call_name(call) == "Finding" and (code := constant(call, "code")) is not None:
            given.setdefault(code, set()).update(filter(None, [constant(call, "severity")]))
    return given


def kinds_given() -> set[str]:
    """Return every kind of failure that the program knows."""
    return set(get_args(FailureKind))


def call_name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def shown(width: int, code: str | None) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    if code is None:
        print_titles(pages.titles(), console)
    else:
        print_page(pages.read(code), console)
    return stream.getvalue()


def test_every_code_given_has_a_page_and_no_other() -> None:
    """Whatever finding or kind of failure the program can give is explained, and nothing that it cannot give."""
    given = set(findings_given()) | kinds_given()
    assert {"LT001", "LT015", "hung", "last_batch", "user_error", "trial_killed", "shm_full"} <= given
    assert set(CODES) == given
    assert set(OUT_OF_MEMORY) <= given


def test_every_code_named_has_a_page() -> None:
    """Codes of findings and commands ``loadtune explain CODE`` anywhere in the source name pages that are there."""
    texts = [file.read_text("utf-8") for kind in ("*.py", "*.md") for file in SOURCE.rglob(kind)]
    named = {code for text in texts for code in re.findall(r"\bLT\d{3}\b", text)}
    named |= {code for text in texts for code in re.findall(r"loadtune explain\s+([\w]*_\w+|LT\d+)", text)}
    assert named <= set(CODES)


def test_severities_are_those_given() -> None:
    """The page of a finding says its severity."""
    for code, severities in findings_given().items():
        about = pages.read(code).about
        assert all(severity in about for severity in severities), code
        assert len(severities) != 1 or about.startswith(f"Finding, {min(severities)}"), code


@pytest.mark.parametrize("code", CODES)
def test_every_page_is_whole(code: str) -> None:
    """Each page has a title in small words, says what it is, and has all five sections, with something to do."""
    page = pages.read(code)
    assert page.code == code
    assert not page.title.endswith(".")
    assert page.about.startswith("Finding" if pages.is_finding(code) else "Kind of failure")
    assert [heading for heading, _ in page.sections] == list(pages.SECTIONS)
    assert "- " in dict(page.sections)["What to do"]
    assert "!" not in "".join(text for _, text in page.sections).replace("![", "")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_page_fits_the_terminal(code: str, width: int) -> None:
    """No line is wider than the terminal or than 100, or ends in blanks; nothing is cut, no Markdown is left."""
    text = shown(width, code)
    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert not re.search(r"`|\]\(|\.\./|^#", text, re.MULTILINE)
    assert "…" not in text
    assert not re.search(r" $", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "code"), [("explain_LT015", "LT015"), ("explain_shm_full", "shm_full"), ("explain", None)]
)
def test_a_page_looks_as_it_did(name: str, code: str | None) -> None:
    """The text at 80 columns is that of the snapshot; SNAPSHOTS=write renews it, to be read before it is kept."""
    path, text = SNAPSHOTS / f"{name}.txt", shown(80, code)
    if os.environ.get("SNAPSHOTS") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "code"),
    [("LT003", "LT003"), ("lt003", "LT003"), ("lt3", "LT003"), ("Shm_Full", "shm_full"), (" HUNG ", "hung")],
)
def test_a_code_is_found_however_it_is_written(asked: str, code: str) -> None:
    """Neither the case of letters nor zeros left out matter."""
    assert pages.find(asked).code == code


@pytest.mark.parametrize("asked", ["LT000", "LT099", "lt9999", "", "/etc/passwd", "LT001.md", "x"])
def test_an_unknown_code_is_refused(asked: str) -> None:
    """What has no page is a usage error that names it."""
    with pytest.raises(UsageError, match="no finding and no kind of failure"):
        pages.find(asked)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("# LT001: ", "# LT002: "),
        lambda text: text.replace("## What to do", "## Advice"),
        lambda text: text.partition("## Read more")[0],
        lambda text: text.replace("Finding, warning.\n", ""),
        lambda text: text.partition("## Read more")[0] + "## Read more\n",
    ],
)
def test_a_page_that_lacks_something_is_no_page(spoil: object) -> None:
    """A wrong heading, a section that is missing, renamed or empty, and a missing first line are refused."""
    text = (SOURCE / "explain" / "codes" / "LT001.md").read_text("utf-8")
    assert pages.parse("LT001", text).title
    with pytest.raises(ValueError, match="needs a heading"):
        pages.parse("LT001", spoil(text))  # type: ignore[operator]


def test_the_command_prints_page_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    """``loadtune explain lt015`` prints that page, ``loadtune explain`` every code with its title; both exit with 0."""
    assert main(["explain", "lt015"]) == 0
    assert capsys.readouterr().out.startswith("LT015: the CPU quota throttled trials\n")
    assert main(["explain"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert all(f"{code} {title}" in listed for code, title in pages.titles())
