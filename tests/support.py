"""Helpers that several test modules share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb

from pipeline.cli.app import main
from pipeline.core.home import Home
from pipeline.core.sql import quoted, rows_as_dictionaries
from pipeline.landing.record_kinds import Kind
from pipeline.store.manifest import WrittenFile, append_line, new_line
from pipeline.warehouse.dbt_overhead import without_dbt_overhead
from pipeline.warehouse.dbt_run import close_dbt_connections, dbt_arguments, dbt_environment
from pipeline.warehouse.parsed_project import parsed_project
from pipeline.warehouse.project import project_of


@dataclass(frozen=True)
class Outcome:
    """Output and exit code of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as the JSON object of --json."""
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed


def billhouse(home: Path, *arguments: object) -> Outcome:
    """Run `billhouse --home HOME ARGUMENTS...` in this process."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    argv = ["billhouse", "--home", str(home), *map(str, arguments)]
    with patch.object(sys, "argv", argv), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return Outcome(code, stdout.getvalue(), stderr.getvalue())


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write JSON lines; a row that is text is written unchanged (for malformed rows)."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def forget(home: Home, *folders: Path) -> None:
    """Remove folders of the ledger from disk and manifest, as if an older backup had been restored."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    gone = tuple(f"{folder.relative_to(home.path).as_posix()}/" for folder in folders)
    lines = home.manifest.read_bytes().splitlines() if home.manifest.exists() else []
    home.manifest.unlink(missing_ok=True)
    for line in map(json.loads, lines):
        paths = [*line.get("files", {}), *line.get("opened", ()), *line.get("closed", ())]
        if not any(path.startswith(gone) for path in paths):
            append_line(home, new_line(home, {name: value for name, value in line.items() if name != "previous"}))


def remake_manifest(home: Home) -> None:
    """Rewrite the manifest for the current content of each file, with a new chain, as a forger would."""
    lines = [json.loads(line) for line in home.manifest.read_bytes().splitlines()]
    home.manifest.unlink()
    for line in lines:
        line.pop("previous")
        for name in line.get("files", {}):
            written = WrittenFile.of(home.path / name)
            line["files"][name] = [written.sha256, written.size]
        append_line(home, new_line(home, line))


def free_port() -> int:
    """A free port on the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def copy_home(source: Path, target: Path) -> Home:
    """Copy a home."""
    shutil.copytree(source, target)
    return Home.open(target)


def prepare(
    home: Path, parsed_project: Path, records: Mapping[Kind, Iterable[Mapping[str, Any] | str]], *commands: Iterable[object]
) -> Path:
    """A home with these records landed (one file per kind) and these commands run."""
    copy_home(parsed_project, home)
    for kind, rows in records.items():
        landed = billhouse(home, "land", "--kind", kind, write_jsonl(home.parent / f"{kind}.jsonl", rows))
        assert landed.code == 0, landed.stderr
    for words in commands:
        outcome = billhouse(home, *words)
        assert outcome.code == 0, outcome.stderr
    return home


def dbt(home: Home, *words: str) -> list[tuple[str, str]]:
    """Run a dbt command; returns (name, status) of each node except hooks."""
    from dbt.cli.main import dbtRunner

    before = dict(os.environ)
    os.environ.update(dbt_environment(home))
    try:
        with without_dbt_overhead():
            outcome = dbtRunner(parsed_project(home, project_of(home))).invoke([*words, *dbt_arguments(home), "--quiet"])
    finally:
        os.environ.clear()
        os.environ.update(before)
        close_dbt_connections()
    assert outcome.exception is None
    results: list[Any] = list(outcome.result)  # type: ignore[arg-type]
    return [(result.node.name, str(result.status)) for result in results if result.node.resource_type != "operation"]


def failed_checks(home: Home, checks: Iterable[str], broken: str | None = None) -> set[str]:
    """The checks that find a wrong row in the warehouse, after a statement that is rolled back.

    Each is the SQL that the last build compiled and ran: a build fails with any row of it. The last build has to be one from
    scratch, in which the checks look at whole tables. The statement has to change a row.
    """
    compiled = home.path / ".dbt" / "target" / "compiled" / "billhouse" / "tests" / "warehouse"
    with duckdb.connect(str(home.warehouse)) as warehouse:
        warehouse.execute(f"set TimeZone = 'UTC'; set file_search_path = {quoted(home.path)}")
        warehouse.begin()
        try:
            if broken is not None:
                assert warehouse.execute(broken).fetchall() not in ([], [(0,)]), "the statement has changed nothing"
            found = {name: warehouse.execute((compiled / f"{name}.sql").read_text()).fetchone() for name in checks}
        finally:
            warehouse.rollback()
    return {name for name, row in found.items() if row is not None}


def query(home: Home, sql: str, *parameters: object) -> list[dict[str, Any]]:
    """Query the analysts' reports."""
    with duckdb.connect(str(home.analysts_file), read_only=True) as reports:
        reports.execute("set TimeZone = 'UTC'")
        reports.execute("use billing")
        result = reports.execute(sql, list(parameters))
        return rows_as_dictionaries(result)


_SHORT = {
    "start": "sandbox_started",
    "update": "resources_updated",
    "heartbeat": "sandbox_heartbeat",
    "pause": "sandbox_paused",
    "resume": "sandbox_resumed",
    "stop": "sandbox_stopped",
    "usage": "usage_recorded",
}
_counter = iter(range(1, 1_000_000_000))


def event(what: str, at: str, *, user: str = "ada", sandbox: str = "box", **more: Any) -> dict[str, Any]:
    """One usage event as a collector would write it: event('start', '2026-09-01T10:00:00Z', vcpu_count=2)."""
    return {
        "event_id": f"evt-{next(_counter):09d}",
        "sandbox_id": sandbox,
        "user_id": user,
        "timestamp": at,
        "event_type": _SHORT[what],
        **more,
    }
