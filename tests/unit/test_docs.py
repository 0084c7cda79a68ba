"""What the documentation says of the program, held against the program."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from loadtune.cli import app, parser
from loadtune.errors import LoadtuneError
from loadtune.explain import index, pages
from loadtune.judge.document import ARTICLE_CASE, CIFAR10_TRAINING_SAMPLES, FLOAT32_BYTES, article_slips
from loadtune.judge.watching import WatchSummary
from loadtune.record.failure import FailureEvidence
from loadtune.record.results import CSV_COLUMNS, JSON_ONLY_FIELDS, Environment, RunResult
from loadtune.units import format_bytes, format_seconds

ROOT = Path(__file__).parents[2]
EXPLAINED = ROOT / "src" / "loadtune" / "explain" / "codes"
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "reports" / "README.md",
    *sorted(EXPLAINED.glob("*.md")),
)
PAGE_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
NOT_OF_LOADTUNE = {
    "--cpus": "docker's",
    "--cpuset-cpus": "docker's",
    "--gpus": "docker's",
    "--ipc": "docker's",
    "--memory": "docker's",
    "--shm-size": "docker's",
    "--pids-limit": "docker's",
    "--ulimit": "docker's",
    "--mem": "SLURM's",
    "--pool": "Celery's",
    "--pid": "py-spy's",
}
MODEL_COMMAND = (
    "loadtune model --samples 60000 --batch-size 64 --seconds-per-sample 1ms --bytes-per-sample 3072 --batches 500"
)

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


TRIAL_SIDE = {"content_check", "spare", "step_orders", "trial_host"}
"""Modules of ``run`` that belong to the trial host, which imports torch."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def first_cells(text: str) -> set[str]:
    """Return what stands in the first column of the tables, code marks left out."""
    rows = (line for line in text.splitlines() if line.startswith("|"))
    return {row.split("|")[1].strip().strip("`") for row in rows}


@cache
def options_of(verb: str) -> frozenset[str]:
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", parser.help_page(verb)))


