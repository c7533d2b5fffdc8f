"""Every command in the documentation is run, and prints what its page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT
from tests.command_server import command_server
from tests.support import copy_home

DOCS = PROJECT_ROOT / "docs"
OPERATE = DOCS / "operate"
QUICKSTART = DOCS / "start" / "quickstart.md"
README = PROJECT_ROOT / "README.md"
HOW_TO = ("bring-your-own-events", "add-a-meter", "change-a-price", "correct-a-mistake", "sign-a-contract")
GUIDES = [*(DOCS / "use" / f"{guide}.md" for guide in HOW_TO), OPERATE / "stripe.md", QUICKSTART, OPERATE / "alerts.md"]
"""Pages whose commands are run here, from the first to the last."""
PAGES = [README, PROJECT_ROOT / "CONTRIBUTING.md", PROJECT_ROOT / "benchmarks" / "README.md", *sorted(DOCS.rglob("*.md"))]
_SHARED = ("dbt_project.yml", "profiles.yml", "models", "macros", "sources", "tests", "orchestration")
"""What a guide reads of the project and does not edit."""
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

OPERATIONS = "tests/orchestration/test_operations.py"
BENCHMARKS = "tests/project/test_benchmarks.py"
RETRIED = "tests/landing/test_retry_quarantined.py"
SETTLED = "tests/cli/test_quarantine.py"
NOTEBOOK = "tests/notebook/test_notebook.py"
STATEMENTS = "tests/exports/test_statements.py"
QUEUES = "tests/feeds/queues/test_queues.py"
POSTGRESQL = "tests/feeds/test_collect_postgresql.py"
_METERING = "--connection-env METERING_URL"
RUN_ELSEWHERE = {
    "make demo": "tests/demo/test_demo.py",
    "make test": ".ci/run",
    "make test-fast": "tests/project/test_fast_run.py",
    "make check": ".ci/run",
    "make notebook": NOTEBOOK,
    "make ui": "tests/orchestration/test_browser.py",
    "billhouse land languages.csv --kind customers": "tests/landing/test_records.py",
    "billhouse build": "tests/models/test_refresh.py",
    "billhouse export 2026-09": "tests/exports/test_exports.py",
    "export BILLHOUSE_ISSUER_NAME='Example Sandboxes GmbH'": STATEMENTS,
    "export BILLHOUSE_ISSUER_ADDRESS='Musterstraße 1; 10115 Berlin; Germany'": STATEMENTS,
    "export BILLHOUSE_ISSUER_TAX_ID=DE123456789": STATEMENTS,
    "make soak": "tests/models/test_against_reference.py",
    "billhouse land --again": RETRIED,
    "billhouse close 2026-09 --check": "tests/ledger/test_closing_checklist.py",
    "billhouse land --again --kind subscriptions": RETRIED,
    "billhouse land --again plans.csv": RETRIED,
    "billhouse quarantine --file a.jsonl --row 3": SETTLED,
    'billhouse quarantine --settle --file a.jsonl --row 3 --why "user_id added, landed in a-corrected.jsonl"': SETTLED,
    'billhouse quarantine --settle --file a.jsonl --why "the whole file was sent again"': SETTLED,
    'billhouse quarantine --settle --reason before_books_open --why "from clocks that start in 1970"': SETTLED,
    "billhouse quarantine --settled": SETTLED,
    "umask 077": OPERATIONS,
    "make bench-billion": BENCHMARKS,
    "make bench-hostile": BENCHMARKS,
    ".venv/bin/python -m benchmarks.usage --rows 30000000": BENCHMARKS,
    ".venv/bin/python -m benchmarks.usage --rows 10000000 --shape lifecycle --more-days 3 --peers polars": BENCHMARKS,
    ".venv/bin/python -m benchmarks.usage --rows 100000000 --days 300 --more-days 3 --peers": BENCHMARKS,
    (
        'flock "$BILLHOUSE_HOME/.lock" flock "$BILLHOUSE_HOME/.manifest.lock" '
        'tar -C "$BILLHOUSE_HOME" -cf backup.tar raw ledger inbox .tmp'
    ): OPERATIONS,
    "mkdir -m 700 restored": OPERATIONS,
    "tar -C restored -xpf backup.tar": OPERATIONS,
    "billhouse --home restored verify": OPERATIONS,
    "billhouse --home restored build --as-of 2026-09-05": OPERATIONS,
    "make setup-spark": ".ci/run",
    "make parity": "tests/parity/test_parity.py",
    "make parity-servers": "tests/parity/servers.py",
    ".venv/bin/python -m pipeline.warehouse.spark --home var": "tests/parity/test_parity.py",
    ".venv/bin/billhouse invoices": "tests/ledger/test_ledger.py",
    ".venv/bin/billhouse --help": "tests/project/test_documented_commands.py",
    ".venv/bin/pre-commit install": ".pre-commit-config.yaml",
    "export EVENTS_API_KEY=...": "tests/feeds/test_collect.py",
    "billhouse collect --url https://api.example.com/v1/events --api-key-env EVENTS_API_KEY": "tests/feeds/test_collect.py",
    "billhouse collect --export /srv/queue/events": "tests/feeds/test_collect.py",
    "billhouse receive-key add gateway usage metrics": "tests/feeds/receive/test_keys.py",
    "billhouse receive": "tests/feeds/receive/test_receive.py",
    (
        """curl http://127.0.0.1:8780/v1/usage -H "Authorization: Bearer $KEY" -H 'Content-Type: application/x-ndjson' """
        "--data-binary @events.jsonl"
    ): "tests/feeds/receive/test_receive.py",
    "billhouse collect --objects s3://bucket/events": "tests/feeds/test_collect_objects.py",
    "export METERING_URL=postgresql://billing@db.internal/metering": POSTGRESQL,
    f"billhouse collect-sql postgresql {_METERING} --table usage_events --cursor-column inserted_at": POSTGRESQL,
    f"billhouse collect-sql postgresql {_METERING} --query usage.sql --cursor-column inserted_at": POSTGRESQL,
    f"billhouse collect-sql postgresql {_METERING} --slot billhouse": "tests/feeds/test_collect_slot.py",
    f"billhouse collect-sql clickhouse {_METERING} --table usage_events --cursor-column inserted_at": (
        "tests/feeds/test_collect_clickhouse.py"
    ),
    "billhouse poll-metrics --url https://api.e2b.app --api-key-env E2B_API_KEY": "tests/feeds/test_poll_metrics.py",
    "billhouse poll-running --url https://api.e2b.app --api-key-env E2B_API_KEY": "tests/feeds/test_poll_running.py",
    "billhouse consume kafka --servers kafka-1:9092,kafka-2:9092 --topic usage": QUEUES,
    (
        "billhouse consume redis-streams --url redis://events:6379/0 --stream sandbox.events.stream --field payload"
        " --source e2b-events"
    ): QUEUES,
    "billhouse consume sqs --url https://sqs.eu-west-1.amazonaws.com/123456789012/usage": QUEUES,
    "billhouse consume nats --servers nats://nats:4222 --stream USAGE": QUEUES,
    (
        "billhouse consume kafka --servers kafka:9093 --topic usage --property security.protocol=SASL_SSL"
        " --property sasl.mechanism=SCRAM-SHA-512 --property sasl.username=billing --secret sasl.password=KAFKA_PASSWORD"
    ): "tests/feeds/queues/test_kafka.py",
    "billhouse feeds list": "tests/feeds/test_configured.py",
    "billhouse feeds run": "tests/feeds/test_configured.py",
}
"""Commands that a page shows and no guide runs, each with where it is run."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with `billhouse` and `python` in its .venv/bin, as after `make setup`."""
    folder = tmp_path_factory.mktemp("guides") / "project"
    folder.mkdir()
    for name in _SHARED:
        (folder / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "pipeline", folder / "pipeline")  # the price book is the one beside it
    shutil.copytree(PROJECT_ROOT / "seeds", folder / "seeds")
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python").chmod(0o755)
    with command_server(folder, tools / "billhouse"):
        yield folder
    shutil.rmtree(folder)


