"""Pictures of a run as people see it: the report, light, dark and narrow, and the terminal (./scripts/screenshots)."""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright
from rich.console import Console

from loadtune.run.resume import load
from loadtune.show import page
from loadtune.show.terminal import print_result

PICTURES = Path(__file__).parents[1] / "reports" / "screenshots"
VIEWS = (("light", 1000, 1250), ("dark", 1000, 1250), ("narrow", 360, 900))


def main(run: Path) -> None:
    """Write the pictures of ``run``."""
    result = load(run)
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(page.render(result), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, height in VIEWS:
            scheme = "dark" if name == "dark" else "light"
            seen = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            seen.goto(file.as_uri())
            seen.screenshot(path=PICTURES / f"report_{name}.png")
        browser.close()
    console = Console(width=84, record=True, file=io.StringIO(), force_terminal=True, highlight=False)
    print_result(result, console)
    drawn = console.export_svg(title=f"loadtune show {run.name}")
    # Fonts from elsewhere would be a request: the reader's own monospace does.
    (PICTURES / "terminal.svg").write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
