"""Sources of a user's own: what a select may give and do, and what happens to every row of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.home import Home
from pipeline.landing import LandedFile, LandingSummary, land_files, retry_quarantined
from pipeline.landing.landing_totals import LandingTotals
from pipeline.landing.preview import preview
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources import select_rows, worker
from pipeline.landing.sources.source_files import all_sources, find_source
from pipeline.warehouse.reports import read_status
from tests.landing.raw import event_line, events, landed_files, quarantined, rows_of, write_lines
from tests.support import billhouse

MINE = """
select
    file_row,
    row -> '$.id' as event_id,
    row ->> '$.box' as sandbox_id,
    'ada' as user_id,
    row ->> '$.t' as timestamp,
    'sandbox_started' as event_type,
    cast(row ->> '$.cpu' as decimal(18, 6)) as vcpu_count
from rows
where row ->> '$.skip' is distinct from 'yes'
"""
AT = "2026-01-01T10:00:00Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of JSON lines."""

    def write(*rows: Any, name: str = "rows.jsonl") -> Path:
        return write_lines(tmp_path / name, [row if isinstance(row, str | bytes) else json.dumps(row) for row in rows])

    return write


def define(home: Home, sql: str, name: str = "mine", kind: str = "usage", header: str = "") -> None:
    home.sources.mkdir(exist_ok=True)
    (home.sources / f"{name}.sql").write_text(f"-- description: mine\n-- kind: {kind}\n{header}{sql}")


def land_mine(home: Home, *paths: Path, **options: Any) -> LandingSummary:
    return land_files(home, paths, source=find_source(home, "mine"), **options)


def one(summary: LandingSummary) -> LandedFile:
    assert summary.problems == []
    (file,) = summary.files
    assert file.received == file.accepted + file.duplicates + file.quarantined + file.omitted
    return file


def problem(summary: LandingSummary) -> str:
    (found,) = summary.problems
    assert summary.files == []
    return str(found)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "box": f"b{number}", "t": AT, "cpu": "2", **more}


def add_up(home: Home) -> None:
    """What the models check of every landing and of the quarantine."""
    files = landed_files(home)
    assert all(
        file["received_rows"] == file["accepted_rows"] + file["duplicate_rows"] + file["quarantined_rows"] for file in files
    )
    stored, retried = rows_of(home, "quarantine"), rows_of(home, "retried_rows")
    assert sum(file["quarantined_rows"] for file in files) == len(stored)
    assert len({(found["file_id"], found["file_row"]) for found in stored}) == len(stored)
    assert sum(file["superseded_rows"] or 0 for file in files) == len(retried)
    assert sum(file["accepted_rows"] for file in files) == len(rows_of(home))
    with duckdb.connect() as connection:
        totals = LandingTotals.of(connection, sorted((home.raw / "landed_files").glob("[0-9m]*.parquet")))
    assert totals.received == totals.accepted + totals.duplicates + totals.quarantined
    assert totals.quarantined == len(stored) - len(retried)
    status = read_status(home)["landed"]
    assert [status[name] for name in ("received", "accepted", "duplicate", "quarantined")] == [
        *(totals.received, totals.accepted, totals.duplicates, totals.quarantined)
    ]


def test_each_row_lands_is_omitted_or_is_quarantined_as_it_came(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE)
    bad_cast = '{"id": "e3", "box": "b3", "t": "2026-01-01T10:00:00Z", "cpu":   "two"}'
    path = lines(
        row(1),
        row(2, skip="yes"),
        bad_cast,
        "not json",
        b"\xff\xfe",
        '{"id": "a", "id": "b"}',
        row(7, t="2099-01-01T10:00:00Z"),
        row(8, box=None),
        "",
        row(1),
        '"text"',
        '{"a": {"b": {"c": 1, "c": 2}}}',
    )
    file = one(land_mine(home, path))
    assert (file.received, file.accepted, file.duplicates, file.omitted) == (11, 1, 1, 1)
    assert file.by_reason == {"future_timestamp": 1, "missing_field": 1, "unreadable": 6}
    found = {item["file_row"]: item for item in quarantined(home)}
    assert sorted(found) == [3, 4, 5, 6, 7, 8, 11, 12]
    assert found[3]["raw_row"] == bad_cast, "as it came"
    assert "Could not convert string" in found[3]["detail"] and "two" in found[3]["detail"]
    assert "A key occurs twice" in found[6]["detail"] and "A key occurs twice" in found[12]["detail"]
    assert found[5]["raw_row"] == "\\xFF\\xFE"
    assert json.loads(found[7]["raw_row"]) == row(7, t="2099-01-01T10:00:00Z")
    assert found[7]["event_id"] == "e7"
    add_up(home)


