"""The HTML report."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
import subprocess
import sys
from functools import lru_cache
from html.parser import HTMLParser
from unittest import mock

import pytest
from hypothesis import given, settings

from factories import HOSTILE, make_result, make_trial, with_trials
from hostile import hostile_text
from loadtune.describe.config import LoaderConfig
from loadtune.record.results import CSV_COLUMNS, Interval
from loadtune.show import page, summary, tables

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Reads a page: its elements, its headings, its tables by caption; fails where tags do not match.

    A cell may be left open, as HTML allows: the next one, or the end of its row, ends it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and open a row or a cell."""
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self._end_cell()
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close an element, and keep a table."""
        if tag == "tr":
            self._end_cell()
        assert self._open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def _end_cell(self) -> None:
        if self._open[-1] == "td":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """Note text, and add it to the cell it stands in."""
        if "style" not in self._open:
            self.text.append(data)
        if "caption" in self._open:
            self._caption += data
        elif {"th", "td"} & set(self._open):
            self._rows[-1][-1] += data


@pytest.fixture(scope="module")
def report() -> str:
    return page.render(make_result())


def test_the_page_says_the_verdict_first(report: str) -> None:
    """Pick, rate with interval, gain, memory against the limit, reason and code come before everything else."""
    text = " ".join("".join(Reader(report).text).split())
    verdict = text[: text.index("Findings")]
    for words in (
        "2 workers, batch 256, drop_last",
        "2,835 ± 31",
        "1.86 ± 0.04",
        "72 % of the 900 MiB",
        "Batch 512 is no faster",
    ):
        assert words in verdict
    assert "DataLoader( dataset, batch_size=256" in verdict


def test_the_page_is_complete_without_scripts_and_requests(report: str) -> None:
    """No script, no handler, nothing loaded from anywhere; a policy that forbids both."""
    reader = Reader(report)
    names = {tag for tag, _ in reader.elements}
    assert not names & {"script", "iframe", "object", "embed", "img", "form", "base"}
    for tag, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    policies = [a["content"] for t, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies
    assert "default-src 'none'" in str(policies[0])
    assert "unsafe" not in str(policies[0])
    assert "url(http" not in report
    assert "@import" not in report


def test_the_pages_style_is_the_one_its_policy_admits(report: str) -> None:
    """The hash in the policy is that of the style in the page, byte for byte."""
    style = re.search(r"<style>(.*?)</style>", report, re.DOTALL)
    assert style is not None
    assert page._content_hash(style[1]) in report


def test_all_trials_agree_with_the_csv(report: str) -> None:
    """Every cell of every column of the CSV is on the page, digit for digit."""
    rows = Reader(report).tables["All columns of the CSV; empty is not measured"]
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows == list(csv.reader(io.StringIO(tables.to_csv(make_result()))))


def test_failures_and_their_reasons_are_on_the_page(report: str) -> None:
    """A configuration without a number is in the table of all trials with the reason why."""
    rows = Reader(report).tables["Every configuration, with its failure where it has one"]
    assert len(rows) == 41
    reasons = [row[4] for row in rows if row[3] != "measured"]
    assert any("worker_error: worker 1 raised ValueError" in reason for reason in reasons)
    assert any("shm_full: a batch ahead of every worker" in reason for reason in reasons)


def test_a_pick_without_a_told_gain_heads_the_page_as_a_guess() -> None:
    """Where the gain's interval holds 1 the page says best guess, not use; and the terminal says so too."""
    again = tuple(dataclasses.replace(row, measured_again=True) for row in make_result().trials)
    told, guessed = (make_result(gain=Interval(estimate=1.3, low=low, high=1.7), trials=again) for low in (1.1, 0.9))
    assert 'eyebrow">Use<' in page.render(told)
    assert 'eyebrow">Best guess, no gain beyond the noise<' in page.render(guessed)
    assert 'eyebrow">Best guess, too few fresh trials to confirm its gain<' in page.render(make_result())
    assert (summary.standing(told), summary.standing(guessed)) == ("told", "guess")


def test_a_failure_that_begins_like_the_word_pick_is_not_marked_as_the_pick() -> None:
    """One row is the pick's; a kind of failure called pickle is not."""
    result = make_result()
    assert result.best is not None
    rows = tuple(
        dataclasses.replace(row, status="failed", failure_kind="pickle", failure_reason="cannot pickle")
        if row.config_id != result.best.config_id
        else row
        for row in result.trials[:3] + tuple(one for one in result.trials if one.config_id == result.best.config_id)
    )
    section = page.render(with_trials(result, rows)).partition('id="trials"')[2]
    assert section.partition("All columns of the CSV")[0].count('class="pick"') == 1


def test_the_next_step_stands_behind_a_failure() -> None:
    """Advice is shown with the reason, and whatever it holds is text."""
    row = make_result().trials[0]
    failed = dataclasses.replace(row, status="failed", failure_reason="why", failure_advice="<b>next</b>")
    rows = Reader(page.render(with_trials(make_result(), (failed,)))).tables[
        "Every configuration, with its failure where it has one"
    ]
    assert rows[1][rows[0].index("what it is, or why there is no number")].endswith("why → <b>next</b>")


