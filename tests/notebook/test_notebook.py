"""A person's tasks with `billhouse notebook`, in a headless browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import quote

import duckdb
import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, expect, sync_playwright

from pipeline.core.home import PROJECT_ROOT, Home
from tests.analysts_home import HOSTILE
from tests.orchestration.serving import CHROMIUM, CHROMIUM_ARGUMENTS
from tests.support import query

pytestmark = pytest.mark.slow

SECONDS_TO_SERVE = 120
SECONDS_TO_SHOW = 90
"""Generous, for machines that are busy with other tests."""
CUSTOMER = "[data-testid=marimo-plugin-searchable-dropdown] button"
_COMMAND = "from pipeline.cli.app import main; main()"


@pytest.fixture(scope="module")
def home(analysts_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the analysts' file alone, as nothing else is read."""
    home = Home.open(tmp_path_factory.mktemp("notebook") / "home")
    shutil.copyfile(analysts_home.analysts_file, home.analysts_file)
    return home


@contextmanager
def served(home: Home) -> Iterator[str]:
    """The address that `billhouse notebook` prints, with its token."""
    log = home.path.parent / "notebook.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "--home", str(home.path), "notebook", "--port", "0"],
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS_TO_SERVE
        while (printed := re.search(r"^Notebook at (\S+)", log.read_text(), re.MULTILINE)) is None:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield printed[1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
    assert process.returncode == 0, log.read_text()


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    with served(home) as address:
        yield address


@pytest.fixture(scope="module")
def browser_context() -> Iterator[BrowserContext]:
    """One for all tests: starting a browser takes seconds."""
    assert CHROMIUM is not None, "no Chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        yield _context(playwright)


def _context(playwright: Playwright) -> BrowserContext:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(SECONDS_TO_SHOW * 1000)
    expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
    return context


@pytest.fixture
def page(browser_context: BrowserContext) -> Iterator[Page]:
    """A page that may ask this machine only."""
    page = browser_context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert [url for url in asked if not re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:)", url)] == []


def test_find_why_an_invoice_is_higher_than_the_one_before(page: Page, address: str, home: Home) -> None:
    page.goto(address)
    expect(page.get_by_text("As of 2026-09-05 00:00 UTC")).to_be_visible()
    page.get_by_role("tab", name="Customers").click()
    page.locator(CUSTOMER).click()
    page.get_by_placeholder("Search").fill("carol")
    page.get_by_role("option", name="carol").click()
    expect(page.locator(".bh-reason")).to_contain_text(re.compile(r"USD higher than the one before: vCPU 160\.47 USD more"))
    expect(page.locator(".bh-reason")).to_contain_text("for 3,200.0 instead of 16.0 vCPU-hours")
    expect(page.locator("canvas, svg.marks").first).to_be_visible()

    # The query beside the chart gives the figures that are shown.
    details = page.locator("details", has_text="with this_invoice as").first
    details.locator("summary").click()
    sql = details.locator("pre").inner_text()
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        changes = reports.sql(f"select sum(change_amount) from ({sql})").fetchall()[0][0]
    totals = query(home, "select total_amount from invoices where customer_id = 'carol' order by period")
    assert changes == totals[1]["total_amount"] - totals[0]["total_amount"] > Decimal(100)


def test_each_section_shows_its_questions_with_their_sql(page: Page, address: str) -> None:
    page.goto(address)
    for name, question in (
        ("Cohorts", "How much do the new customers of a month use in the months after?"),
        ("Credits", "How much credit is given, used and lost each month?"),
        ("Concurrency", "How many sandboxes run at once, day by day?"),
        ("Utilisation", "What would smaller sizes save each customer?"),
        ("Unit economics", "What is the effective revenue per vCPU-hour?"),
        ("Revenue", "How much does each month bring in?"),
    ):
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("heading", name=question)).to_be_visible()
        questions, queries = page.locator(".bh-title").count(), page.locator("details.bh-sql pre").count()
        assert queries == questions > 0
        expect(page.get_by_text(re.compile("Traceback|An internal error occurred"))).to_have_count(0)


def test_a_hostile_id_is_text(page: Page, address: str) -> None:
    page.goto(f"{address}&section=Customers&customer={quote(HOSTILE, safe='')}")
    expect(page.locator(".bh-reason")).to_contain_text("There is no earlier invoice")
    expect(page.locator(CUSTOMER)).to_contain_text(HOSTILE)
    expect(page.locator("pre", has_text="customer_id = ").first).to_contain_text("<img src=x onerror=")
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "Billhouse"


def test_the_page_follows_the_build_and_says_where_there_is_none(page: Page, address: str, home: Home) -> None:
    page.goto(address)
    expect(page.get_by_text("As of 2026-09-05 00:00 UTC")).to_be_visible()
    later = home.path / "later.duckdb"
    shutil.copyfile(home.analysts_file, later)
    later.chmod(0o600)
    with duckdb.connect(str(later)) as connection:
        connection.execute("update billing.customer_balances set as_of = '2026-09-06 12:00:00+00'")
    built = home.path / "built.duckdb"
    os.link(home.analysts_file, built)
    later.replace(home.analysts_file)
    expect(page.get_by_text("As of 2026-09-06 12:00 UTC")).to_be_visible()
    expect(page.get_by_role("heading", name="How much does each month bring in?")).to_be_visible()

    home.analysts_file.unlink()
    page.goto(address)
    expect(page.get_by_text("Nothing has been built yet.")).to_be_visible()
    expect(page.get_by_role("tab")).to_have_count(0)
    built.replace(home.analysts_file)
    expect(page.get_by_text("As of 2026-09-05 00:00 UTC")).to_be_visible()
    expect(page.get_by_role("heading", name="How much does each month bring in?")).to_be_visible()


def test_only_the_address_with_the_token_shows_figures(address: str) -> None:
    base, _, token = address.partition("/?access_token=")
    assert len(token) >= 20
    with httpx.Client(base_url=base, trust_env=False, timeout=SECONDS_TO_SHOW) as client:
        for path in ("/", "/?access_token=wrong", "/api/status", "/api/usage"):
            assert client.get(path).status_code in (302, 303, 307, 401, 403), path
        assert "MARIMO_UNAUTHORIZED" in client.get("/sse").text
        opened = client.get("/", params={"access_token": token}, follow_redirects=True)
        assert opened.status_code == 200 and opened.url.path == "/"


def test_a_page_of_another_site_is_refused_and_the_page_may_ask_no_other_host(address: str) -> None:
    base = address.partition("/?")[0]
    with httpx.Client(trust_env=False, timeout=SECONDS_TO_SHOW) as client:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answered = client.get(address, headers=headers)
            assert answered.status_code == 403 and answered.text.startswith("Refused: "), headers
        policy = client.get(address, follow_redirects=True).headers["content-security-policy"]
        assert "connect-src 'self'" in policy and "default-src 'self'" in policy
        code = client.post(f"{base}/api/kernel/run", params={"access_token": address.partition("token=")[2]}, json={})
        assert code.status_code in (401, 403)


def test_it_writes_nothing_into_the_home_or_the_checkout(address: str, home: Home) -> None:
    left = sorted(path.name for path in home.path.iterdir() if path.is_file())
    assert left == ["billhouse.duckdb"]
    assert not (PROJECT_ROOT / "pipeline" / "notebook" / "__marimo__").exists()