def test_rows_that_fail_are_found_among_many(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE)
    bad = {17, 500, 501, 1999}
    file = one(land_mine(home, lines(*(row(number, cpu="x" if number in bad else "1") for number in range(1, 2001)))))
    assert (file.accepted, file.by_reason) == (1996, {"unreadable": 4})
    assert {item["file_row"] for item in quarantined(home)} == bad


def test_where_most_rows_fail_none_is_lost(home: Home, lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    define(home, MINE)
    file = one(land_mine(home, lines(*(row(number, cpu="x" if number % 7 else "1") for number in range(1, 3001)))))
    assert file.received == 3000
    # After a thousand failing rows a failing range is not searched further; its rows can be checked again.
    assert file.quarantined >= 2571 and file.accepted + file.quarantined == 3000
    add_up(home)


def test_a_row_that_becomes_several_is_quarantined_once_and_the_others_land(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE.replace("from rows", "from (select file_row, unnest(row -> '$[*]') as row from rows)"))
    path = lines(
        [row(1), row(2)],
        [row(3), row(4, t="2099-01-01T10:00:00Z"), row(5, t="2099-01-01T10:00:00Z")],
        [],
        [row(3)],
    )
    file = one(land_mine(home, path))
    assert (file.accepted, file.duplicates, file.by_reason, file.omitted) == (3, 1, {"future_timestamp": 1}, 1)
    assert {(item["event_id"], item["file_row"]) for item in rows_of(home)} == {("e1", 1), ("e2", 1), ("e3", 2)}
    (stored,) = quarantined(home)
    assert (stored["file_row"], len(json.loads(stored["raw_row"]))) == (2, 3)
    add_up(home)
    define(
        home,
        MINE.replace("from rows", "from (select file_row, unnest(row -> '$[*]') as row from rows)").replace("'$.t'", "'$.u'"),
    )


def test_quarantined_rows_are_checked_again_with_the_source_as_it_is_now(home: Home, lines: Callable[..., Path]) -> None:
    unnested = MINE.replace("from rows", "from (select file_row, unnest(row -> '$[*]') as row from rows)")
    define(home, unnested)
    path = lines([row(1), row(2, t="2099-01-01T10:00:00Z"), row(3, cpu="-1")], [row(4, cpu="x"), row(5)], [row(6, cpu="x")])
    first = one(land_mine(home, path))
    assert (first.accepted, first.quarantined) == (1, 3)
    unchanged = one(retry_quarantined(home))
    assert (unchanged.accepted, unchanged.quarantined, unchanged.landed_as) == (0, 3, None)
    fixed = unnested.replace("row ->> '$.t'", "left(row ->> '$.t', 0) || '2026-01-01T10:00:00Z'").replace(
        "cast(row ->> '$.cpu' as decimal(18, 6))", "abs(try_cast(row ->> '$.cpu' as decimal(18, 6)))"
    )
    define(home, fixed.replace("is distinct from 'yes'", "is distinct from 'yes' and row ->> '$.id' <> 'e6'"))
    again = one(retry_quarantined(home, ["rows.jsonl"]))
    # Of the first row e1 had landed; the second, which failed as a whole, becomes two; the third is left out now.
    assert (again.accepted, again.duplicates, again.quarantined, again.omitted) == (4, 0, 0, 1)
    assert [item["event_id"] for item in events(home)] == ["e1", "e2", "e3", "e4", "e5"]
    assert quarantined(home) == []
    add_up(home)
    assert retry_quarantined(home).files == []


def test_the_same_file_once_more_checks_its_quarantined_rows_again(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE)
    path = lines(row(1), row(2, cpu="x"), row(3, skip="yes"))
    assert one(land_mine(home, path)).quarantined == 1
    again = one(land_mine(home, path))
    assert again.is_already_landed
    assert (again.received, again.accepted, again.duplicates, again.quarantined, again.omitted) == (3, 0, 1, 1, 1)
    # A changed source reads the file as a new one, so that rows that it had left out can land.
    define(home, MINE.replace("where", "-- where"))
    changed = one(land_mine(home, path))
    assert (changed.accepted, changed.duplicates, changed.quarantined) == (1, 1, 1)
    # What is omitted without a row in quarantine stays counted.
    third = one(land_mine(home, lines(row(9), row(8, skip="yes"), name="other.jsonl")))
    assert (third.accepted, third.omitted) == (2, 0)


def test_a_source_that_is_gone_or_gives_another_kind_leaves_its_rows_in_quarantine(
    home: Home, lines: Callable[..., Path]
) -> None:
    define(home, MINE)
    land_mine(home, lines(row(1, cpu="x")))
    define(home, MINE, kind="metrics")
    assert "gives metrics now" in problem(retry_quarantined(home))
    (home.sources / "mine.sql").unlink()
    assert "which is gone" in problem(retry_quarantined(home))
    assert len(quarantined(home)) == 1


def test_a_source_of_the_same_name_wins_over_the_built_in_one_and_that_is_said(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE, name="cloudevents")
    shown = billhouse(home.path, "land", "--source", "cloudevents", lines(row(1)))
    assert shown.code == 0 and "not the built-in one" in shown.stderr
    listed = {item["name"]: item for item in billhouse(home.path, "sources", "--json").json["sources"]}
    assert listed["cloudevents"]["replaces_built_in"] and not listed["openmeter"]["replaces_built_in"]
    assert "replaces the built-in one" in billhouse(home.path, "sources").stdout


@pytest.mark.parametrize("compressed", ["", ".gz", ".zst"])
def test_csv_cells_are_columns_and_keys_of_the_row(compressed: str, home: Home, tmp_path: Path) -> None:
    rows = ["the id;box;when", f'007;"b;1";{AT}', "8;b2;soon", f'9;"b\n3";{AT}', "10;b4", f"11;;{AT}"]
    select = (
        "select file_row, \"the id\" as event_id, box as sandbox_id, 'ada' as user_id, {at} as timestamp,"
        " 'sandbox_started' as event_type from rows"
    )
    define(home, select.format(at="row ->> '$.when'"))
    path = tmp_path / f"rows.csv{compressed}"
    codec = {".gz": "gzip", ".zst": "zstd"}.get(compressed)
    with pa.output_stream(str(path), compression=codec) as stream:
        stream.write("\n".join(rows).encode())
    file = one(land_mine(home, path))
    assert (file.accepted, file.by_reason) == (1, {"bad_id": 1, "bad_timestamp": 1, "missing_field": 1, "unreadable": 1})
    assert [(item["event_id"], item["sandbox_id"]) for item in events(home)] == [("007", "b;1")]
    assert {item["header"] for item in quarantined(home)} == {"the id;box;when"}
    define(home, select.format(at=f"replace(\"when\", 'soon', '{AT}')"))
    assert one(retry_quarantined(home)).accepted == 1
    add_up(home)


def test_columns_with_names_that_sql_has_for_others_are_keys_of_the_row(home: Home, tmp_path: Path) -> None:
    header = ["row", "file_name", "ID", "id", '"a""b"', "", "it's", "select"]
    path = write_lines(tmp_path / 'it\'s "odd".csv', [",".join(header), f"r,f,e1,x,box,,ada,{AT}"])
    define(
        home,
        'select file_row, id as event_id, \'box\' as sandbox_id, "it\'s" as user_id, "select" as timestamp,'
        " 'sandbox_started' as event_type, to_json({'row': row ->> '$.row', 'file': file_name}) as metadata from rows",
    )
    assert one(land_mine(home, path)).accepted == 1
    (landed,) = events(home)
    assert (landed["event_id"], landed["sandbox_id"], landed["user_id"]) == ("e1", "box", "ada")
    assert json.loads(landed["metadata"]) == {"row": "r", "file": 'it\'s "odd".csv'}


def test_parquet_columns_are_exact_text_at_landing_and_again(home: Home, tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([2**53 + 1, 5], pa.int64()),
            "cpu": pa.array([Decimal("123456.123456"), Decimal("1.000001")], pa.decimal128(38, 6)),
            "at": pa.array([1_788_256_800_123_456_789, 4_102_444_800_000_000_001], pa.timestamp("ns", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    select = (
        "select file_row, id as event_id, 'b' || id as sandbox_id, 'ada' as user_id, {at} as timestamp,"
        " 'sandbox_started' as event_type, cpu as vcpu_count from rows"
    )
    define(home, select.format(at='"at"'))
    assert one(land_mine(home, tmp_path / "rows.parquet")).by_reason == {"future_timestamp": 1}
    define(home, select.format(at="replace(\"at\", '2100', '2026')"))
    assert one(retry_quarantined(home)).accepted == 1
    first, second = events(home)[::-1]
    assert (first["event_id"], first["vcpu_count"], first["event_at"].microsecond) == (
        str(2**53 + 1),
        Decimal("123456.123456"),
        123456,
    )
    assert (second["event_id"], second["vcpu_count"]) == ("5", Decimal("1.000001"))


def test_numbers_are_exact_and_floats_are_refused(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE.replace("cast(row ->> '$.cpu' as decimal(18, 6))", "row ->> '$.cpu'"))
    numbers = ["2.5", "2.00000000000000000000001", "1e-400", "1e400", "0.1"]
    path = lines(*(json.dumps(row(number)).replace('"2"', text) for number, text in enumerate(numbers)))
    assert one(land_mine(home, path)).by_reason == {"bad_number": 3}
    assert [item["vcpu_count"] for item in events(home)] == [Decimal("2.5"), Decimal("0.1")]
    define(home, MINE.replace("decimal(18, 6))", "integer) / 2"))
    assert "vcpu_count as DOUBLE, which is not exact" in problem(land_mine(home, lines(row(1))))


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (MINE.replace("file_row,", ""), "must give file_row"),
        (MINE.replace("file_row,", "file_row + 1 as file_row,"), "no row of the file"),
        (MINE.replace("file_row,", "null::bigint as file_row,"), "no row of the file"),
        (MINE.replace("file_row,", "[]::bigint[] as file_row,"), "no row of the file"),
        (MINE.replace("file_row,", "'1' as file_row,"), "must give file_row"),
        (MINE.replace("as vcpu_count", "as vcpus"), "gives vcpus, which this kind does not have"),
        (MINE.replace("'ada' as user_id,", ""), "no column user_id"),
        (MINE.replace("'ada' as user_id", "'ada' as user_id, 'x' as user_id"), "gives user_id_1, which this kind does not have"),
        (MINE + ";\n" + MINE, "one select, and nothing else"),
        ("drop table input_rows", "one select, and nothing else"),
        ("selekt 1", "Parser Error"),
        (MINE.replace("from rows", "from elsewhere"), "elsewhere does not exist"),
        (MINE + "-- a comment at the end )", None),
        (MINE.replace("file_row,", "error('no') as metadata, file_row,"), "no"),
        (MINE + ") union all (select 1", "Parser Error"),
    ],
)
def test_a_wrong_select_is_refused_with_the_reason_and_nothing_lands(
    sql: str, reason: str | None, home: Home, lines: Callable[..., Path]
) -> None:
    define(home, sql)
    summary = land_mine(home, lines(row(1), row(2)))
    if reason is None:
        assert one(summary).accepted == 2
        return
    assert reason in (problem(summary) if summary.problems else summary.files[0].example)
    assert rows_of(home) == []


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from read_blob('/proc/self/environ')",
        "select * from glob('/*')",
        "select * from '/etc/passwd.csv'",
        "select * from query('select * from read_text(''/etc/passwd'')')",
        "attach '/tmp/billhouse-attack.db' as stolen",
        "copy (select 1) to '/tmp/billhouse-attack.csv'",
        "set enable_external_access = true",
        "set memory_limit = '100GB'",
        "pragma enable_profiling",
        "load httpfs",
        "install httpfs",
        "create table t as select 1",
        "insert into input_rows select 1, '{}'",
        "call enable_logging()",
        "select * from enable_logging()",
        "select getenv('PATH')",
        "select * from arrow_scan(1, 2, 3)",
        "export database '/tmp/billhouse-attack'",
        "use memory",
        "prepare x as select 1",
    ],
)
def test_a_source_reads_no_file_writes_none_and_changes_no_setting(sql: str, home: Home, lines: Callable[..., Path]) -> None:
    define(home, sql)
    reason = problem(land_mine(home, lines(row(1))))
    assert "root:" not in reason
    assert "The select of source 'mine' fails" in reason
    assert not list(Path("/tmp").glob("billhouse-attack*"))
    define(home, MINE)
    assert one(land_mine(home, lines(row(1)))).accepted == 1


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("length(repeat('x', 5000000000))", "true"),
        ("len(range(5000000000))", "true"),
        ("len(range(5000000000))", "row ->> '$.id' = 'e2'"),
    ],
)
def test_a_select_that_needs_too_much_memory_does_not_take_it(
    value: str, where: str, home: Home, lines: Callable[..., Path]
) -> None:
    define(home, MINE.replace("'ada'", f"case when {where} then {value}::varchar else 'ada' end"))
    file = one(land_mine(home, lines(row(1), row(2), row(3))))
    assert (file.accepted, file.quarantined) == ((0, 3) if where == "true" else (2, 1))


