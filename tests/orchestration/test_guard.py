"""Pages of other origins can do nothing through the UI: single requests, and a browser that has another page open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import sync_playwright

from pipeline.core.home import Home
from pipeline.core.request_guard import RequestGuard
from tests.http_servers import http_server
from tests.orchestration.serving import CHROMIUM, CHROMIUM_ARGUMENTS, served
from tests.support import copy_home

LAUNCH = """mutation { launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "orchestration.definitions", jobName: "close_month"},
  mode: "default", runConfigData: "{}", executionMetadata: {tags: [{key: "dagster/partition", value: "2026-01"}]}
}) { __typename } }"""
RUNS = "{ runsOrError { ... on Runs { results { id } } } }"


def scope(method: str, path: str, query: str = "", *, kind: str = "http", **headers: str) -> dict[str, object]:
    named = {"host": "127.0.0.1:3000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }


JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    "request_",
    [
        scope("GET", "/"),
        scope("GET", "/graphql"),
        scope("GET", "/asset-groups", sec_fetch_site="none"),
        scope("POST", "/graphql", **JSON),
        scope("POST", "/graphql", "op=AssetRecordsQuery", **JSON),  # the UI adds the name of each query
        scope("POST", "/graphql", origin="http://127.0.0.1:3000", sec_fetch_site="same-origin", **JSON),
        scope("GET", "/graphql", kind="websocket", origin="http://127.0.0.1:3000"),
        scope("GET", "/", host="[::1]:3000"),
        scope("GET", "/", host="billing.example.com"),
        scope("POST", "/graphql", host="billing.example.com", origin="https://billing.example.com", **JSON),
    ],
)
def test_requests_of_the_ui_itself_and_of_local_programs_are_accepted(request_: dict[str, object]) -> None:
    guard = RequestGuard(None, {"127.0.0.1", "[::1]", "billing.example.com"})  # type: ignore[arg-type]
    assert guard.refusal(request_) is None


@pytest.mark.parametrize(
    "request_",
    [
        scope("GET", "/graphql", "query=mutation%7Bx%7D"),
        scope("GET", "/graphql/", "query=%7Bx%7D"),
        scope("HEAD", "/graphql", "variables=%7B%7D"),
        scope("GET", "/", host="evil.example:3000"),
        scope("GET", "/", host="127.0.0.1.evil.example"),
        scope("GET", "/", host=""),
        scope("GET", "/", sec_fetch_site="cross-site"),
        scope("GET", "/", sec_fetch_site="same-site"),
        scope("POST", "/graphql", origin="http://127.0.0.1:8000", **JSON),
        scope("POST", "/graphql", origin="http://localhost:3000", **JSON),
        scope("POST", "/graphql", origin="null", **JSON),
        scope("POST", "/graphql", content_type="text/plain"),
        scope("POST", "/graphql", content_type="application/x-www-form-urlencoded"),
        scope("POST", "/graphql", "query=mutation%7Bx%7D", **JSON),
        scope("POST", "/report_asset_materialization/x"),
        scope("GET", "/graphql", kind="websocket", origin="http://evil.example"),
        scope("GET", "/graphql", kind="websocket", host="evil.example"),
    ],
)
def test_requests_that_a_page_of_another_origin_can_send_are_refused_with_a_reason(request_: dict[str, object]) -> None:
    guard = RequestGuard(None)  # type: ignore[arg-type]
    assert guard.refusal(request_)


def test_two_host_headers_are_refused() -> None:
    twice = scope("GET", "/")
    twice["headers"] = [(b"host", b"127.0.0.1:3000"), (b"host", b"evil.example")]
    assert RequestGuard(None).refusal(twice)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Iterator[str]:
    """The address of `billhouse ui` for a home."""
    home: Home = copy_home(parsed_project, tmp_path_factory.mktemp("guard") / "home")
    with served(home) as address:
        yield address


@contextmanager
def page_of_another_origin(address: str) -> Iterator[str]:
    """A page of another site that sends every kind of request that a page can send to the UI."""
    launch = json.dumps({"query": LAUNCH})
    by_get = f"{address}/graphql?query={quote(LAUNCH)}"
    html = f"""<!doctype html><title>cats</title>
        <img src="{by_get}"><link rel="stylesheet" href="{by_get}"><iframe name="hidden"></iframe>
        <form id="plain" target="hidden" method="post" enctype="text/plain" action="{address}/graphql">
          <input name='{{"query": {json.dumps(LAUNCH)}, "x": "' value='"}}'></form>
        <form id="encoded" target="hidden" method="post" action="{address}/graphql"><input name="query" value='{LAUNCH}'></form>
        <script>
          const launch = {json.dumps(launch)};
          const tries = ["text/plain", "application/json"].map(type =>
            fetch("{address}/graphql", {{method: "POST", mode: "no-cors", body: launch, headers: {{"content-type": type}}}})
              .catch(() => 0));
          const socket = new WebSocket("{address.replace("http", "ws")}/graphql", "graphql-ws");
          const opened = new Promise(done => {{ socket.onopen = () => done("open"); socket.onerror = () => done("refused"); }});
          document.getElementById("plain").submit();
          setTimeout(() => document.getElementById("encoded").submit(), 500);
          Promise.all([...tries, opened, new Promise(done => setTimeout(done, 2000))])
            .then(all => document.title = "websocket " + all[2]);
        </script>"""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(HTTPStatus.OK)
        request.send_header("content-type", "text/html")
        request.end_headers()
        request.wfile.write(html.encode())

    with http_server(respond) as other:
        yield f"http://localhost:{urlsplit(other).port}/"


def runs(address: str) -> int:
    answer = httpx.post(f"{address}/graphql", json={"query": RUNS}, timeout=60)
    return len(answer.json()["data"]["runsOrError"]["results"])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
def test_a_page_of_another_origin_in_the_operators_browser_launches_no_run(address: str) -> None:
    with page_of_another_origin(address) as page_address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        responses: list[tuple[str, int]] = []
        page.on("response", lambda answer: responses.append((answer.request.method, answer.status)))
        page.goto(page_address)
        page.wait_for_function("document.title.startsWith('websocket')", timeout=60_000)
        title = page.title()
        browser.close()
    assert title == "websocket refused"
    refused = [method for method, status in responses if status == HTTPStatus.FORBIDDEN]
    assert {"GET", "POST"} <= set(refused)
    assert runs(address) == 0


def test_a_get_request_executes_no_mutation_and_another_host_name_is_refused(address: str) -> None:
    assert httpx.get(f"{address}/graphql", params={"query": LAUNCH}, timeout=60).status_code == HTTPStatus.FORBIDDEN
    assert httpx.get(address, headers={"host": "evil.example"}, timeout=60).status_code == HTTPStatus.FORBIDDEN
    assert runs(address) == 0


def test_the_same_mutation_from_the_ui_launches_a_run(address: str) -> None:
    """Shows that the tests above fail because of the guard, not because of an invalid mutation."""
    port = urlsplit(address).port
    answer = httpx.post(f"{address}/graphql", json={"query": LAUNCH}, headers={"origin": f"http://127.0.0.1:{port}"}, timeout=60)
    assert answer.json()["data"]["launchRun"]["__typename"] == "LaunchRunSuccess"
    assert runs(address) == 1
