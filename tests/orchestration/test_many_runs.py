"""Runs launched at the same time are executed one at a time; all succeed, and files that arrive meanwhile are not lost."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from pipeline.core.home import Home
from tests.orchestration.serving import served
from tests.support import copy_home, event, query, write_jsonl

RUNS = int(os.environ.get("BILLHOUSE_SOAK_RUNS", "4"))
"""`make soak-runs` uses 200."""
BATCHES = min(4, RUNS // 2)
SECONDS_A_RUN = 60
"""An upper bound, for machines that are busy with other tests."""
FIRST_DAY = date(2026, 2, 1)

LAUNCH = """
mutation Launch($runs: [ExecutionParams!]!) {
  launchMultipleRuns(executionParamsList: $runs) {
    ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename ... on LaunchRunSuccess { run { runId } } } }
    ... on PythonError { message }
  }
}"""
RUNS_SO_FAR = "query { runsOrError { ... on Runs { results { runId status startTime endTime tags { key value } } } } }"
MATERIALIZED_DAYS = """
query { assetNodeOrError(assetKey: {path: ["billing", "usage_daily"]}) {
  ... on AssetNode { partitionStats { numMaterialized } } } }"""


def test_runs_launched_at_once_succeed_one_at_a_time_and_no_file_is_lost(tmp_path: Path, parsed_project: Path) -> None:
    home = copy_home(parsed_project, tmp_path / "home")
    (home.inbox / "usage").mkdir()
    days = [str(FIRST_DAY + timedelta(days=number)) for number in range(RUNS)]
    batches = [days[number::BATCHES] for number in range(BATCHES)]
    add_files(home, batches.pop())
    with served(home) as address, httpx.Client(base_url=address, timeout=300) as client:
        launched = send_query(client, LAUNCH, {"runs": [run_of_day(day) for day in days]})["launchMultipleRuns"]
        assert [run["__typename"] for run in launched["launchMultipleRunsResult"]] == ["LaunchRunSuccess"] * RUNS
        runs: list[dict[str, Any]] = []
        deadline = time.monotonic() + 120 + RUNS * SECONDS_A_RUN
        while sum(run["status"] == "SUCCESS" for run in runs) < RUNS:
            assert time.monotonic() < deadline, runs
            time.sleep(1)
            runs = send_query(client, RUNS_SO_FAR)["runsOrError"]["results"]
            assert {run["status"] for run in runs} <= {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "SUCCESS"}, runs
            # More files arrive during the runs; runs that are still queued land them.
            ended = sum(run["status"] == "SUCCESS" for run in runs)
            while batches and ended >= (BATCHES - len(batches)) * RUNS // (2 * BATCHES):
                add_files(home, batches.pop())
        materialized = send_query(client, MATERIALIZED_DAYS)["assetNodeOrError"]["partitionStats"]["numMaterialized"]
    assert len(runs) == RUNS
    by_start = sorted(runs, key=lambda run: run["startTime"])
    assert all(before["endTime"] <= after["startTime"] for before, after in pairwise(by_start))
    assert materialized == RUNS
    sessions = query(home, "select sandbox_id, count(*) as sessions from sessions group by all order by all")
    assert sessions == [{"sandbox_id": f"box-{day}", "sessions": 1} for day in days]
    assert query(home, "select count(*) as files from landed_files") == [{"files": RUNS}]


def add_files(home: Home, days: list[str]) -> None:
    """Add one file per day, each with an hour of its own sandbox, to the inbox by rename."""
    for day in days:
        box = f"box-{day}"
        rows = [event("start", f"{day}T10:00:00Z", sandbox=box), event("stop", f"{day}T11:00:00Z", sandbox=box)]
        write_jsonl(home.inbox / f"{day}.jsonl", rows).rename(home.inbox / "usage" / f"{day}.jsonl")


def run_of_day(day: str) -> dict[str, Any]:
    """A run that lands the waiting files and materializes a day of a report."""
    return {
        "selector": {
            "repositoryLocationName": "orchestration.definitions",
            "repositoryName": "__repository__",
            "jobName": "land_and_build",
            "assetSelection": [{"path": ["raw", "landed_files"]}, {"path": ["billing", "usage_daily"]}],
        },
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": day}]},
    }


def send_query(client: httpx.Client, query_text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a query or mutation to Dagster's GraphQL API."""
    answer = client.post("/graphql", json={"query": query_text, "variables": variables or {}}).raise_for_status().json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data
