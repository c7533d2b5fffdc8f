"""python -m docs.generate.screenshots: take the pictures of the README, of a home that `billhouse demo` filled.

Writes docs/images/graph.png from the Dagster UI, which must run (`billhouse --home DIR ui`), and docs/images/statement.png from
an exported statement. Needs Chromium. Take them again when the graph's groups or the statement change.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "images"
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_SECONDS_TO_DRAW = 15


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the home of the demo")
    parser.add_argument("--ui", default="http://127.0.0.1:3000", help="the address of its Dagster UI")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        _graph(browser, options.ui)
        _statement(browser, options.home)
        browser.close()


def _graph(browser: Browser, address: str) -> None:
    """The asset groups, without the navigation beside them."""
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/asset-groups")
    page.wait_for_timeout(_SECONDS_TO_DRAW * 1000)
    page.screenshot(path=IMAGES / "graph.png", clip={"x": 545, "y": 112, "width": 1040, "height": 780})


def _statement(browser: Browser, home: Path) -> None:
    """The upper part of the longest statement of the last exported month."""
    statements = max((home / "exports").glob("2*/statements"))
    longest = max(sorted(statements.glob("*.html")), key=lambda path: path.stat().st_size)
    page = browser.new_page(viewport={"width": 900, "height": 1100})
    page.goto(longest.as_uri())
    page.screenshot(path=IMAGES / "statement.png")


if __name__ == "__main__":
    main()
