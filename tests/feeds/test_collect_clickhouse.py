"""Rows of ClickHouse after a cursor, against its engine (chdb), which the client library serves in place of a server.

What a server adds (its HTTP interface, users, replicas) is not tested here; results that break off are those of a fake client.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import clickhouse_connect
import pytest

from pipeline.core.home import Home
from pipeline.feeds.databases.clickhouse import Clickhouse, ClickhouseReader, _lines
from pipeline.feeds.databases.collect_rows import Snapshot
from pipeline.feeds.databases.cursors import CursorType
from tests.feeds.killed_runs import SOAK, kill_between_steps
from tests.landing.raw import events
from tests.support import Outcome, billhouse

# Not imported here: a process that is forked from one with the engine waits for its threads.
pytestmark = pytest.mark.skipif(find_spec("chdb") is None, reason="ClickHouse's engine is not installed: make setup-bench")
USAGE = """
create table usage_events (
    event_id String, sandbox_id String default 'box', user_id LowCardinality(String) default 'ada',
    tokens Decimal(38, 6) default 1.5,
    event_type String default 'usage_recorded', timestamp DateTime64(9, 'Europe/Berlin') default '2026-09-01 10:00:00.123456789',
    inserted_at DateTime64(3) default now64(3), number UInt64 default 1, perhaps Nullable(DateTime)
) engine = MergeTree order by inserted_at
"""
WORDS = ["collect-sql", "clickhouse", "--connection-env", "METERING_URL", "--table", "usage_events"]
BY_TIME = ("--cursor-column", "inserted_at")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    dsn = f"chdb://{tmp_path / 'clickhouse'}"
    monkeypatch.setenv("METERING_URL", dsn)
    client = clickhouse_connect.get_client(dsn=dsn)
    client.command("drop table if exists usage_events")
    client.command(USAGE)
    yield client
    client.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def collect(home: Home, *words: object) -> Outcome:
    return billhouse(home.path, *WORDS, *words, "--json")


def insert(database: Any, *ids: str, **values: str) -> None:
    columns = "".join(f", {name}" for name in values)
    rows = ", ".join("('" + event_id + "'" + "".join(f", {value}" for value in values.values()) + ")" for event_id in ids)
    database.command(f"insert into usage_events (event_id{columns}) values {rows}")


def lines(home: Home) -> list[dict[str, Any]]:
    files = sorted((home.inbox / "usage").iterdir())
    return [json.loads(line, parse_float=str) for path in files for line in path.read_text().splitlines()]


def ids(home: Home) -> list[str]:
    return [str(row["event_id"]) for row in lines(home)]


def test_rows_come_with_all_their_digits_and_landing_has_each_once(home: Home, database: Any) -> None:
    insert(database, "a", tokens="123456789.000001", number="18446744073709551615")
    insert(database, "b", perhaps="'2026-09-01 10:00:00'")
    assert collect(home, *BY_TIME).json["rows"] == 2
    assert collect(home, *BY_TIME).json["files"] == [], "known rows of the overlap are not written again"
    insert(database, "c")
    assert collect(home, *BY_TIME).json["rows"] == 1
    first, second, _ = lines(home)
    assert (first["tokens"], first["number"], first["perhaps"]) == ("123456789.000001", 18446744073709551615, None)
    assert first["timestamp"] == "2026-09-01T08:00:00.123456789Z"
    assert second["perhaps"] == "2026-09-01T10:00:00Z"
    result = billhouse(home.path, "land", *sorted((home.inbox / "usage").iterdir()), "--json").json
    assert (result["quarantined"], sorted(str(row["event_id"]) for row in events(home))) == (0, ["a", "b", "c"])


def test_a_row_that_becomes_visible_late_is_read_within_the_overlap(home: Home, database: Any) -> None:
    for words, found in (((), ["soon", "late"]), (("--overlap", "0s", "--name", "none"), ["soon"])):
        database.command("truncate table usage_events")
        for path in (home.inbox / "usage").glob("*"):
            path.unlink()
        insert(database, "soon", inserted_at="now64(3) - 60")
        collect(home, *BY_TIME, *words)
        insert(database, "late", inserted_at="now64(3) - 120")
        collect(home, *BY_TIME, *words)
        assert ids(home) == found


def test_numbers_dates_and_missing_values_as_cursors(home: Home, database: Any) -> None:
    insert(database, "a", number="5")
    insert(database, "b", number="7", perhaps="'2026-09-01 10:00:00'")
    assert collect(home, "--cursor-column", "number").code == 2
    by_number = ("--cursor-column", "number", "--overlap", "10", "--name", "numbers")
    assert collect(home, *by_number).json["rows"] == 2
    insert(database, "c", number="6")
    assert collect(home, *by_number).json["rows"] == 1
    nullable = collect(home, "--cursor-column", "perhaps", "--name", "nullable").json
    assert (nullable["rows"], nullable["warnings"]) == (1, ["2 rows without a value in 'perhaps' are not collected."])


def test_a_query_and_what_cannot_be_collected(home: Home, database: Any, tmp_path: Path) -> None:
    insert(database, "a", "b")
    query = tmp_path / "query.sql"
    for select, code, message in (
        ("select *, '100%' as share from usage_events where event_id = 'a' -- one of them", 0, ""),
        (
            "select inserted_at, sumState(number) as total from usage_events group by inserted_at",
            2,
            "'total' of query.sql has the type",
        ),
        ("select event_id from usage_events", 2, "has no column 'inserted_at'"),
        ("select event_id as inserted_at from usage_events", 2, "by which rows cannot be followed"),
        ("select nothing from usage_events", 1, "METERING_URL failed"),
    ):
        query.write_text(select)
        words = [*WORDS[:-2], "--query", str(query), *BY_TIME, "--json"]
        outcome = billhouse(home.path, *words)
        assert (outcome.code, message in outcome.json.get("error", "")) == (code, True), outcome.stdout
    assert ids(home) == ["a"]


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("", "is not set"),
        ("mysql://ada:ch-secret-0123456789@host", "no connection string"),
        ("https://ada:ch-secret-0123456789/x@host", "no connection string"),
        ("https://ada:ch-secret-0123456789]@host", "no connection string"),
        ("http://ada:ch-secret-0123456789@clickhouse.invalid:8123/default", "is not encrypted"),
        ("clickhouse://ada:ch-secret-0123456789@clickhouse.invalid", "is not encrypted"),
        ("http://ada:ch-secret-0123456789@127.0.0.1:1/default", "failed"),
    ],
)
def test_the_password_goes_nowhere_unencrypted_and_is_not_shown(
    dsn: str, message: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERING_URL", dsn)
    failed = collect(home, *BY_TIME)
    assert failed.code in (1, 2)
    assert message in failed.json["error"]
    assert "ch-secret" not in failed.stdout + failed.stderr


def test_an_error_after_some_rows_is_an_error_and_the_next_run_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers 200 before it has read all rows; then the text of its error follows them."""
    rows = [f'{{"event_id":"{name}","inserted_at":"2026-09-01T10:00:0{place}Z"}}\n' for place, name in enumerate("abc")]
    results = [rows[0] + "Code: 241. DB::Exception: Memory limit exceeded", "".join(rows[1:])]
    asked: list[dict[str, str]] = []

    class Client:
        def raw_stream(self, query: str, parameters: dict[str, str], **_: Any) -> io.BytesIO:
            asked.append(parameters)
            return io.BytesIO(results.pop(0).encode())

        def close(self) -> None:
            pass

    snapshot = Snapshot(CursorType.INSTANT, 2 * 10**15)
    monkeypatch.setenv("METERING_URL", "http://127.0.0.1:8123")
    monkeypatch.setattr(clickhouse_connect, "get_client", lambda **_: Client())
    with patch.object(ClickhouseReader, "snapshot", lambda *_: snapshot):
        failed = collect(home, *BY_TIME)
        assert failed.code == 1
        assert "Memory limit exceeded" in failed.json["error"]
        assert ids(home) == ["a"]
        assert collect(home, *BY_TIME).json["rows"] == 2
    assert asked == [{}, {"since": "2026-09-01T09:50:00+00:00"}], "ten minutes before the last row"


