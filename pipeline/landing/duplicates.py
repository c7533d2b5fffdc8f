"""Tells new rows from repeats and from contradictions, in the file and against all that landed. Billing rules, section 3."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from pipeline.core.home import Home
from pipeline.core.sql import parquet_files
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import Specification

VOIDED_BY = {Kind.USAGE: "event_id", Kind.CREDIT_GRANTS: "grant_id"}
"""The kinds of record that voids take back, and the column of raw/voids that holds their id."""


def judge(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """Table `sound` -> table `judged(file_row, verdict, detail)` for its rows that are not plainly new.

    Plainly new, and accepted, is what shares its key with no other row of the file and none that landed, whose id is not voided,
    and whose sandbox no two users name: almost all of it, almost always. verdict: accepted, duplicate, or the reason of a
    quarantine. Orphans of killed landings must be gone before.
    """
    _find_voided(connection, home, specification)
    _find_suspects(connection, home, specification)
    if not is_filled(connection, "suspects"):
        # What landed need not be opened again.
        connection.execute("create or replace temp table judged (file_row bigint, verdict varchar, detail varchar)")
    elif specification.latest_stands:
        _latest_stands(connection, home, specification)
    else:
        _first_stands(connection, home, specification)


def _find_voided(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """Table `voided(id, voided_at)`: the ids of this kind of record that landed voids take back."""
    column = VOIDED_BY.get(specification.kind)
    voids = parquet_files(home.raw / "voids", "**", "*.parquet")
    chosen = (
        f"select {column} as id, voided_at from {voids} where {column} is not null"
        if column is not None
        else "select null::varchar as id, null::timestamptz as voided_at where false"
    )
    connection.execute(f"create or replace temp table voided as {chosen}")


def _find_suspects(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """Table `suspects`: rows of `sound` that have to be looked at beside others, and all of those others."""
    keys = ", ".join(specification.key)
    beside, bounds = _history_beside(connection, home, specification, "sound")
    connection.execute(
        f"""
        create or replace temp table shared_keys as
        -- A hash is sooner counted than what it is of; of two keys with the same hash none is new for certain.
        select {keys} from sound
        where hash({keys}) in (select hash({keys}) from sound group by hash({keys}) having count(*) > 1)
        union
        select {keys} from {beside} where ({keys}) in (select ({keys}) from sound)""",
        bounds,
    )
    if is_filled(connection, "voided"):
        key = specification.key[0]
        connection.execute(f"insert into shared_keys select {key} from sound where {key} in (select id from voided)")
    is_suspect, shared = f"({keys}) in (select ({keys}) from shared_keys)", ["shared_keys"]
    if specification.kind is Kind.USAGE:
        connection.execute(f"""
            create or replace temp table shared_sandboxes as
            with owners as (
                select sandbox_id, min(user_id) as least, max(user_id) as greatest
                from sound group by sandbox_id
            ),
            owners_before as (
                select sandbox_id, min(user_id) as user_id
                from {_history(home, specification)}
                where sandbox_id in (select sandbox_id from owners) and event_id not in (select id from voided)
                group by sandbox_id
            )
            select owners.sandbox_id
            from owners left join owners_before on owners.sandbox_id = owners_before.sandbox_id
            where owners.least <> owners.greatest or owners_before.user_id <> owners.least""")
        is_suspect += " or sandbox_id in (select sandbox_id from shared_sandboxes)"
        shared.append("shared_sandboxes")
    # Where nothing is shared, as is usual, not even a look at all rows is needed.
    is_any = any(is_filled(connection, table) for table in shared)
    connection.execute(f"create or replace temp table suspects as select * from sound where {is_suspect if is_any else 'false'}")


def is_filled(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table has any row."""
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None


def _history(home: Home, specification: Specification) -> str:
    return parquet_files(home.raw / specification.collection, "**", "*.parquet")


def _history_beside(
    connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification, table: str
) -> tuple[str, dict[str, Any]]:
    """What landed before and may share a key with a table's rows: a query, and its parameters.

    Keys out of the table's range are passed over by what the files say of themselves, unread. Where ids grow with time, as
    UUIDv7, ULID and counters do, that is nearly all of history.
    """
    first = specification.key[0]
    ((least, greatest),) = connection.execute(f"select min({first}), max({first}) from {table}").fetchall()
    history = f"(select * from {_history(home, specification)} where {first} between $least and $greatest)"
    return history, {"least": least, "greatest": greatest}


def _content(specification: Specification, of: str) -> str:
    return "struct_pack(" + ", ".join(f"{column} := {of}.{column}" for column in specification.columns) + ")"