@pytest.fixture
def workshop(project: Path, parsed_project: Path) -> Path:
    """The project as in the repository, in which a guide may edit the price book, with homes ready to build."""
    for path in project.iterdir():
        if path.name not in (*_SHARED, "pipeline", ".venv"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    for home in ("var", "var-mine"):
        copy_home(parsed_project, project / home)
    return project


def write_shown_input_files(folder: Path) -> None:
    """The input files that the quickstart shows."""
    shown = dict(re.findall(r"^```(json|csv)\n(.*?)^```$", QUICKSTART.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    (folder / "usage.jsonl").write_text(shown["json"])
    (folder / "plans.csv").write_text(shown["csv"])


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guides_commands_work_and_print_what_it_says(guide: Path, workshop: Path) -> None:
    if guide == QUICKSTART:
        write_shown_input_files(workshop)
    path = os.pathsep.join([str(workshop / ".venv" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(workshop)}
    output = ""
    for kind, text in BLOCK.findall(guide.read_text(encoding="utf-8")):
        if kind == "text":
            missing = [line for line in text.splitlines() if line not in output]
            assert missing == [], output
            continue
        commands = "\n".join(line for line in text.splitlines() if is_run_here(line))
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-O", "expand_aliases", "-c", commands],
            cwd=workshop,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        output = ran.stdout + ran.stderr
        assert ran.returncode == 0, output


def is_run_here(line: str) -> bool:
    return command_of(line) not in RUN_ELSEWHERE


def command_of(line: str) -> str:
    """What a line calls, without the comment behind it."""
    return line.split("  #")[0].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_command_that_a_page_shows_is_run_somewhere(page: Path) -> None:
    if page in GUIDES:
        return
    run_by_guides = {command for guide in GUIDES for command in commands_of(guide)} - RUN_ELSEWHERE.keys()
    assert commands_of(page) - RUN_ELSEWHERE.keys() - run_by_guides == set(), "run the page as a guide, or say which test runs it"


def commands_of(page: Path) -> set[str]:
    shown = [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == "sh"]
    return {command_of(line) for text in shown for line in text.splitlines() if command_of(line)}


def test_where_a_command_is_said_to_be_run_there_is_something() -> None:
    assert [place for place in RUN_ELSEWHERE.values() if not (PROJECT_ROOT / place).exists()] == []
