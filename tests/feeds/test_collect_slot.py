"""A logical replication slot of PostgreSQL: each committed row comes, however late its transaction ends."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from pipeline.core.home import Home
from pipeline.feeds import position
from pipeline.feeds.databases import replication_slot
from pipeline.feeds.databases.pgoutput import parse_message
from tests.feeds.killed_runs import kill_between_steps
from tests.feeds.postgresql_server import postgresql_server, run_sql
from tests.landing.raw import events
from tests.support import Outcome, billhouse

USAGE = """
create table usage_events (
    event_id text primary key, sandbox_id text default 'box', user_id text default 'ada', tokens numeric default 1.50,
    event_type text default 'usage_recorded', "timestamp" timestamptz default '2026-09-01 10:00:00.123456+00', note text,
    tags text[] default '{a,"b c"}', document json default E'{"a":\\n1.10}', bytes bytea default '\\xdeadbeef',
    flag bool default true,
    char_code char(3) default 'x'
)
"""
WORDS = ["collect-sql", "postgresql", "--connection-env", "METERING_URL", "--slot", "billhouse"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as dsn:
        yield dsn


@pytest.fixture
def database(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("METERING_URL", server)
    run_sql(
        server, "drop schema public cascade", "create schema public", USAGE, "create publication billhouse for table usage_events"
    )
    create_slot(server)
    yield server
    drop_slot(server)
    run_sql(server, "drop publication if exists billhouse")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def create_slot(database: str) -> None:
    run_sql(database, "select pg_create_logical_replication_slot('billhouse', 'pgoutput')")


def drop_slot(database: str) -> None:
    run_sql(database, "select pg_drop_replication_slot(slot_name) from pg_replication_slots")


def collect(home: Home, *words: object) -> Outcome:
    return billhouse(home.path, *WORDS, *words, "--json")


def insert(database: str, *ids: str) -> None:
    rows = ", ".join(f"('{event_id}')" for event_id in ids)
    run_sql(database, f"insert into usage_events (event_id) values {rows}")


def lines(home: Home) -> list[dict[str, Any]]:
    files = sorted((home.inbox / "usage").glob("usage-postgresql-billhouse-*"))
    return [json.loads(line, parse_float=str) for path in files for line in path.read_text().splitlines()]


def ids(home: Home) -> list[str]:
    return [str(row["event_id"]) for row in lines(home)]


def test_committed_rows_come_in_the_order_of_their_commits_each_once(home: Home, database: str) -> None:
    with psycopg.connect(database) as late, psycopg.connect(database) as undone:
        late.execute("insert into usage_events (event_id) values ('late')")
        undone.execute("insert into usage_events (event_id) values ('undone')")
        insert(database, "a", "b")
        assert collect(home).json["rows"] == 2
        undone.rollback()
    assert collect(home).json["rows"] == 1
    assert collect(home).json["files"] == []
    assert ids(home) == ["a", "b", "late"]


def test_a_row_is_the_same_as_one_that_is_read_from_the_table(home: Home, database: str) -> None:
    insert(database, "a")
    run_sql(database, "insert into usage_events (event_id, note, tags, document) values ('b', E'x\\ny', null, null)")
    assert collect(home).code == 0
    table = ("--table", "usage_events", "--cursor-column", "timestamp", "--name", "table")
    assert billhouse(home.path, *WORDS[:-2], *table).code == 0
    (by_slot,) = (home.inbox / "usage").glob("usage-postgresql-billhouse-*")
    (by_table,) = (home.inbox / "usage").glob("table-*")
    assert sorted(by_slot.read_bytes().splitlines()) == sorted(by_table.read_bytes().splitlines())
    assert lines(home)[0]["tags"] == ["a", "b c"]
    landed = billhouse(home.path, "land", by_slot, by_table, "--json").json
    assert (landed["quarantined"], [row["event_id"] for row in events(home)]) == (0, ["a", "b"])


def test_many_rows_of_one_transaction_come_in_several_files(home: Home, database: str) -> None:
    run_sql(database, "insert into usage_events (event_id) select 'e' || n from generate_series(1, 25) as n")
    insert(database, "last")
    few = (patch.object(replication_slot, "_ROWS_AT_ONCE", 4), patch.object(position, "ROWS_PER_FILE", 10))
    with few[0], few[1], patch.object(replication_slot, "CHANGES_AT_ONCE", 5):
        result = collect(home).json
    assert (result["rows"], len(result["files"])) == (26, 4)
    assert ids(home) == [*(f"e{number}" for number in range(1, 26)), "last"]


def test_changes_outside_the_publication_do_not_hold_the_log(home: Home, database: str) -> None:
    collect(home)
    before = run_sql(database, "select confirmed_flush_lsn from pg_replication_slots")
    run_sql(database, "create table other as select 1 as n")
    assert collect(home).json["rows"] == 0
    assert run_sql(database, f"select confirmed_flush_lsn > '{before[0][0]}' from pg_replication_slots") == [(True,)]


def test_an_update_comes_whole_and_a_deletion_is_reported(home: Home, database: str) -> None:
    insert(database, "a", "b")
    long = "select string_agg(md5(n::text), '') from generate_series(1, 400) as n"
    run_sql(
        database,
        "alter table usage_events replica identity full",
        f"update usage_events set note = ({long}) where event_id = 'a'",
        "update usage_events set tokens = 7 where event_id = 'a'",
        "delete from usage_events where event_id = 'b'",
    )
    result = collect(home).json
    assert [(row["event_id"], str(row["tokens"]), len(row["note"] or "")) for row in lines(home)] == [
        ("a", "1.50", 0),
        ("b", "1.50", 0),
        ("a", "1.50", 12800),
        ("a", "7", 12800),
    ]
    assert "Rows were deleted from public.usage_events, 1 times" in result["warnings"][0]


def test_an_update_without_a_long_value_stops_before_it(home: Home, database: str) -> None:
    insert(database, "a")
    long = "select string_agg(md5(n::text), '') from generate_series(1, 400) as n"
    run_sql(database, f"update usage_events set note = ({long})", "update usage_events set tokens = 7")
    failed = collect(home)
    assert failed.code == 1
    assert "does not contain the value of 'note'" in failed.json["error"]
    assert len(lines(home)) == 2


def test_a_table_that_changes_is_read_with_its_new_columns(home: Home, database: str) -> None:
    insert(database, "a")
    run_sql(
        database,
        "alter table usage_events add column vcpus int default 2, drop column tags",
        "insert into usage_events values ('b')",
    )
    assert collect(home).json["rows"] == 2
    assert [row.get("vcpus") for row in lines(home)] == [None, 2]
    run_sql(database, "alter table usage_events add column price money default 5", "insert into usage_events values ('c')")
    refused = collect(home)
    assert (refused.code, "'price' of public.usage_events has the type money" in refused.json["error"]) == (2, True)


def test_changes_that_another_program_took_are_an_error(home: Home, database: str) -> None:
    insert(database, "a")
    assert collect(home).code == 0
    insert(database, "stolen")
    run_sql(database, "select pg_replication_slot_advance('billhouse', pg_current_wal_lsn())")
    failed = collect(home)
    assert failed.code == 1
    assert "are lost to it" in failed.json["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"server": "another-1"}, "another server"), ({"lsn": "x"}, "cannot be read"), ({"lsn": None}, "cannot be read")],
)
def test_a_position_of_another_server_is_an_error(change: dict[str, Any], message: str, home: Home, database: str) -> None:
    """Its changes at that position are others: to go on there would miss some."""
    assert collect(home).code == 0
    (record,) = home.collecting.glob("*.json")
    stored = json.loads(record.read_text())
    record.write_text(json.dumps(stored | {"position": stored["position"] | change}))
    failed = collect(home)
    assert failed.code == 1
    assert message in failed.json["error"]


def test_a_slot_that_is_missing_or_of_another_kind_is_explained(home: Home, database: str) -> None:
    drop_slot(database)
    missing = collect(home)
    assert (missing.code, "select pg_create_logical_replication_slot" in missing.json["next_step"]) == (2, True)
    run_sql(database, "select pg_create_logical_replication_slot('billhouse', 'test_decoding')")
    assert "plugin is not pgoutput" in collect(home).json["error"]
    assert "no publication other" in collect(home, "--publication", "other").json["error"]


@pytest.mark.parametrize(
    "message", [b"", b"?", b"I\0\0", b"I\0\0\0\1X", b"I\0\0\0\1N\0\1t\0\0\0\5ab", b"R\0\0\0\1name", b"U\0\0\0\1X"]
)
def test_a_broken_message_is_an_error_and_not_a_row(message: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        parse_message(message)


def test_a_run_may_be_killed_between_every_two_steps(home: Home, database: str) -> None:
    added: list[str] = []

    def add_rows(number: int) -> None:
        added.extend(f"{number}-{each}" for each in range(3))
        with psycopg.connect(database) as late:  # begins first, ends last
            late.execute("insert into usage_events (event_id) values (%s)", [added[-3]])
            insert(database, *added[-2:])

    kills = kill_between_steps(home.path, WORDS, add_rows, [8, 11, 14, 17])
    assert kills >= 6
    files = sorted((home.inbox / "usage").iterdir())
    assert billhouse(home.path, "land", *files, "--json").json["quarantined"] == 0
    assert sorted(str(row["event_id"]) for row in events(home)) == sorted(added)


def test_what_was_stored_before_the_slot_was_advanced_is_not_written_again(home: Home, database: str) -> None:
    insert(database, "a")
    ask = replication_slot._Look._value

    def fail_to_advance(look: Any, query: str, *parameters: Any) -> Any:
        if "advance" in query:
            raise psycopg.OperationalError("the connection is gone")
        return ask(look, query, *parameters)

    with patch.object(replication_slot._Look, "_value", fail_to_advance):
        assert collect(home).code == 1
    assert ids(home) == ["a"]
    insert(database, "b")
    assert collect(home).json["rows"] == 1
    assert ids(home) == ["a", "b"]
