"""The Dagster UI as a person meets it: `billhouse ui` in a browser without a screen."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pipeline.home import PROJECT_ROOT, Home
from pipeline.kinds import Kind
from tests.support import event, prepare, query

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")

SILENT = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
DAY = "2026-08-20"
CHECKS_OF_INVOICES = 7
SECONDS_TO_SERVE = 180
SECONDS_TO_ANSWER = 60
SECONDS_TO_BUILD = 300
"""Far longer than it takes, for machines that are busy with other tests."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A customer on Pro with an hour of use, landed; nothing is built yet."""
    usage = [
        event("start", f"{DAY}T10:00:00Z", user="paula", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", f"{DAY}T11:00:00Z", user="paula"),
    ]
    return Home(prepare(tmp_path_factory.mktemp("browser") / "home", parsed_project, {Kind.USAGE: usage}))


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    """Where `billhouse ui` serves that home; it is stopped as a person would stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "--home", str(home.path), "ui", "--port", str(port)]
    log = home.path.parent / "ui.log"
    with log.open("wb") as output:
        serving = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(serving, f"{address}/server_info", log)
        yield address
    finally:
        os.killpg(serving.pid, signal.SIGINT)
        serving.wait(timeout=60)


def _wait_until_it_answers(serving: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_SERVE
    while time.monotonic() < deadline:
        assert serving.poll() is None, log.read_text()
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"nothing served after {SECONDS_TO_SERVE} seconds:\n{log.read_text()}")


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """A page of the UI, large enough to show the graph."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *SILENT])
        page = browser.new_page(base_url=address, viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(SECONDS_TO_ANSWER * 1000)
        expect.set_options(timeout=SECONDS_TO_ANSWER * 1000)
        yield page
        browser.close()


def test_a_day_that_is_launched_in_the_ui_is_built_and_ends_green_with_its_checks(page: Page, home: Home) -> None:
    page.goto("/locations/orchestration.definitions/jobs/land_and_build")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Show all partitions").click()
    chosen = page.get_by_role("dialog").get_by_role("textbox").first
    chosen.fill(DAY)
    chosen.press("Tab")
    page.get_by_role("button", name="Launch 1 run").click()
    expect(page.get_by_text("Launched run")).to_be_visible()
    page.goto("/runs")
    expect(page.get_by_text(f"partition: {DAY}")).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=SECONDS_TO_BUILD * 1000)
    seen(page, "runs")

    page.goto(f"/assets/billing/usage_daily?view=partitions&partition={DAY}")
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    seen(page, "day")
    page.goto("/assets/billing/invoices?view=checks")
    expect(page.get_by_text("lines_sum_to_invoices").first).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(CHECKS_OF_INVOICES)
    seen(page, "checks")
    assert query(home, "select sum(amount) > 0 as is_billed from usage_daily where usage_date = ?", DAY) == [{"is_billed": True}]


def test_the_graph_reads_from_landing_to_the_months_end(page: Page) -> None:
    page.goto("/asset-groups")
    for group in (
        "landing",
        "price_book",
        "staging",
        "usage",
        "rating",
        "billing",
        "monitoring",
        "reports",
        "month_end",
        "stripe",
    ):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    seen(page, "graph")


def seen(page: Page, name: str) -> None:
    """Keep a picture where BILLHOUSE_SCREENSHOTS says: to look at what a stranger would see."""
    if folder := os.environ.get("BILLHOUSE_SCREENSHOTS"):
        page.wait_for_timeout(3000)  # what is drawn after the words
        page.screenshot(path=Path(folder) / f"{name}.png")