@pytest.mark.parametrize(
    ("endless", "landed"),
    [
        (
            "(with recursive r as (select min(file_name) as n from rows union all select n from r where n = 'slow.jsonl')"
            " select count(*) from r)",
            ["quick.jsonl"],
        ),
        ("(select count(*) from range(100000000000) as a, range(100000000000) as b)", []),
    ],
)
def test_a_select_that_does_not_end_is_ended_and_other_files_land(
    endless: str, landed: list[str], home: Home, lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select_rows, "LEAST_SECONDS", 8)
    slow, quick = lines(row(1), name="slow.jsonl"), lines(row(2), name="quick.jsonl")
    define(home, MINE.replace("'ada'", f"{endless}::varchar"))
    summary = land_mine(home, slow, quick)
    assert [file.file_name for file in summary.files] == landed
    assert "did not end within 8 seconds" in str(summary.problems[0])


def test_a_row_that_becomes_a_million_is_quarantined_and_the_others_land(home: Home, lines: Callable[..., Path]) -> None:
    define(
        home,
        "select file_row, (row ->> '$.id') || place as event_id, 'b' as sandbox_id, 'ada' as user_id, row ->> '$.t' as timestamp,"
        " 'sandbox_started' as event_type"
        " from (select file_row, row, unnest(range(cast(row ->> '$.times' as bigint))) as place from rows)",
    )
    file = one(land_mine(home, lines(row(1, times=3), row(2, times=1_000_000), row(3, times=10_000))))
    assert (file.accepted, file.by_reason) == (10_003, {"unreadable": 1})
    assert "It makes 1000000 rows of this one." in quarantined(home)[0]["detail"]