def test_a_connection_that_breaks_is_an_error() -> None:
    class Broken:
        def read(self, _: int) -> bytes:
            raise RuntimeError("IncompleteRead(5 bytes read)")

    with pytest.raises(Exception, match="connection broke"):
        list(_lines(Broken()))  # type: ignore[arg-type]


def test_a_database_is_known_by_its_address_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERING_URL", "https://ada:ch-secret-0123456789@host:8443/metering?secure=true")
    assert Clickhouse("METERING_URL").place == ("clickhouse", "host", "8443", "metering")
    monkeypatch.setenv("METERING_URL", "https://host:8443?database=other")
    other = Clickhouse("METERING_URL").place
    monkeypatch.setenv("METERING_URL", "https://host:8443?database=metering")
    assert other != Clickhouse("METERING_URL").place
    monkeypatch.setenv("METERING_URL", "https://ada:ch-secret-0123456789@host:8443/metering")
    assert "ch-secret" not in repr(Clickhouse("METERING_URL"))


def kill_runs(folder: Path, result: Any) -> None:
    """Kill runs, and send what was added. Called in a process without ClickHouse's engine, whose threads a fork does not have."""
    rows, query = folder / "rows.jsonl", folder / "query.sql"
    query.write_text(f"select * from file('{rows}', 'JSONEachRow', 'event_id String, inserted_at DateTime64(6)')")
    os.environ["METERING_URL"] = "chdb://memory"
    added: list[str] = []

    def add_rows(number: int) -> None:
        added.extend(f"{number}-{each}" for each in range(3))
        row = '{"event_id": "%s", "inserted_at": "2026-09-01 10:00:%02d"}\n'
        with rows.open("a") as file:
            file.writelines(row % (event_id, number % 60) for event_id in added[-3:])

    words = [*WORDS[:-2], "--query", str(query), *BY_TIME]
    result.send((kill_between_steps(folder / "home", words, add_rows, [5, 12]), added))


def test_a_run_may_be_killed_between_every_two_steps(home: Home, tmp_path: Path) -> None:
    """Rows come from a file that the engine reads, so that it runs in the killed process alone."""
    spawning = multiprocessing.get_context("spawn")
    receiver, sender = spawning.Pipe(duplex=False)
    process = spawning.Process(target=kill_runs, args=(tmp_path, sender), daemon=True)
    process.start()
    assert receiver.poll(120 + 2 * SOAK), "the kills take too long"
    kills, added = receiver.recv()
    process.join(30)
    assert kills >= 2
    assert sorted(set(ids(home))) == sorted(added)
