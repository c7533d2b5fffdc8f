"""Tells new rows from repeats and from contradictions, in the file and against all that landed. Billing rules, section 3."""

from __future__ import annotations

import duckdb

from pipeline.home import Home
from pipeline.kinds import Kind
from pipeline.landing.checks import quoted
from pipeline.landing.specification import Specification


def judge(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """Table `checked` -> table `judged(file_row, verdict, detail)` for its rows without a fault.

    verdict: accepted, duplicate, or the reason of a quarantine. Orphans of killed landings must be gone before.
    """
    if specification.latest_stands:
        _latest_stands(connection, home, specification)
    else:
        _first_stands(connection, home, specification)


def _history(home: Home, specification: Specification) -> str:
    folder = home.raw / specification.collection
    return f"read_parquet({quoted(folder / '**' / '*.parquet')}, hive_partitioning = false, union_by_name = true)"


def _content(specification: Specification, of: str) -> str:
    return "struct_pack(" + ", ".join(f"{column} := {of}.{column}" for column in specification.columns) + ")"


def _latest_stands(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """A row repeats, or corrects, the latest before it with the same key."""
    keys = ", ".join(specification.key)
    files = quoted(home.raw / "landed_files" / "*.parquet")
    connection.execute(f"""
        create or replace temp table judged as
        with rows as (
            select files.landed_sequence, history.file_row, {_content(specification, "history")} as content, false as is_new,
                {", ".join("history." + key for key in specification.key)}
            from {_history(home, specification)} as history
            inner join read_parquet({files}) as files on history.file_id = files.file_id
            where ({keys}) in (select ({keys}) from checked where reason is null)
            union all
            select null, file_row, {_content(specification, "checked")}, true, {keys}
            from checked where reason is null
        ),
        in_order as (
            select *, lag(content) over (partition by {keys} order by landed_sequence nulls last, file_row) as standing
            from rows
        )
        select
            file_row,
            case when content is not distinct from standing then 'duplicate' else 'accepted' end as verdict,
            null::varchar as detail
        from in_order where is_new""")


def _first_stands(connection: duckdb.DuckDBPyConnection, home: Home, specification: Specification) -> None:
    """The first row of a key stands; the same again is a duplicate, anything else contradicts it."""
    (key,) = specification.key
    history = _history(home, specification)
    connection.execute(f"""
        create or replace temp table standing_before as
        select {key} as key, {_content(specification, "history")} as content, file_id, file_row
        from {history} as history
        where {key} in (select {key} from checked where reason is null)""")
    connection.execute("create or replace temp table strangers (file_row bigint, detail varchar)")
    while True:
        connection.execute(f"""
            create or replace temp table firsts as
            select {key} as key, min(file_row) as file_row
            from checked
            where
                reason is null
                and {key} not in (select key from standing_before)
                and file_row not in (select file_row from strangers)
            group by {key}""")
        if specification.kind is not Kind.USAGE or not _find_strangers(connection, history):
            break
    connection.execute(f"""
        create or replace temp table judged as
        select
            checked.file_row,
            case
                when strangers.file_row is not null then 'user_mismatch'
                when firsts.file_row = checked.file_row then 'accepted'
                when {_content(specification, "checked")} is not distinct from coalesce(before.content, first_rows.content)
                    then 'duplicate'
                else 'conflicting_duplicate'
            end as verdict,
            case
                when strangers.file_row is not null then strangers.detail
                when firsts.file_row is distinct from checked.file_row then
                    '{key} ''' || left(checked.{key}, 200) || ''' has landed before with other content ('
                    || coalesce('file ' || left(before.file_id, 12) || ', row ' || before.file_row, 'row ' || firsts.file_row)
                    || '): the first stands. If this one is right, send it under an id of its own.'
            end as detail
        from checked
        left join strangers on checked.file_row = strangers.file_row
        left join firsts on checked.{key} = firsts.key
        left join standing_before as before on checked.{key} = before.key
        left join (
            select firsts.key, {_content(specification, "rows")} as content
            from firsts inner join checked as rows on firsts.file_row = rows.file_row
        ) as first_rows on checked.{key} = first_rows.key
        where checked.reason is null""")


def _find_strangers(connection: duckdb.DuckDBPyConnection, history: str) -> bool:
    """Events that name another user than their sandbox's first landed event did. They do not land, so that whatever they
    stood for (the first event of an id, the owner of a sandbox) is judged anew: says whether there was one more.
    """
    found = connection.execute(f"""
        insert into strangers
        with newcomers as (
            select checked.file_row, checked.sandbox_id, checked.user_id
            from firsts inner join checked on firsts.file_row = checked.file_row
        ),
        owners_before as (
            select sandbox_id, min(user_id) as owner from {history}
            where sandbox_id in (select sandbox_id from newcomers) group by sandbox_id
        ),
        first_owners as (
            select sandbox_id, arg_min(user_id, file_row) as owner from newcomers group by sandbox_id
        )
        select
            newcomers.file_row,
            'user_id is ''' || left(newcomers.user_id, 200) || ''', but sandbox ''' || left(newcomers.sandbox_id, 200)
            || ''' belongs to ''' || left(coalesce(owners_before.owner, first_owners.owner), 200)
            || ''' by its first event. Check which is right.'
        from newcomers
        left join owners_before on newcomers.sandbox_id = owners_before.sandbox_id
        left join first_owners on newcomers.sandbox_id = first_owners.sandbox_id
        where newcomers.user_id <> coalesce(owners_before.owner, first_owners.owner)
        returning file_row""").fetchall()
    return bool(found)