def test_rows_are_joined_up_to_a_bound(home: Home, lines: Callable[..., Path]) -> None:
    joined = MINE.replace("file_row,", "list(file_row) as file_row,").replace("row -> '$.id'", "min(row ->> '$.id')")
    define(home, joined.replace("cast(row ->> '$.cpu' as decimal(18, 6))", "2") + "group by all")
    file = one(land_mine(home, lines(*(row(1, id=f"e{number:05d}") for number in range(1000)))))
    assert (file.accepted, file.omitted) == (1, 999)
    assert "joins 1,001 rows to one" in problem(land_mine(home, lines(*(row(1, id=f"f{number}") for number in range(1001)))))


def test_characters_that_are_no_text_are_quarantined_and_the_rows_around_them_land(
    home: Home, lines: Callable[..., Path]
) -> None:
    define(home, MINE)
    odd = [
        json.dumps(row(number, box=text)) for number, text in enumerate(["a\ud800", "a\u0000b", "a\u202eb", "x" * 201], start=2)
    ]
    file = one(land_mine(home, lines(row(1), *odd, row(9))))
    assert [item["event_id"] for item in events(home)] == ["e1", "e9"]
    assert file.quarantined == 4


def test_deep_json_is_quarantined_and_the_rows_around_it_land(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE)
    deep = '{"a": ' + "[" * 30_000 + "]" * 30_000 + "}"
    file = one(land_mine(home, lines(row(1), deep, row(3), '{"n": ' + "9" * 5000 + "}", "[" * 60_000, "x" * 70_000)))
    assert (file.accepted, file.received) == (2, 6)
    assert {item["file_row"]: item["reason"] for item in quarantined(home)} == {
        2: "over_limit",
        4: "missing_field",
        5: "over_limit",
        6: "over_limit",
    }


