"""The rules and the dashboard of deploy/, with Prometheus itself: no query fails, and each has the series that it names."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate.links import anchors
from docs.generate.running_prometheus import (
    DASHBOARD,
    RULES,
    SECONDS,
    Prometheus,
    dashboard_queries,
    free_port,
    process,
    prometheus,
)
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.monitoring.health import write_health
from tests.feeds.receive.running import receiving
from tests.landing.raw import event_line

pytestmark = pytest.mark.slow

PROMETHEUS = PROJECT_ROOT / "deploy" / "prometheus"
REPORTS = """
billhouse_last_build_timestamp_seconds {now}
billhouse_as_of_timestamp_seconds {now}
billhouse_build_seconds 19.5
billhouse_reports_current 1
billhouse_unbilled_amount{{currency="USD"}} 12.5
billhouse_invoices{{status="closed"}} 2
billhouse_invoices_awaiting_approval 2
billhouse_draft_month_end_timestamp_seconds{{period="2026-08"}} 1788220800
billhouse_ignored_events{{reason="stop_without_start"}} 3
billhouse_limit_breaches{{limit="credit"}} 1
billhouse_stripe_differences 0
billhouse_stripe_drift_amount{{currency="USD"}} 0
billhouse_overdue_amount{{currency="USD"}} 0
billhouse_last_sync_timestamp_seconds {now}
"""
"""The metrics that need a build. tests/monitoring/test_health.py compares the names with those that are written."""


def promtool(*words: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def documented_metrics() -> set[str]:
    """The metrics of a home and of a receiver on their pages; those with a suffix of their kind without it."""
    text = "".join((PROJECT_ROOT / "docs" / page).read_text() for page in ("reference/metrics.md", "operate/receiving.md"))
    return {name.removesuffix("_total") for name in re.findall(r"`(billhouse_\w+)`", text)}


def test_the_rules_and_the_configuration_are_valid_and_each_alert_is_raised_when_it_should() -> None:
    assert "SUCCESS: 27 rules found" in promtool("check", "rules", RULES)
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", PROMETHEUS / "billhouse.rules_test.yml")


def test_every_alert_is_in_the_tests_of_the_rules() -> None:
    tested = (PROMETHEUS / "billhouse.rules_test.yml").read_text()
    assert [rule["alert"] for rule in rules() if "alert" in rule and f'"{rule["alert"]}"' not in tested] == []


def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    page = PROJECT_ROOT / "docs" / "operate" / "monitoring.md"
    known = anchors(page)
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning"), alert
        assert alert["for"], alert
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}, alert
        address = alert["annotations"]["runbook_url"]
        assert address.startswith("{{ $externalLabels.docs }}"), "one setting makes all of them absolute"
        path, anchor = address.removeprefix("{{ $externalLabels.docs }}").split("#")
        assert (PROJECT_ROOT / path, anchor in known) == (page, True), alert["annotations"]["runbook_url"]
    assert len({alert["alert"] for alert in alerts}) == len(alerts) == 21


def test_rules_and_dashboard_use_metrics_that_are_documented() -> None:
    used = {
        re.sub(r"_(total|bucket)$", "", name)
        for expression in [rule["expr"] for rule in rules()] + [query for _, query in dashboard_queries("1m")]
        for name in re.findall(r"\bbillhouse_\w+", expression)
    }
    assert used - documented_metrics() == set()
    assert len(used) > 25


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken = set[tuple[int, int]]()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the rules: of node_exporter, which serves the metrics of a home, and of a running receiver."""
    folder = tmp_path_factory.mktemp("prometheus")
    home = Home.open(folder / "home")
    home.collecting.mkdir()
    (home.collecting / "orders.json").write_text('{"files": 2}')
    write_health(home)
    written = home.health.read_text() + REPORTS.format(now=time.time())
    for outcome in ("accepted", "duplicate", "quarantined"):  # nothing has landed yet
        written += f'billhouse_landed_rows{{outcome="{outcome}"}} 7\n'
    home.health.write_text(written)
    node = f"127.0.0.1:{free_port()}"
    words = ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile", "--log.level=error"]
    words += [f"--collector.textfile.directory={home.health.parent}", f"--web.listen-address={node}"]
    with receiving(home) as receiver, process(words, f"http://{node}/metrics"):
        configuration = {
            "global": {
                "scrape_interval": "500ms",
                "evaluation_interval": "500ms",
                "external_labels": {"docs": "https://docs.example.com/"},
            },
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "billhouse", "static_configs": [{"targets": [node]}]},
                {"job_name": "billhouse-receive", "static_configs": [{"targets": [receiver.address.removeprefix("http://")]}]},
            ],
        }
        with prometheus(folder, configuration) as server:
            for number in range(3):  # a rate needs counters that were scraped before they rise
                assert receiver.post(event_line(f"e{number}")).status_code == 202
                assert receiver.post("{", name="usage").status_code == 400
                wait_until(lambda seen=number + 1: count_of(server) >= seen)  # type: ignore[misc]
            yield server


def count_of(server: Prometheus) -> float:
    found = server.query('sum(billhouse_receive_requests_total{status="202"})')
    return float(found[0]["value"][1]) if found else 0


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_every_query_of_the_dashboard_has_series(monitored: Prometheus) -> None:
    queries = dashboard_queries("1m")
    assert [(title, query) for title, query in queries if not monitored.query(query)] == []
    (share,) = [query for title, query in queries if title.startswith("Refused")]
    assert monitored.query(share)[0]["value"][1] == "0"
    (latency,) = [query for title, query in queries if title == "Time to an answer" and "0.99" in query]
    assert 0 < float(monitored.query(latency)[0]["value"][1]) < SECONDS


def test_every_rule_is_evaluated_without_an_error(monitored: Prometheus) -> None:
    found = [rule for group in monitored.ask("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    wait_until(lambda: all(rule["health"] == "ok" for group in monitored.ask("rules")["groups"] for rule in group["rules"]))
    assert [rule.get("lastError") for rule in found if rule.get("lastError")] == []
    records = [rule["name"] for rule in found if rule["type"] == "recording" and "quarantined" not in rule["name"]]
    for name in records:  # no row was quarantined meanwhile
        wait_until(lambda name=name: bool(monitored.query(name)))  # type: ignore[misc]


def test_an_alert_that_is_pending_names_its_page(monitored: Prometheus) -> None:
    def pending() -> list[dict[str, Any]]:
        return [alert for alert in monitored.ask("alerts")["alerts"] if alert["labels"]["alertname"] == "BillhouseApprovalsWait"]

    wait_until(lambda: bool(pending()))
    (alert,) = pending()
    assert (alert["state"], alert["labels"]["severity"]) == ("pending", "warning")
    assert alert["annotations"]["summary"] == "2 invoice(s) wait for approval."
    assert alert["annotations"]["runbook_url"] == "https://docs.example.com/docs/operate/monitoring.md#billhouseapprovalswait"
