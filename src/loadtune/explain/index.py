"""All findings on one page, made from theirs: docs/findings.md."""

from __future__ import annotations

from loadtune.explain import pages

HEAD = """# Findings

What loadtune says beside its number. A finding has the same words in the terminal, the report, the JSON and Markdown;
`loadtune explain LT003` prints its page. This list is made from these pages: `python -m loadtune.explain.index`
prints it, and a test holds it to them.
"""


def markdown() -> str:
    """Return a section for each finding: what it means, what to do, and where its whole page is."""
    return "\n".join([HEAD, *(_section(pages.read(code)) for code in pages.codes() if pages.is_finding(code))])


def _section(page: pages.Page) -> str:
    told = dict(page.sections)
    whole = f"[The whole page](../src/loadtune/explain/codes/{page.code}.md)"
    parts = (
        f"## {page.code}: {page.title}",
        f"{page.about} {whole}.",
        _moved(told["What it means"]),
        _moved(told["What to do"]),
    )
    return "\n\n".join(parts) + "\n"


def _moved(text: str) -> str:
    """Return text whose links lead on from docs/ as they did from the folder of the pages."""
    return text.replace("](../../../../docs/", "](").replace("](../../../../", "](../")


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
