"""python -m docs.generate.notebook_pictures ADDRESS: take the pictures of the notebook and of the questions page.

ADDRESS is what `billhouse --home DIR notebook` prints for a home that `billhouse demo` filled. Needs Chromium. Take them again
when a chart or the demo changes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

from docs.generate.questions import EXAMPLE, PICTURED
from docs.generate.screenshots import CHROMIUM_ARGUMENTS, IMAGES
from pipeline.notebook.charts import CHARTED
from pipeline.notebook.questions import SECTIONS

_CUSTOMER = ("invoice_change", "invoice_days", "invoice_vcpu_days", "largest_customers")
"""The charts of the section Customers, as they follow each other."""
_WIDTH, _HEIGHT = 1000, 860
_SECONDS_TO_DRAW = 3
_PICTURES: Mapping[str, str] = {"Revenue": "notebook-revenue", "Customers": "notebook-customer"}
"""The upper part of a section -> the name of its picture."""


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="the address of the notebook, with its token")
    address = parser.parse_args().address
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    (IMAGES / "questions").mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        for section, names in SECTIONS.items():
            if set(names) & set(PICTURED):
                _section(browser, address, section)
        browser.close()


def _section(browser: Browser, address: str, section: str) -> None:
    """The section's picture, and those of its charts."""
    page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, device_scale_factor=1.5)
    page.set_default_timeout(120_000)
    customer = f"&customer={quote(EXAMPLE['customer_id'])}" if section == "Customers" else ""
    page.goto(f"{address}&section={quote(section)}{customer}")
    charts = [name for name in (_CUSTOMER if section == "Customers" else SECTIONS[section]) if name in CHARTED]
    page.locator(".vega-embed").nth(len(charts) - 1).scroll_into_view_if_needed()
    page.wait_for_timeout(_SECONDS_TO_DRAW * 1000)
    if section in _PICTURES:
        page.evaluate("document.querySelector('h1').scrollIntoView(false)")
        page.screenshot(path=IMAGES / f"{_PICTURES[section]}.png")
    _charts(page, charts)
    page.close()


def _charts(page: Page, names: list[str]) -> None:
    for place, name in enumerate(names):
        if name in PICTURED:
            page.locator(".vega-embed").nth(place).screenshot(path=IMAGES / "questions" / f"{name}.png")


if __name__ == "__main__":
    main()
