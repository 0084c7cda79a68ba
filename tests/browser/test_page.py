"""The report in a real browser: the system's Chromium. Without one these tests are skipped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from factories import make_detailed_result, make_result, with_trials
from loadtune.show import page as report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed"),
]
WIDTHS = (360, 1400)
SECTIONS = (
    "verdict", "worth", "findings", "leaders", "grid", "memory", "knob", "knobs", "waits", "parts", "seen", "time",
    "bytes", "document", "model", "trust", "trials", "reproduce",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that are looked at, as files."""
    place = tmp_path_factory.mktemp("pages")
    whole = make_detailed_result()
    (place / "static.html").write_text(report.render(whole), encoding="utf-8")
    (place / "interactive.html").write_text(report.render(whole, interactive=True), encoding="utf-8")
    nothing = make_result(best=None, fastest=None, baseline=None, gain=None, findings=(), tied=())
    (place / "empty.html").write_text(report.render(with_trials(nothing, ())), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not everywhere

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page that is open, with all that the browser complained of or asked for."""

    def __init__(
        self, browser: Any, file: Path, *, width: int = 1000, scheme: str = "light", scripts: bool = True
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize(
    ("name", "scheme"), [("static", "light"), ("static", "dark"), ("interactive", "light"), ("empty", "dark")]
)
def test_nothing_is_wrong_with_the_page(name: str, scheme: str, folder: Path, browser: Any) -> None:
    """No console message, no request beyond the file, no axe violation, no scrolling sideways, at two widths."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - not everywhere

    file = folder / f"{name}.html"
    with Watched(browser, file, width=WIDTHS[0], scheme=scheme) as seen:
        for width in WIDTHS:
            seen.page.set_viewport_size({"width": width, "height": 900})
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            found = Axe().run(seen.page).response["violations"]
            assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
        assert seen.said == []
        assert [url for url in seen.asked if not url.startswith("data:")] == [file.as_uri()]


def test_no_text_of_a_chart_is_cut(folder: Path, browser: Any) -> None:
    """In the browser's own font every text of every chart lies within its drawing."""
    with Watched(browser, folder / "static.html") as seen:
        outside = seen.page.evaluate(
            """() => [...document.querySelectorAll("svg.chart text")].filter(text => {
                const box = text.getBoundingClientRect(), all = text.closest("svg").getBoundingClientRect();
                return box.left < all.left - 1 || box.right > all.right + 1 || box.top < all.top - 1
                    || box.bottom > all.bottom + 1;
            }).map(text => text.textContent)"""
        )
        assert outside == []


def test_scripts_off_shows_every_chart_and_number(folder: Path, browser: Any) -> None:
    """With scripts blocked the interactive page has all sections, charts and tables that the static one has."""
    texts = []
    for name in ("static", "interactive"):
        with Watched(browser, folder / f"{name}.html", scripts=False) as seen:
            for section in SECTIONS:
                assert seen.page.locator(f"section#{section}").is_visible(), section
            charts = seen.page.locator("figure svg.chart")
            assert charts.count() == 12
            assert all(chart.is_visible() and chart.bounding_box()["height"] > 50 for chart in charts.all())
            texts.append(re.sub(r"\s+", " ", seen.page.locator("main").text_content()))
            assert seen.page.locator("button").count() == 0
    assert texts[0] == texts[1]


def test_figures_open_without_scripts(folder: Path, browser: Any) -> None:
    """The table of each chart opens by a click with scripts blocked."""
    with Watched(browser, folder / "static.html", scripts=False) as seen:
        for details in seen.page.locator("details").all():
            details.locator("summary").click()
            assert details.locator("table").is_visible()


def test_the_table_is_sorted_by_a_click(folder: Path, browser: Any) -> None:
    """A click on a heading sorts by the numbers in its column, units counted, a second one the other way round."""
    with Watched(browser, folder / "interactive.html") as seen:
        head = seen.page.locator("#trials thead th", has_text="samples/s").first
        column = seen.page.evaluate("head => head.cellIndex", head.element_handle())

        def shown() -> list[float]:
            cells = seen.page.locator(
                f"#trials .wide >> nth=0 >> tbody tr td:nth-child({column + 1})"
            ).all_text_contents()
            return [float(cell.split(" ")[0].replace(",", "")) for cell in cells if cell != "–"]

        head.locator("button").click()
        assert shown() == sorted(shown())
        assert head.get_attribute("aria-sort") == "ascending"
        head.locator("button").click()
        assert shown() == sorted(shown(), reverse=True)
        memory = seen.page.locator("#trials thead th button", has_text="epoch").first
        memory.click()
        first = seen.page.locator("#trials .wide >> nth=0 >> tbody tr >> nth=0").text_content()
        assert " s" in first
        assert seen.said == []


def test_a_selection_is_linked(folder: Path, browser: Any) -> None:
    """A cell of the heat map selects its point and its rows; Escape, or the same again, clears; keys do it too."""
    with Watched(browser, folder / "interactive.html") as seen:
        cell = seen.page.locator("#grid [role=button][aria-label^='batch 256, 2 workers']")
        cell.click()
        rows = seen.page.locator("#trials tr.on")
        assert rows.count() == 3
        assert all("256" in text for text in rows.all_text_contents())
        assert seen.page.locator("#memory .on").count() == 2
        assert "b256-w2-drop" in seen.page.locator("#selected").text_content()
        seen.page.keyboard.press("Escape")
        assert rows.count() == 0
        cell.focus()
        seen.page.keyboard.press("Enter")
        assert rows.count() == 3
        rows.first.click()
        assert rows.count() == 1
        assert seen.page.locator("#grid .on").count() == 1
        assert seen.said == []


def test_the_code_is_copied(folder: Path, browser: Any) -> None:
    """The button puts the code on the clipboard as it stands."""
    with Watched(browser, folder / "interactive.html") as seen:
        seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
        seen.page.locator("button.copy").first.click()
        seen.page.get_by_text("Copied").wait_for(timeout=5000)
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert copied == seen.page.locator("pre.code").first.text_content()


def test_a_mark_says_its_figures(folder: Path, browser: Any) -> None:
    """Over a mark stands what it says to a screen reader."""
    with Watched(browser, folder / "interactive.html") as seen:
        mark = seen.page.locator("#memory [aria-label^='2 workers, batch 256, drop_last']").first
        mark.hover()
        assert seen.page.locator("#tip").text_content() == mark.get_attribute("aria-label")
        assert seen.page.locator("#tip").is_visible()


def test_sizes_hold(folder: Path) -> None:
    """The static page of 50 configurations has at most 300 kB, the interactive one at most 2.5 MB."""
    assert (folder / "static.html").stat().st_size <= 300_000
    assert (folder / "interactive.html").stat().st_size <= 2_500_000