def test_the_process_of_selects_gets_no_key_of_the_environment(
    home: Home, lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_secret")
    with select_rows.SelectProcess() as process:
        define(home, MINE)
        path = home.path / "rows.parquet"
        pq.write_table(pa.table({"file_row": [1], "row": [json.dumps(row(1))]}), path)
        from pipeline.core.home import SEEDS
        from pipeline.landing.specification import specification

        files = [select_rows.FileToSelectFrom(0, "rows.parquet", [])]
        process.run(find_source(home, "mine"), specification(Kind.USAGE, SEEDS), path, 1, files, home.path)
        assert process._process is not None
        environment = Path(f"/proc/{process._process.pid}/environ").read_text()
    assert "sk_test_secret" not in environment and "STRIPE" not in environment and "BILLHOUSE" not in environment


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("select 1", "has no kind"),
        ("-- kind: nonsense\nselect 1", "unknown kind 'nonsense'"),
        ("-- kind: usage\n-- kind: metrics\nselect 1", "'kind' twice"),
        ("-- kind: usage\n-- rows: $[0]\nselect 1", "not the path of a list"),
        (b"-- kind: usage\n\xff", "cannot be read"),
        ("-- kind: usage\n" + "x" * 300_000, "more than"),
    ],
)
def test_a_source_file_with_a_wrong_header_is_refused(text: str | bytes, reason: str, home: Home) -> None:
    home.sources.mkdir()
    (home.sources / "mine.sql").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BillhouseError, match=reason):
        find_source(home, "mine")
    _, problems = all_sources(home)
    assert reason in str(problems[0])
    assert billhouse(home.path, "sources").code == 1