def test_headings_are_in_order_and_tables_have_scopes(report: str) -> None:
    """One h1, then h2; every header cell says what it heads; no id twice."""
    reader = Reader(report)
    headings = [tag for tag, _ in reader.elements if re.fullmatch(r"h\d", tag)]
    assert headings[:1] == ["h1"]
    assert set(headings[1:]) == {"h2"}
    assert all(attributes.get("scope") for tag, attributes in reader.elements if tag == "th")
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_each_chart_has_its_two_lines_and_its_table(report: str) -> None:
    """Under each chart stand how to read it, what it says here, and a table behind details."""
    charts = report.count('<svg xmlns="http://www.w3.org/2000/svg" class="chart')
    assert charts == 7
    assert report.count("<b>How to read it</b>") == charts
    assert report.count("<b>What it says here</b>") == charts
    assert report.count("<summary>The figures of this chart</summary>") == charts


def test_the_page_is_small() -> None:
    """At 50 configurations the page is at most 300 kB."""
    configs = [
        LoaderConfig(batch_size=batch, num_workers=workers, drop_last=drop)
        for batch in (16, 32, 64, 128, 256)
        for workers in (0, 1, 2, 4, 8)
        for drop in (False, True)
    ]
    trials = tuple(make_trial(config, 1000.123456 + 10.7 * index) for index, config in enumerate(configs))
    assert len(page.render(with_trials(make_result(), trials)).encode()) <= 300_000


@lru_cache
def usual_elements() -> list[str]:
    """Return the elements of a page without charts, less the rows, whose number differs."""
    with mock.patch.object(page, "figures", return_value=()):
        return [tag for tag, _ in Reader(page.render(make_result(hostile="x"))).elements if tag != "tr"]


@given(hostile_text())
@settings(max_examples=40, deadline=None)
def test_strings_never_become_elements(text: str) -> None:
    """Whatever a name, path or message holds, the page has the elements it always has, and can be written as UTF-8."""
    with mock.patch.object(page, "figures", return_value=()):
        shown = page.render(make_result(hostile=text))
    shown.encode("utf-8")
    assert "\x1b" not in shown
    assert [tag for tag, _ in Reader(shown).elements if tag != "tr"] == usual_elements()


def test_a_hostile_name_is_shown_as_text() -> None:
    """A script in a name is words on the page."""
    shown = page.render(make_result(hostile=HOSTILE))
    assert "<script" not in shown
    assert "<script>alert('x')</script>" in "".join(Reader(shown).text)


def test_a_run_without_a_pick_has_a_page() -> None:
    """Where nothing fits the page says so, with what would, and has no code."""
    shown = page.render(make_result(best=None, fastest=None, gain=None))
    assert "No configuration that was measured meets the limits" in shown
    assert "The least host memory needed was 964 MiB" in shown
    assert "Paste this" not in shown


def test_a_run_with_next_to_nothing_has_a_page() -> None:
    """No trials, no findings, no memory, no length: sections without data are absent."""
    result = make_result(best=None, fastest=None, baseline=None, gain=None, findings=(), tied=())
    shown = page.render(with_trials(result, ()))
    assert '<section id="reproduce">' in shown
    for name in ("findings", "leaders", "grid", "memory", "knob", "time", "bytes", "document"):
        assert f'<section id="{name}"' not in shown


def test_a_number_that_is_none_does_not_break_the_page() -> None:
    """NaN in a row is shown as nothing, never as a number."""
    trial = make_trial(LoaderConfig(batch_size=64), 100.0, epoch_samples_per_second=math.nan)
    rows = Reader(page.render(with_trials(make_result(), (trial,)))).tables
    raw = rows["All columns of the CSV; empty is not measured"]
    assert raw[1][CSV_COLUMNS.index("epoch_samples_per_second")] == ""


def luminance(colour: str) -> float:
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def blend(over: str, under: str, share: float) -> str:
    pairs = ((int(over[p : p + 2], 16), int(under[p : p + 2], 16)) for p in (1, 3, 5))
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def test_text_can_be_read_in_light_and_in_dark(report: str) -> None:
    """Every text colour has a contrast of 4.5 at least on what it stands on, the darkest heat cell included."""
    blocks = re.findall(r":root \{(.*?)\}", report, re.DOTALL)
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert len(schemes) == 2
    for scheme in schemes:
        for name in ("ink", "muted", "accent", "warning", "bad", "good"):
            assert contrast(scheme[name], scheme["page"]) >= 4.5, name
        for name in ("ink", "muted"):
            assert contrast(scheme[name], scheme["panel"]) >= 4.5, name
        assert contrast(scheme["ink"], blend(scheme["accent"], scheme["page"], 0.55)) >= 4.5


def test_showing_loads_nothing_heavy_until_it_is_asked_for() -> None:
    """The process that measures imports the exporters, and neither pandas, altair, jinja2 nor torch with them."""
    code = (
        "import sys, loadtune.show.outputs, loadtune.show.terminal;"
        "print(sorted({'pandas', 'altair', 'vl_convert', 'jinja2', 'torch', 'numpy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
