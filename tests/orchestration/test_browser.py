"""`billhouse ui` in a headless browser."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from pipeline.monitoring.command_reports import unrecorded_work
from tests.orchestration.serving import CHROMIUM, CHROMIUM_ARGUMENTS, served
from tests.support import billhouse, event, prepare, query, write_jsonl

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")

DAY = "2026-08-20"
SECONDS_TO_ANSWER = 60
SECONDS_TO_BUILD = 300
"""Generous, for machines that are busy with other tests."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A customer with an hour of usage, landed but not built."""
    usage = [
        event("start", f"{DAY}T10:00:00Z", user="paula", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", f"{DAY}T11:00:00Z", user="paula"),
        event("start", f"{DAY}T12:00:00Z", user="<b>ill", sandbox="bad", vcpu_count=-1),
    ]
    return Home(prepare(tmp_path_factory.mktemp("browser") / "home", parsed_project, {Kind.USAGE: usage}))


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    """The address of `billhouse ui` for that home."""
    with served(home) as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """A browser page that is large enough to show the graph."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(base_url=address, viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(SECONDS_TO_ANSWER * 1000)
        expect.set_options(timeout=SECONDS_TO_ANSWER * 1000)
        yield page
        browser.close()


def test_a_day_launched_in_the_ui_is_built_and_all_its_checks_succeed(page: Page, home: Home) -> None:
    page.goto("/locations/orchestration.definitions/jobs/land_and_build")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Show all partitions").click()
    partitions = page.get_by_role("dialog").get_by_role("textbox").first
    partitions.fill(DAY)
    partitions.press("Tab")
    page.get_by_role("button", name="Launch 1 run").click()
    expect(page.get_by_text("Launched run")).to_be_visible()
    page.goto("/runs")
    expect(page.get_by_text(f"partition: {DAY}")).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=SECONDS_TO_BUILD * 1000)
    take_screenshot(page, "runs")

    page.goto(f"/assets/billing/usage_daily?view=partitions&partition={DAY}")
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    take_screenshot(page, "day")
    page.goto("/assets/billing/invoices?view=checks")
    expect(page.get_by_text("lines_sum_to_invoices").first).to_be_visible()
    counted = re.search(r"\d+", page.get_by_text(re.compile(r"^Checks \(\d+\)$")).inner_text())
    assert counted is not None
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(int(counted[0]))
    take_screenshot(page, "checks")
    assert query(home, "select sum(amount) > 0 as is_billed from usage_daily where usage_date = ?", DAY) == [{"is_billed": True}]


def test_from_the_start_page_a_person_finds_the_rows_in_quarantine_and_what_they_are_in_the_graph(page: Page, home: Home) -> None:
    """A person's task, after the day was built: what is not billed, why, and where in the graph."""
    page.goto("/")
    needs = page.locator("#needs")
    expect(needs.get_by_text("1 row in quarantine: not billed")).to_be_visible()
    expect(needs.get_by_text("Most frequent: bad_number (1). vcpu_count is '-1")).to_be_visible()
    expect(page.locator("#ran").get_by_role("row", name="Build")).to_contain_text("run")
    take_screenshot(page, "start")
    needs.get_by_role("link", name="Show billing.quarantined_events").click()
    expect(page.get_by_text("bad_number").first).to_be_visible()
    take_screenshot(page, "quarantine")

    billed = billhouse(home.path, "land", "--again")
    assert billed.code == 0, billed.stderr
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    while unrecorded_work(home):
        assert time.monotonic() < deadline, "the command was not recorded"
        time.sleep(1)
    page.goto("/")
    expect(page.locator("#ran").get_by_role("row", name="Landing")).to_contain_text("billhouse land")


def test_a_file_in_the_inbox_is_landed_and_built_when_the_sensor_is_on(page: Page, home: Home) -> None:
    page.goto("/locations/orchestration.definitions/sensors/land_from_inbox")
    page.locator("label:has(input[type=checkbox])").click()
    expect(page.get_by_role("checkbox")).to_be_checked()
    (home.inbox / "usage").mkdir(exist_ok=True)
    rows = [event("start", f"{DAY}T12:00:00Z", sandbox="new"), event("stop", f"{DAY}T13:00:00Z", sandbox="new")]
    write_jsonl(home.inbox / "new.jsonl", rows).rename(home.inbox / "usage" / "new.jsonl")
    arrived, deadline = time.monotonic(), time.monotonic() + SECONDS_TO_BUILD
    while not (home.analysts_file.exists() and query(home, "from sessions where sandbox_id = 'new'")):
        assert time.monotonic() < deadline, "it was not landed"
        time.sleep(1)
    print(f"landed and built {time.monotonic() - arrived:.0f} s after it arrived")
    take_screenshot(page, "sensor")


def test_the_graph_shows_ten_groups_and_the_inner_models_one_click_below(page: Page) -> None:
    page.goto("/asset-groups")
    groups = ("landing", "price_book", "ledger", "warehouse", "invoices", "reports", "month_end", "exports", "stripe", "alerts")
    for group in groups:
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    for layer in ("staging", "rating", "usage_segments"):
        expect(page.get_by_text(layer, exact=True)).to_have_count(0)
    take_screenshot(page, "graph")


def take_screenshot(page: Page, name: str) -> None:
    """Save a screenshot in the folder BILLHOUSE_SCREENSHOTS, if that is set."""
    if folder := os.environ.get("BILLHOUSE_SCREENSHOTS"):
        page.wait_for_timeout(3000)  # graphics are drawn after the text
        page.screenshot(path=Path(folder) / f"{name}.png")
