"""python -m docs.generate.screenshots: take the pictures of the README, of a home that `billhouse demo` filled.

Writes docs/images/start.png, graph.png and run.png from the UI, which must run (`billhouse --home DIR ui`), and statement.png
from a statement that was exported with the settings of docs/use/exports.md. Closes the closed month again in a Dagster run, which
changes nothing and is the run in the picture. Needs Chromium. Take them again when the start page, the graph's groups or the
statement change.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "images"
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_SECONDS_TO_DRAW = 15


_LAUNCH = """
mutation Launch($selector: JobOrPipelineSelector!, $metadata: ExecutionMetadata!) {
  launchRun(executionParams: {selector: $selector, executionMetadata: $metadata}) {
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
_SECONDS_TO_RUN = 300


def main() -> None:
    """Take all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the home of the demo")
    parser.add_argument("--ui", default="http://127.0.0.1:3000", help="the address of its UI")
    parser.add_argument("pictures", nargs="*", help="start, graph, run, statement; default: all")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    takes: dict[str, Callable[[Browser], None]] = {
        "graph": lambda browser: _graph(browser, options.ui),
        "start": lambda browser: _start_page(browser, options.ui),
        "run": lambda browser: _run(browser, options.ui, options.home),
        "statement": lambda browser: _statement(browser, options.home),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        for name in options.pictures or takes:
            takes[name](browser)
        browser.close()


def _start_page(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1080, "height": 700})
    page.set_default_timeout(120_000)
    page.goto(address)
    page.get_by_text("What ran").wait_for()
    page.screenshot(path=IMAGES / "start.png", full_page=True)


def _graph(browser: Browser, address: str) -> None:
    """The asset groups, without the navigation beside them; wide, so that Dagster shows the counts in them."""
    page = browser.new_page(viewport={"width": 2400, "height": 1100})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/asset-groups")
    page.wait_for_timeout(_SECONDS_TO_DRAW * 1000)
    page.get_by_text("fetching statuses").first.wait_for(state="detached")
    page.screenshot(path=IMAGES / "graph.png", clip={"x": 590, "y": 280, "width": 1770, "height": 580})


def _run(browser: Browser, address: str, home: Path) -> None:
    """A run that closes a month that is closed already: its steps and events."""
    month = max(path.name for path in (home / "ledger" / "closes").glob("2*"))
    selector = {
        "repositoryLocationName": "orchestration.definitions",
        "repositoryName": "__repository__",
        "pipelineName": "close_month",
    }
    metadata = {"tags": [{"key": "dagster/partition", "value": month}]}
    with httpx.Client(base_url=address, timeout=120) as client:

        def ask(query: str, **variables: object) -> Any:
            answer = client.post("/graphql", json={"query": query, "variables": variables}).raise_for_status()
            return answer.json()["data"]

        run = ask(_LAUNCH, selector=selector, metadata=metadata)["launchRun"]["run"]["runId"]
        deadline = time.monotonic() + _SECONDS_TO_RUN
        while (status := ask(_STATUS, id=run)["runOrError"]["status"]) not in ("SUCCESS", "FAILURE"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The run {run} is {status}.")
            time.sleep(1)
    page = browser.new_page(viewport={"width": 1400, "height": 800})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/runs/{run}")
    page.wait_for_timeout(_SECONDS_TO_DRAW * 1000)
    page.screenshot(path=IMAGES / "run.png")


def _statement(browser: Browser, home: Path) -> None:
    """The upper part of the longest statement of the last exported month."""
    statements = max((home / "exports").glob("2*/statements"))
    longest = max(sorted(statements.glob("*.html")), key=lambda path: path.stat().st_size)
    page = browser.new_page(viewport={"width": 900, "height": 1100})
    page.goto(longest.as_uri())
    page.screenshot(path=IMAGES / "statement.png")


if __name__ == "__main__":
    main()