def _latest_stands(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """A row repeats, or corrects, the latest before it with the same key."""
    keys = ", ".join(specification.key)
    files = parquet_files(home.raw / "landed_files", "*.parquet")
    history, bounds = _history_beside(connection, home, specification, "suspects")
    connection.execute(
        f"""
        create or replace temp table judged as
        with rows as (
            select files.landed_sequence, history.file_row, {_content(specification, "history")} as content, false as is_new,
                {", ".join("history." + key for key in specification.key)}
            from {history} as history
            inner join {files} as files on history.file_id = files.file_id
            where ({keys}) in (select ({keys}) from suspects)
            union all
            select null, file_row, {_content(specification, "suspects")}, true, {keys}
            from suspects
        ),
        in_order as (
            select *, lag(content) over (partition by {keys} order by landed_sequence nulls last, file_row) as standing
            from rows
        )
        select
            file_row,
            case when content is not distinct from standing then 'duplicate' else 'accepted' end as verdict,
            null::varchar as detail
        from in_order where is_new""",
        bounds,
    )


def _first_stands(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """The first row of a key stands; the same again is a duplicate, anything else contradicts it. No voided id is used again."""
    (key,) = specification.key
    history, bounds = _history_beside(connection, home, specification, "suspects")
    connection.execute(
        f"""
        create or replace temp table standing_before as
        select {key} as key, {_content(specification, "history")} as content, file_id, file_row
        from {history} as history
        where {key} in (select {key} from suspects)""",
        bounds,
    )
    connection.execute(f"""
        create or replace temp table refused_voided as
        select suspects.file_row, voided.voided_at
        from suspects
        inner join voided on suspects.{key} = voided.id
        left join standing_before as before on suspects.{key} = before.key
        where before.key is null or {_content(specification, "suspects")} is distinct from before.content""")
    connection.execute("create or replace temp table strangers (file_row bigint, detail varchar)")
    if specification.kind is Kind.USAGE and is_filled(connection, "shared_sandboxes"):
        _find_strangers(connection, _history(home, specification))
    connection.execute(f"""
        create or replace temp table firsts as
        select {key} as key, min(file_row) as file_row
        from suspects
        where
            {key} not in (select key from standing_before)
            and file_row not in (select file_row from strangers)
            and file_row not in (select file_row from refused_voided)
        group by {key}""")
    connection.execute(f"""
        create or replace temp table judged as
        select
            suspects.file_row,
            case
                when refused_voided.file_row is not null then 'voided_id'
                when strangers.file_row is not null then 'user_mismatch'
                when firsts.file_row = suspects.file_row then 'accepted'
                when {_content(specification, "suspects")} is not distinct from coalesce(before.content, first_rows.content)
                    then 'duplicate'
                else 'conflicting_duplicate'
            end as verdict,
            case
                when refused_voided.file_row is not null then
                    '{key} ''' || left(suspects.{key}, 200) || ''' was voided at '
                    || strftime(refused_voided.voided_at, '%Y-%m-%dT%H:%M:%SZ')
                    || '. A voided id is not used again: send the row under another id.'
                when strangers.file_row is not null then strangers.detail
                when firsts.file_row is distinct from suspects.file_row then
                    '{key} ''' || left(suspects.{key}, 200) || ''' has landed before with other content ('
                    || coalesce('file ' || left(before.file_id, 12) || ', row ' || before.file_row, 'row ' || firsts.file_row)
                    || '): the first counts. {_way_out(specification)}'
            end as detail
        from suspects
        left join refused_voided on suspects.file_row = refused_voided.file_row
        left join strangers on suspects.file_row = strangers.file_row
        left join firsts on suspects.{key} = firsts.key
        left join standing_before as before on suspects.{key} = before.key
        left join (
            select firsts.key, {_content(specification, "rows")} as content
            from firsts inner join suspects as rows on firsts.file_row = rows.file_row
        ) as first_rows on suspects.{key} = first_rows.key""")


def _way_out(specification: Specification) -> str:
    if specification.kind in VOIDED_BY:
        return "If this one is right, void the first (--kind voids), and send this one under an id of its own."
    return "A void is not changed: what it takes back stays taken back."


def _find_strangers(connection: duckdb.DuckDBPyConnection, history: str) -> None:
    """Fill `strangers`: events that name another user than their sandbox's first landed event did.

    A stranger takes neither its id nor its sandbox, so that whether a row is one hangs on the rows before it: the rows of
    sandboxes that several users name, which are few, are judged one after the other.
    """
    connection.execute("""
        create or replace temp table newcomers as
        select file_row, event_id, sandbox_id, user_id
        from suspects
        where
            event_id not in (select key from standing_before)
            and file_row not in (select file_row from refused_voided)""")
    connection.execute(f"""
        create or replace temp table owners_before as
        select sandbox_id, min(user_id) as user_id
        from {history}
        where sandbox_id in (select sandbox_id from newcomers) and event_id not in (select id from voided)
        group by sandbox_id""")
    contested = connection.execute("""
        with contested as (
            select sandbox_id
            from (select sandbox_id, user_id from newcomers union all select sandbox_id, user_id from owners_before)
            group by sandbox_id
            having min(user_id) <> max(user_id)
        ),
        elsewhere as (
            select event_id, min(file_row) as file_row
            from newcomers
            where sandbox_id not in (select sandbox_id from contested)
            group by event_id
        )
        select newcomers.file_row, newcomers.event_id, newcomers.sandbox_id, newcomers.user_id,
            owners_before.user_id, coalesce(elsewhere.file_row < newcomers.file_row, false)
        from newcomers
        inner join contested on newcomers.sandbox_id = contested.sandbox_id
        left join owners_before on newcomers.sandbox_id = owners_before.sandbox_id
        left join elsewhere on newcomers.event_id = elsewhere.event_id
        order by newcomers.file_row""")
    owners: dict[str, str] = {}
    taken: set[str] = set()
    strangers: dict[int, str] = {}
    while rows := contested.fetchmany(10_000):
        for file_row, event_id, sandbox_id, user_id, owner_before, is_taken_elsewhere in rows:
            if is_taken_elsewhere or event_id in taken:
                continue
            owner = owners.setdefault(sandbox_id, owner_before or user_id)
            if user_id == owner:
                taken.add(event_id)
            else:
                strangers[file_row] = owner
    found = pa.table({"file_row": pa.array(strangers.keys(), pa.int64()), "owner": pa.array(strangers.values(), pa.string())})
    connection.register("found", found)
    connection.execute("""
        insert into strangers
        select
            found.file_row,
            'user_id is ''' || left(newcomers.user_id, 200) || ''', but sandbox ''' || left(newcomers.sandbox_id, 200)
            || ''' belongs to ''' || left(found.owner, 200) || ''' by its first event. Check which is right.'
        from found inner join newcomers on found.file_row = newcomers.file_row""")
    connection.unregister("found")