@pytest.mark.parametrize("name", ["nothing", "../mine", "/etc/passwd", "Mine", ""])
def test_there_is_no_source_of_such_a_name(name: str, home: Home, tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text("-- kind: usage\nselect 1")
    with pytest.raises(WrongUsageError, match="There is no source"):
        find_source(home, name)


def test_a_source_cannot_have_the_name_of_a_kind(home: Home) -> None:
    define(home, MINE, name="usage")
    assert "cannot be named 'usage'" in str(all_sources(home)[1][0])


def test_rows_inside_a_document_land_with_a_path_or_a_header(home: Home, tmp_path: Path) -> None:
    document = {
        "next": None,
        "data": {"the events": [json.loads(event_line("e1")), json.loads(event_line("e2", vcpu_count="many"))]},
    }
    path = tmp_path / "page.json"
    path.write_text("\ufeff" + json.dumps(document, indent=2))
    at = '$.data."the events"'
    file = one(land_files(home, [path], rows_at=at))
    assert (file.accepted, file.by_reason) == (1, {"bad_number": 1})
    assert quarantined(home)[0]["file_row"] == 2
    assert one(land_files(home, [path], rows_at=at)).is_already_landed
    assert one(retry_quarantined(home)).by_reason == {"bad_number": 1}
    define(home, MINE, header="-- rows: $.list\n")
    (tmp_path / "mine.json").write_text(json.dumps({"list": [row(7), row(8, cpu="x")]}))
    assert one(land_mine(home, tmp_path / "mine.json")).by_reason == {"unreadable": 1}
    assert [item["event_id"] for item in events(home)] == ["e1", "e7"]
    define(
        home, MINE.replace("decimal(18, 6))", "decimal(18, 6))").replace("cast(row", "try_cast(row"), header="-- rows: $.list\n"
    )
    assert one(retry_quarantined(home, ["mine.json"])).accepted == 1


@pytest.mark.parametrize(
    ("content", "at", "reason"),
    [
        (b'{"data": 5}', "$.data", "has no list of rows at"),
        (b'{"data": []}', "$.other", "has no list of rows at"),
        (b'{"data": [', "$.data", "is not one JSON document"),
        (b'{"data": ["\xff"]}', "$.data", "is not UTF-8"),
    ],
)
def test_a_document_without_rows_at_the_path_is_refused(content: bytes, at: str, reason: str, home: Home, tmp_path: Path) -> None:
    (tmp_path / "page.json").write_bytes(content)
    assert reason in problem(land_files(home, [tmp_path / "page.json"], rows_at=at))


def test_numbers_of_a_document_are_exact(home: Home, tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text(
        '{"data": [' + event_line("e1", vcpu_count=7).replace("7", "2.00000000000000000000001") + "]}"
    )
    assert one(land_files(home, [tmp_path / "page.json"], rows_at="$.data")).by_reason == {"bad_number": 1}


def test_a_dry_run_shows_what_would_land_and_lands_nothing(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE)
    path = lines(row(1), row(2, cpu="x"), row(3, skip="yes"), row(4, t="2099-01-01T10:00:00Z"))
    before = {found: found.read_bytes() for found in home.raw.rglob("*") if found.is_file()}
    shown = billhouse(home.path, "land", "--source", "mine", "--dry-run", path)
    assert shown.code == 0, shown.stderr
    for text in (
        "4 rows received = 1 would be accepted + 0 duplicates + 2 would be quarantined + 1 omitted by the source.",
        "line 1: event_id=e1, sandbox_id=b1, user_id=ada, event_at=2026-01-01T10:00:00Z, event_type=sandbox_started",
        "quarantine line 2, unreadable",
        "quarantine line 4, future_timestamp",
        "Nothing was landed.",
    ):
        assert text in shown.stdout
    assert landed_files(home) == [] and rows_of(home) == []
    after = {found: found.read_bytes() for found in home.raw.rglob("*") if found.is_file()}
    assert before.items() <= after.items() and all(found.name.startswith("_schema") for found in after.keys() - before.keys())
    one(land_mine(home, path))
    found = preview(home, path, source=find_source(home, "mine"))
    assert (found.accepted, found.duplicates, found.quarantined, found.omitted) == (0, 1, 2, 1)


def test_a_dry_run_without_a_source_shows_the_same(home: Home, lines: Callable[..., Path]) -> None:
    path = lines(event_line("e1", vcpu_count=2), event_line("e2", vcpu_count=-1))
    found = billhouse(home.path, "land", "--dry-run", path, "--json").json["files"][0]
    assert (found["accepted"], found["by_reason"]) == (1, {"bad_number": 1})
    assert found["rows"][0]["event_id"] == "e1" and json.loads(found["quarantined_rows"][0]["raw_row"])["event_id"] == "e2"
    assert landed_files(home) == []


@pytest.mark.parametrize("words", [["--again"], ["--kind", "usage"]])
def test_options_that_exclude_each_other_are_refused(words: list[str], home: Home, lines: Callable[..., Path]) -> None:
    assert billhouse(home.path, "land", "--source", "openmeter", *words, lines(row(1))).code == 2


def test_records_land_through_a_source_and_a_null_of_the_select_names_nothing(home: Home, lines: Callable[..., Path]) -> None:
    define(
        home,
        "select file_row, row ->> '$.who' as customer_id, row ->> '$.mail' as email, null as name from rows",
        kind="customers",
    )
    one(land_mine(home, lines({"who": "ada", "mail": "a@example.com"})))
    (stored,) = rows_of(home, "customers")
    assert (stored["customer_id"], stored["email"], stored["name"], stored["cleared_fields"]) == (
        "ada",
        "a@example.com",
        None,
        None,
    )


def test_a_source_that_leaves_out_every_row_is_warned_about(home: Home, lines: Callable[..., Path]) -> None:
    define(home, MINE)
    shown = billhouse(home.path, "land", "--source", "mine", lines(row(1, skip="yes"), row(2, skip="yes")))
    assert "1 file(s): 2 rows received = 0 accepted + 0 duplicates + 0 in quarantine + 2 omitted by the source." in shown.stdout
    assert "left out all rows" in shown.stdout


def test_the_worker_needs_nothing_of_the_project() -> None:
    source = Path(worker.__file__).read_text()
    assert "import pipeline" not in source and "from pipeline" not in source