def commands_in(text: str) -> list[list[str]]:
    """Return the words of each ``loadtune VERB …`` in code, up to a comment or the end of the line or the code span."""
    spans = re.findall(r"`(loadtune [^`\n]+)`", text)
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in fenced for line in block.splitlines()]
    commands = [*spans, *(line for line in lines if line.startswith("loadtune "))]
    return [shlex.split(command.partition(" | ")[0], comments=True)[1:] for command in commands]


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_every_option_named_is_there(name: str) -> None:
    """Each ``--option`` of a page is an option of some command of the program."""
    there = {"--version", "--help", *NOT_OF_LOADTUNE}.union(*(options_of(verb) for verb in app.VERBS))
    assert set(_OPTION.findall(re.sub(r"pip install[^\n]*", "", text_of(name)))) - there == set()


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_every_command_shown_takes_its_options(name: str) -> None:
    """Each ``loadtune VERB …`` of a page is a command of the program, with options that this command has."""
    for words in commands_in(text_of(name)):
        if words[0].startswith("-"):
            assert words[0] in {"--help", "--version"}
            continue
        assert words[0] in app.VERBS, words
        options = {word.split("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert options - {"--help"} <= options_of(words[0]), words


def test_every_option_of_a_sweep_is_documented() -> None:
    """Each option of ``loadtune sweep`` is named in the README or in the documentation."""
    named = set(_OPTION.findall("".join(text_of(name) for name in PAGE_NAMES if not name.startswith("src/"))))
    assert {option for option in options_of("sweep") if option.startswith("--")} - named == set()


@pytest.mark.parametrize("name", [*PAGE_NAMES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_relative_link_leads_somewhere(name: str) -> None:
    """A relative link names a file that is there, and its fragment a heading of that file."""
    page = ROOT / name
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        place, _, fragment = link.partition("#")
        if "://" in link:
            continue
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), link
        if fragment:
            assert fragment in anchors(file.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """Return the fragments by which the headings of a page are linked."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    """The index of the documentation links to each of its pages."""
    index = set(_LINK.findall(text_of("docs/README.md")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= index


def test_columns_are_documented() -> None:
    """The table of columns in docs/outputs.md has those of the CSV, all of them, in their order."""
    table = text_of("docs/outputs.md").partition("## trials.csv")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == CSV_COLUMNS


def test_json_is_documented() -> None:
    """docs/outputs.md names every key of a run and every field of a row that the CSV leaves out."""
    schema = text_of("docs/outputs.md").partition("## run.json")[2].partition("\n## ")[0]
    names = (*RunResult.__dataclass_fields__, *JSON_ONLY_FIELDS)
    assert [name for name in names if f'"{name}": ' not in schema] == []


def test_what_a_watched_loop_tells_is_documented() -> None:
    """docs/watching.md has every field of a ``WatchSummary``, and no other, in its table."""
    cells = first_cells(text_of("docs/watching.md"))
    listed = {name.strip("`") for cell in cells for name in cell.split(", ")}
    assert listed - {"summary()` has", "---"} == set(WatchSummary.__dataclass_fields__)


def test_findings_and_kinds_are_in_their_tables() -> None:
    """docs/failures.md links to the page of every finding and every kind of failure, by its title, and to no other."""
    text = text_of("docs/failures.md")
    row = re.compile(r"^\| \[`(\w+)`\]\(\.\./src/loadtune/explain/codes/(\w+)\.md\) \| (.+) \|$", re.MULTILINE)
    expected = dict(pages.titles())
    for heading, findings in (("## Kinds of failure", False), ("## Findings", True)):
        rows = row.findall(text.partition(heading)[2].partition("\n## ")[0])
        assert all(code == file for code, file, _ in rows)
        listed = {code: title for code, _, title in rows}
        assert listed == {code: title for code, title in expected.items() if pages.is_finding(code) is findings}


def test_the_page_of_all_findings_is_made_from_theirs() -> None:
    """docs/findings.md is what ``python -m loadtune.explain.index`` prints, to the letter."""
    assert text_of("docs/findings.md") == index.markdown()


def test_exit_codes_are_documented() -> None:
    """README and docs/failures.md list every exit code of the program."""
    codes = {app.INTERRUPTED, app.FAULT, 0} | {error.exit_code for error in all_errors(LoadtuneError)}
    for name, heading in (("README.md", "## Exit codes"), ("docs/failures.md", "## Exit codes")):
        table = text_of(name).partition(heading)[2].partition("\n## ")[0]
        assert {int(cell) for cell in first_cells(table) if cell.isdigit()} == codes, name


def all_errors(kind: type[LoadtuneError]) -> set[type[LoadtuneError]]:
    return {kind}.union(*(all_errors(below) for below in kind.__subclasses__()))


def test_slips_of_the_article_are_those_computed() -> None:
    """docs/models.md quotes, corrects and explains the four slips as ``judge.document`` computes them."""
    page = on_one_line(text_of("docs/models.md"))
    slips = article_slips()
    assert len(slips) == 4
    for number, slip in enumerate(slips, start=1):
        assert f"| {number} | {slip.quantity} | {slip.article} | {slip.right} |" in page
        assert slip.why in page


def test_corrected_case_is_computed() -> None:
    """The article's case with all four slips put right is in docs/models.md with the figures that follow."""
    right = replace(
        ARTICLE_CASE,
        samples=CIFAR10_TRAINING_SAMPLES,
        bytes_per_sample=ARTICLE_CASE.bytes_per_sample * FLOAT32_BYTES,
        batches_given=None,
    )
    page = on_one_line(text_of("docs/models.md"))
    for figure in (
        f"K = {right.batches_per_epoch}",
        f"M = {right.bytes_per_sample:,.0f} B",
        f"{right.batch_bytes:,.0f} B ({format_bytes(right.batch_bytes)})",
        f"T = 1 ms is {format_seconds(right.epoch_seconds)}",
        f"{right.epoch_bytes:,.0f} B ({format_bytes(right.epoch_bytes)})",
    ):
        assert figure in page


def test_output_of_model_is_real(capsys: pytest.CaptureFixture[str]) -> None:
    """The output of ``loadtune model`` in docs/models.md is what the command prints, to the letter."""
    assert app.main(shlex.split(MODEL_COMMAND)[1:]) == 0
    assert f"$ {MODEL_COMMAND}\n{capsys.readouterr().out}```" in text_of("docs/models.md")


def test_figures_of_the_benches_are_those_reported() -> None:
    """Each figure that docs/measuring.md quotes from a bench stands in the report that it names."""
    rows = re.findall(
        r"^\| .+ \| (.+) \| \[\S+\]\(\.\./(reports/bench/\S+)\) \|$", text_of("docs/measuring.md"), re.MULTILINE
    )
    assert rows
    for quoted, report in rows:
        reported = set(_NUMBER.findall(text_of(report)))
        assert set(_NUMBER.findall(quoted)) <= reported, (quoted, report)


def test_every_hard_case_has_a_test_that_is_there() -> None:
    """Each file and each test that tests/faults/README.md names for a hard case is there."""
    folder = ROOT / "tests" / "faults"
    named = re.findall(
        r"`((?:tests/\w+/)?test_\w+\.py)(?:::(\w+))?`", (folder / "README.md").read_text(encoding="utf-8")
    )
    assert len(named) > 40
    for file, test in named:
        path = ROOT / file if "/" in file else folder / file
        assert path.exists(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), test


def test_the_public_index_is_not_recommended() -> None:
    """No page installs ``loadtune`` by its name alone: an unrelated project owns it on the public index."""
    for name in PAGE_NAMES:
        assert not re.search(r"pip install (?:-U |--upgrade )?loadtune\b", text_of(name)), name


def test_fields_of_the_environment_are_listed() -> None:
    """outputs.md has every field that the export keeps of the machine, and no other."""
    listed = re.search(r'"environment": \{([^}]*)\}', text_of("docs/outputs.md"))
    assert listed is not None
    assert {name.strip() for name in listed[1].split(",")} == set(Environment.__dataclass_fields__)


def test_fields_of_the_evidence_are_listed() -> None:
    """failures.md has a row for every field of the evidence of a failure."""
    section = text_of("docs/failures.md").partition("## Evidence")[2].partition("\n## ")[0]
    cells = {name.strip("`") for cell in first_cells(section) for name in cell.split(", ")}
    assert set(FailureEvidence.__dataclass_fields__) <= cells


def test_every_module_of_the_parent_process_is_kept_from_torch() -> None:
    """The import contract names every module of ``run`` but those of the trial host."""
    contract = text_of("pyproject.toml").partition('name = "The parent process never imports torch"')[2]
    kept = re.findall(r'"([\w.]+)"', contract.partition("forbidden_modules")[0])
    modules = {file.stem for file in (ROOT / "src" / "loadtune" / "run").glob("*.py")} - {"__init__"}
    assert {f"loadtune.run.{name}" for name in modules - TRIAL_SIDE} <= set(kept)
