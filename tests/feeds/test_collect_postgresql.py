"""Rows of PostgreSQL after a cursor: all of them, with all their digits, also those that are committed late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from pipeline.core.home import Home
from pipeline.feeds import position
from pipeline.feeds.databases import collect_rows, cursors
from pipeline.feeds.databases.postgresql import Postgresql
from tests.feeds.killed_runs import kill_between_steps
from tests.feeds.postgresql_server import postgresql_server, run_sql
from tests.landing.raw import events
from tests.support import Outcome, billhouse

USAGE = """
create table usage_events (
    id bigserial primary key, event_id text, sandbox_id text default 'box', user_id text default 'ada', tokens numeric default 1,
    event_type text default 'usage_recorded', "timestamp" timestamptz default '2026-09-01 10:00+00',
    inserted_at timestamptz default clock_timestamp(), transaction_id xid8 default pg_current_xact_id()
)
"""
BY_TIME = ("--table", "usage_events", "--cursor-column", "inserted_at")
BY_TRANSACTION = ("--table", "usage_events", "--cursor-column", "transaction_id")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as dsn:
        yield dsn


@pytest.fixture
def database(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("METERING_URL", server)
    run_sql(server, "drop schema public cascade", "create schema public", USAGE)
    return server


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def collect(home: Home, *words: object) -> Outcome:
    return billhouse(home.path, "collect-sql", "postgresql", "--connection-env", "METERING_URL", *words, "--json")


def insert(database: str, *ids: str, **values: str) -> None:
    columns = "".join(f", {name}" for name in values)
    rows = ", ".join(f"('{event_id}'{''.join(f', {value}' for value in values.values())})" for event_id in ids)
    run_sql(database, f"insert into usage_events (event_id{columns}) values {rows}")


def lines(home: Home) -> list[dict[str, Any]]:
    """The rows in the inbox, in the order of files and lines."""
    files = sorted((home.inbox / "usage").iterdir())
    return [json.loads(line, parse_float=str) for path in files for line in path.read_text().splitlines()]


def ids(home: Home) -> list[str]:
    return [str(row["event_id"]) for row in lines(home)]


def landed(home: Home) -> list[str]:
    """Land all of the inbox; the events that are there once."""
    result = billhouse(home.path, "land", *sorted((home.inbox / "usage").iterdir()), "--json")
    assert (result.code, result.json["quarantined"]) == (0, 0), result.stdout
    return sorted(str(row["event_id"]) for row in events(home))


def test_a_run_reads_what_is_new_and_landing_has_each_row_once(home: Home, database: str) -> None:
    insert(database, "a", "b")
    first = collect(home, *BY_TIME)
    assert (first.code, first.json["rows"], first.json["warnings"]) == (0, 2, [])
    assert first.json["source"] == "usage-postgresql-usage_events"
    assert collect(home, *BY_TIME).json["files"] == [], "known rows of the overlap are not written again"
    insert(database, "c")
    assert collect(home, *BY_TIME).json["rows"] == 1
    assert landed(home) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (BY_TIME, ["late", "next", "soon"]),
        ((*BY_TIME, "--overlap", "0s"), ["next", "soon"]),
        (BY_TRANSACTION, ["late", "next", "soon"]),
        (("--table", "usage_events", "--cursor-column", "id", "--overlap", "100"), ["late", "next", "soon"]),
        (("--table", "usage_events", "--cursor-column", "id", "--overlap", "0"), ["next", "soon"]),
    ],
)
def test_a_row_that_is_committed_late_is_read_by_the_next_run(
    words: tuple[str, ...], found: list[str], home: Home, database: str
) -> None:
    """Without an overlap it is missed, which shows that this can happen."""
    with psycopg.connect(database) as open_transaction:
        open_transaction.execute("insert into usage_events (event_id) values ('late')")
        insert(database, "soon")
        assert collect(home, *words).code == 0
        assert "late" not in (ids(home) if list((home.inbox / "usage").iterdir()) else [])
    insert(database, "next")
    assert collect(home, *words).code == 0
    assert sorted(set(ids(home))) == found


def test_a_transaction_id_gives_each_row_to_one_run_alone(home: Home, database: str) -> None:
    for number in range(3):
        insert(database, f"a{number}", f"b{number}")
        assert collect(home, *BY_TRANSACTION).json["rows"] == 2
    assert ids(home) == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert collect(home, *BY_TRANSACTION, "--overlap", "10").code == 2


def test_rows_with_one_instant_are_all_read_also_where_a_file_ends_between_them(home: Home, database: str) -> None:
    insert(database, *(f"e{number}" for number in range(9)), inserted_at="'2026-09-01'")
    stop = RuntimeError("the power is cut")
    with patch.object(position, "ROWS_PER_FILE", 4), patch.object(collect_rows, "_ROWS_AT_ONCE", 2):
        with patch.object(cursors.CursorPosition, "add", autospec=True, side_effect=_failing_after(2, stop)):
            assert collect(home, *BY_TIME).code == 1
        assert len(ids(home)) == 4
        assert collect(home, *BY_TIME).code == 0
    assert landed(home) == [f"e{number}" for number in range(9)]


def _failing_after(calls: int, error: Exception) -> Any:
    add, made = cursors.CursorPosition.add, []

    def failing(*words: Any) -> list[bytes]:
        made.append(words)
        if len(made) > calls:
            raise error
        return add(*words)

    return failing


def test_an_instant_in_the_future_does_not_hide_the_rows_before_it(home: Home, database: str) -> None:
    insert(database, "wrong clock", inserted_at="'2999-01-01'")
    assert collect(home, *BY_TIME).json["rows"] == 1
    insert(database, "a")
    assert collect(home, *BY_TIME).json["rows"] == 1
    assert ids(home) == ["wrong clock", "a"]


def test_rows_without_a_finite_cursor_are_reported(home: Home, database: str) -> None:
    insert(database, "never", inserted_at="null")
    insert(database, "endless", inserted_at="'infinity'")
    insert(database, "a")
    result = collect(home, *BY_TIME).json
    assert (result["rows"], len(result["warnings"])) == (1, 1)
    assert "without a finite value in 'inserted_at'" in result["warnings"][0]


def test_a_write_that_stays_open_longer_than_the_overlap_is_reported(home: Home, database: str) -> None:
    with patch("pipeline.feeds.databases.postgresql._LONG_TRANSACTION_SECONDS", -1), psycopg.connect(database) as writing:
        writing.execute("insert into usage_events (event_id) values ('late')")
        assert "has been open" in collect(home, *BY_TIME).json["warnings"][0]
        assert collect(home, *BY_TRANSACTION).json["warnings"] == []


def test_values_come_with_all_their_digits(home: Home, database: str) -> None:
    run_sql(
        database,
        "create type state as enum ('on', 'off')",
        """create table shapes as select
            1 as id, 12345678901234567890.123456789012345678::numeric as exact, 1.50::numeric(10, 2) as scaled,
            9223372036854775807::bigint as large, 0.1::real as single, 0.1::float8 as double, 'NaN'::numeric as undefined,
            '2026-09-01 12:00:00.123456+02'::timestamptz as at, '2026-09-01 10:00:00'::timestamp as plain,
            date '2026-09-01' as day,
            interval '1 hour 1.5 seconds' as length, '\\xdeadbeef'::bytea as bytes,
            'a7b0c6de-0000-4000-8000-000000000001'::uuid as uuid,
            E'{"a":\\n [1.10, "x\\\\n"]}'::json as document, '{"b": 1.10}'::jsonb as binary_document, true as flag,
            'on'::state as state,
            null::text as missing, E'line\\nend "quoted" \\u00e9'::text as text, array[1.10, null]::numeric[] as list,
            '10.0.0.1'::inet as address""",
    )  # fmt: skip
    assert collect(home, "--table", "shapes", "--cursor-column", "at").code == 0
    (row,) = lines(home)
    assert row == {
        "id": 1,
        "exact": "12345678901234567890.123456789012345678",
        "scaled": "1.50",
        "large": 9223372036854775807,
        "single": "0.1",
        "double": "0.1",
        "undefined": "NaN",
        "at": "2026-09-01T10:00:00.123456+00:00",
        "plain": "2026-09-01T10:00:00",
        "day": "2026-09-01",
        "length": "PT1H1.5S",
        "bytes": "\\xdeadbeef",
        "uuid": "a7b0c6de-0000-4000-8000-000000000001",
        "document": {"a": ["1.10", "x\n"]},
        "binary_document": {"b": "1.10"},
        "flag": True,
        "state": "on",
        "missing": None,
        "text": 'line\nend "quoted" é',
        "list": ["1.10", None],
        "address": "10.0.0.1",
    }


@pytest.mark.parametrize(
    ("select", "column", "message"),
    [
        ("select 1 as id, 5::money as price", "id", "'price' of query.sql has the type money"),
        ("select 1 as id, row(1, 2) as pair", "id", "'pair' of query.sql has the type record"),
        ("select 1 as id, point(1, 2) as place", "id", "'place' of query.sql has the type point"),
        ("select 1 as id, 2 as n, 3 as n", "id", "has the column 'n' twice"),
        ("select 1 as id", "at", "has no column 'at'"),
        ("select 'x' as id", "id", "has the type text, by which rows cannot be followed"),
        ("select 1 as id", "id", "--overlap must say"),
        ("", "id", "is empty"),
    ],
)
def test_a_column_that_cannot_be_collected_is_named(
    select: str, column: str, message: str, home: Home, database: str, tmp_path: Path
) -> None:
    (tmp_path / "query.sql").write_text(select)
    refused = collect(home, "--query", tmp_path / "query.sql", "--cursor-column", column)
    assert refused.code == 2
    assert message in refused.json["error"] + refused.json["next_step"]


def test_a_query_may_join_and_end_in_a_comment(home: Home, database: str, tmp_path: Path) -> None:
    insert(database, "a", "b", tokens="1.10")
    query = tmp_path / "query.sql"
    query.write_text("select e.*, '100%' as \"share %s\" from usage_events as e where event_id like 'a%'; -- all of them")
    query.write_text(query.read_text().replace(";", ""))
    assert collect(home, "--query", query, "--cursor-column", "inserted_at").json["source"] == "usage-postgresql-query"
    assert [(row["event_id"], row["tokens"], row["share %s"]) for row in lines(home)] == [("a", "1.10", "100%")]


def test_a_query_cannot_write(home: Home, database: str, tmp_path: Path) -> None:
    run_sql(database, "create function remove() returns int as 'delete from usage_events returning 1' language sql")
    insert(database, "a")
    (tmp_path / "query.sql").write_text("select *, remove() as removed from usage_events")
    refused = collect(home, "--query", tmp_path / "query.sql", "--cursor-column", "inserted_at")
    assert refused.code == 1
    assert "read-only transaction" in refused.json["error"]


def test_a_database_that_was_restored_is_an_error(home: Home, database: str) -> None:
    insert(database, "a")
    collect(home, *BY_TRANSACTION, "--name", "mine")
    record = home.collecting / "mine.json"
    stored = json.loads(record.read_text())
    position = stored["position"]
    for change, message in (
        (position | {"cursor": 10**9}, "or is behind it"),
        (position | {"server": "another-1"}, "it failed over"),
        (position | {"cursor": "x"}, "cannot be read"),
        ({"cursor": 1}, "cannot be read"),
    ):
        record.write_text(json.dumps(stored | {"position": change}))
        failed = collect(home, *BY_TRANSACTION, "--name", "mine")
        assert failed.code == 1
        assert message in failed.json["error"]


@pytest.mark.parametrize(
    ("dsn", "code", "message"),
    [
        (None, 2, "is not set"),
        ("postgresql://ada:pg-secret-0123456789@[::1", 2, "no connection string"),
        ("host=127.0.0.1 port=1 password=pg-secret-0123456789", 1, "failed"),
        ("host=127.0.0.1 port=1 sslmode=pg-secret-0123456789", 1, "failed"),
    ],
)
def test_the_connection_string_is_never_shown(
    dsn: str | None, code: int, message: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERING_URL", dsn) if dsn else monkeypatch.delenv("METERING_URL", raising=False)
    failed = collect(home, *BY_TIME)
    assert failed.code == code
    assert message in failed.json["error"]
    assert "METERING_URL" in failed.json["error"]
    assert "pg-secret" not in failed.stdout + failed.stderr + "".join(path.read_text() for path in home.path.rglob("*.json"))


def test_another_host_is_reached_encrypted_unless_the_connection_string_says_otherwise(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dsn, mode in (("host=db.invalid", "require"), ("host=db.invalid sslmode=disable", "disable"), ("host=localhost", None)):
        monkeypatch.setenv("METERING_URL", dsn)
        with patch("psycopg.connect", side_effect=psycopg.OperationalError("no")) as connect:
            assert collect(home, *BY_TIME, "--name", str(mode).lower()).code == 1
        assert connect.call_args.kwargs.get("sslmode") == mode


@pytest.mark.parametrize(
    ("dsn", "variables", "mode"),
    [
        ("host=localhost hostaddr=10.0.0.1", {}, "require"),
        ("host=localhost,db.invalid", {}, "require"),
        ("hostaddr=127.0.0.1", {}, None),
        ("dbname=a", {}, None),
        ("service=billing", {}, "require"),
        ("dbname=a", {"PGSERVICE": "billing"}, "require"),
        ("dbname=a", {"PGHOST": "db.invalid"}, "require"),
        ("host=localhost", {"PGHOSTADDR": "10.0.0.1"}, "require"),
        ("host=db.invalid", {"PGSSLMODE": "verify-full"}, None),
    ],
)
def test_encryption_is_required_wherever_another_host_is_named(
    dsn: str, variables: dict[str, str], mode: str | None, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGSSLMODE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {**variables, "METERING_URL": dsn}.items():
        monkeypatch.setenv(variable, value)
    with patch("psycopg.connect", side_effect=psycopg.OperationalError("no")) as connect:
        assert collect(home, *BY_TIME).code == 1
    assert connect.call_args.kwargs.get("sslmode") == mode


def test_a_position_is_that_of_one_server_and_database(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER")
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)

    def place(dsn: str) -> tuple[str, ...]:
        monkeypatch.setenv("METERING_URL", dsn)
        return Postgresql("METERING_URL").place

    strings = ("dbname=a", "service=a", "host=a", "hostaddr=10.0.0.1", "host=a hostaddr=10.0.0.1", "port=1", "user=ada")
    places = {place(dsn) for dsn in strings}
    assert len(places) == len(strings)
    for variable in variables:
        with monkeypatch.context() as set_in_environment:
            set_in_environment.setenv(variable, "10.0.0.2")
            places.add(place("connect_timeout=1"))
    assert len(places) == len(strings) + len(variables) - 1, "the name of the user is that of the database"


def test_the_command_needs_one_place_to_read_from(home: Home, database: str) -> None:
    for words in (
        ("--table", "t"),
        ("--cursor-column", "id"),
        ("--table", "t", "--query", "q.sql", "--cursor-column", "id"),
        ("--slot", "s", "--cursor-column", "id"),
        ("--table", "t", "--cursor-column", "id", "--publication", "p"),
        ("--table", "missing.sql", "--query", "/missing.sql", "--cursor-column", "id"),
        (*BY_TIME, "--overlap", "ten"),
        (*BY_TIME, "--kind", "usage", "--source", "cloudevents"),
    ):
        assert collect(home, *words).code == 2, words
    missing = collect(home, "--table", "missing", "--cursor-column", "id")
    assert (missing.code, 'relation "missing" does not exist' in missing.json["error"]) == (1, True)


@pytest.mark.parametrize("words", [BY_TIME, BY_TRANSACTION])
def test_a_run_may_be_killed_between_every_two_steps(words: tuple[str, ...], home: Home, database: str) -> None:
    added: list[str] = []

    def add_rows(number: int) -> None:
        added.extend(f"{number}-{each}" for each in range(3))
        insert(database, *added[-3:])

    command = ["collect-sql", "postgresql", "--connection-env", "METERING_URL", *words]
    kills = kill_between_steps(home.path, command, add_rows, [6, 9, 12])
    assert kills >= 4
    assert landed(home) == sorted(added)
