"""Detects duplicates and conflicts, among the rows of a file and with all landed rows. Billing rules, section 3."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipeline.landing.landed_rows import VOIDED_BY, LandedRows
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import Specification

_FIRST_ROW = """
    case
        when number_of_file(firsts.file_row) <> number_of_file(candidates.file_row)
            then 'file ' || left(getvariable('file_ids')[number_of_file(firsts.file_row) + 1], 12) || ', '
        else ''
    end || 'row ' || row_of_number(firsts.file_row)"""
"""SQL: where the first row with a key is, which may be in an earlier file of the group."""


def find_duplicates(connection: duckdb.DuckDBPyConnection, landed: LandedRows, specification: Specification) -> None:
    """From table `valid`, create table `verdicts(file_row, verdict, detail)` with the rows that are not clearly new.

    A row is clearly new, and accepted, if no other row of the file and no landed row has its key, its id is not voided, and its
    sandbox has one user: nearly always almost all rows. verdict: accepted, duplicate, or the reason for quarantine.
    """
    _find_voided(connection, landed, specification)
    _find_candidates(connection, landed, specification)
    if not is_filled(connection, "candidates"):
        # The landed rows need not be read again.
        connection.execute("create or replace temp table verdicts (file_row bigint, verdict varchar, detail varchar)")
    elif specification.later_row_corrects:
        _compare_with_latest(connection, landed, specification)
    else:
        _compare_with_first(connection, specification)


def _find_voided(connection: duckdb.DuckDBPyConnection, landed: LandedRows, specification: Specification) -> None:
    """Create table `voided(id, voided_at)`: the ids of table `valid` that landed voids cancel."""
    voids = landed.voids_of("valid")
    (key, *_) = specification.key
    chosen = (
        f"select {key} as id, voided_at from {voids} where {key} in (select {key} from valid)"
        if voids is not None
        else "select null::varchar as id, null::timestamptz as voided_at where false"
    )
    connection.execute(f"create or replace temp table voided as {chosen}")


def _find_candidates(connection: duckdb.DuckDBPyConnection, landed: LandedRows, specification: Specification) -> None:
    """Create table `candidates`: the rows of `valid` that must be compared with other rows, and those other rows.

    Create table `landed_before`: the landed rows with a key of `valid`, nearly always none.
    """
    keys = ", ".join(specification.key)
    before = landed.with_keys_of("valid")
    content = ", ".join(specification.columns)
    rows = (
        f"select {content}, file_id, file_row from {before} where ({keys}) in (select ({keys}) from valid)"
        if before is not None
        else f"select {content}, null::varchar as file_id, file_row from checked where false"
    )
    connection.execute(f"create or replace temp table landed_before as {rows}")
    connection.execute(f"""
        create or replace temp table shared_keys as
        -- Counting hashes is faster than counting keys; keys with equal hashes are compared later.
        select {keys} from valid
        where hash({keys}) in (select hash({keys}) from valid group by hash({keys}) having count(*) > 1)
        union
        select {keys} from landed_before""")
    if is_filled(connection, "voided"):
        key = specification.key[0]
        connection.execute(f"insert into shared_keys select {key} from valid where {key} in (select id from voided)")
    is_candidate, shared = f"({keys}) in (select ({keys}) from shared_keys)", ["shared_keys"]
    if specification.kind is Kind.USAGE:
        _find_shared_sandboxes(connection, landed)
        is_candidate += " or sandbox_id in (select sandbox_id from shared_sandboxes)"
        shared.append("shared_sandboxes")
    # Nearly always nothing is shared, and the rows need not be scanned.
    is_any = any(is_filled(connection, table) for table in shared)
    connection.execute(
        f"create or replace temp table candidates as select * from valid where {is_candidate if is_any else 'false'}"
    )


def _find_shared_sandboxes(connection: duckdb.DuckDBPyConnection, landed: LandedRows) -> None:
    """Create table `shared_sandboxes`: those with several users; and `owners_before(sandbox_id, user_id)` for at least these.

    A sandbox belongs to the user of its landed events that are not voided.
    """
    connection.execute("""
        create or replace temp table owners as
        select sandbox_id, min(user_id) as least, max(user_id) as greatest
        from valid group by sandbox_id""")
    connection.execute("create or replace temp table owners_before (sandbox_id varchar, user_id varchar)")
    if (events := landed.events_of_contested("owners")) is not None:
        connection.execute(f"""
            insert into owners_before
            select sandbox_id, min(user_id)
            from {events}
            where
                sandbox_id in (select sandbox_id from owners)
                and event_id not in (select event_id from {landed.all_voids()} where event_id is not null)
            group by sandbox_id""")
    connection.execute("""
        create or replace temp table shared_sandboxes as
        select owners.sandbox_id
        from owners left join owners_before on owners.sandbox_id = owners_before.sandbox_id
        where owners.least <> owners.greatest or owners_before.user_id <> owners.least""")


def is_filled(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table has any row."""
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None


def _content(specification: Specification, of: str) -> str:
    return "struct_pack(" + ", ".join(f"{column} := {of}.{column}" for column in specification.columns) + ")"


def _compare_with_latest(connection: duckdb.DuckDBPyConnection, landed: LandedRows, specification: Specification) -> None:
    """Compare each row with the latest earlier row with its key: it is a duplicate or a correction."""
    keys = ", ".join(specification.key)
    connection.execute(f"""
        create or replace temp table verdicts as
        with rows as (
            select files.landed_sequence, history.file_row, {_content(specification, "history")} as content, false as is_new,
                {", ".join("history." + key for key in specification.key)}
            from landed_before as history
            inner join {landed.files_of("landed_before")} as files on history.file_id = files.file_id
            union all
            select null, file_row, {_content(specification, "candidates")}, true, {keys}
            from candidates
        ),
        in_order as (
            select *, lag(content) over (partition by {keys} order by landed_sequence nulls last, file_row) as previous_content
            from rows
        )
        select
            file_row,
            case when content is not distinct from previous_content then 'duplicate' else 'accepted' end as verdict,
            null::varchar as detail
        from in_order where is_new""")


def _compare_with_first(connection: duckdb.DuckDBPyConnection, specification: Specification) -> None:
    """Compare each row with the first row with its key: it is a duplicate or a conflict. Voided ids are not accepted again."""
    (key,) = specification.key
    connection.execute(f"""
        create or replace temp table voided_rows as
        select candidates.file_row, voided.voided_at
        from candidates
        inner join voided on candidates.{key} = voided.id
        left join landed_before as before on candidates.{key} = before.{key}
        where
            before.{key} is null
            or {_content(specification, "candidates")} is distinct from {_content(specification, "before")}""")
    connection.execute("create or replace temp table wrong_owner_events (file_row bigint, detail varchar)")
    if specification.kind is Kind.USAGE and is_filled(connection, "shared_sandboxes"):
        _find_wrong_owner_events(connection)
    connection.execute(f"""
        create or replace temp table firsts as
        select {key} as key, min(file_row) as file_row
        from candidates
        where
            {key} not in (select {key} from landed_before)
            and file_row not in (select file_row from wrong_owner_events)
            and file_row not in (select file_row from voided_rows)
        group by {key}""")
    connection.execute(f"""
        create or replace temp table verdicts as
        select
            candidates.file_row,
            case
                when voided_rows.file_row is not null then 'voided_id'
                when wrong_owner_events.file_row is not null then 'user_mismatch'
                when firsts.file_row = candidates.file_row then 'accepted'
                when {_content(specification, "candidates")} is not distinct from
                    case when before.{key} is not null then {_content(specification, "before")} else first_rows.content end
                    then 'duplicate'
                else 'conflicting_duplicate'
            end as verdict,
            case
                when voided_rows.file_row is not null then
                    '{key} ''' || left(candidates.{key}, 200) || ''' was voided at '
                    || strftime(voided_rows.voided_at, '%Y-%m-%dT%H:%M:%SZ')
                    || '. A voided id cannot be used again: send the row with another id.'
                when wrong_owner_events.file_row is not null then wrong_owner_events.detail
                when firsts.file_row is distinct from candidates.file_row then
                    '{key} ''' || left(candidates.{key}, 200) || ''' has landed before with other content ('
                    || coalesce('file ' || left(before.file_id, 12) || ', row ' || before.file_row, {_FIRST_ROW})
                    || '): the first counts. {_next_step(specification)}'
            end as detail
        from candidates
        left join voided_rows on candidates.file_row = voided_rows.file_row
        left join wrong_owner_events on candidates.file_row = wrong_owner_events.file_row
        left join firsts on candidates.{key} = firsts.key
        left join landed_before as before on candidates.{key} = before.{key}
        left join (
            select firsts.key, {_content(specification, "rows")} as content
            from firsts inner join candidates as rows on firsts.file_row = rows.file_row
        ) as first_rows on candidates.{key} = first_rows.key""")


def _next_step(specification: Specification) -> str:
    if specification.kind in VOIDED_BY:
        return "If this one is right, void the first (--kind voids), and send this one with a new id."
    if specification.kind is Kind.RUNNING:
        return "List again: a later listing says what runs."
    return "A void cannot be changed or cancelled."


def _find_wrong_owner_events(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `wrong_owner_events`: events whose user is not that of the first landed event of their sandbox.

    A rejected event claims neither its event id nor its sandbox, so the result depends on the order: the rows of sandboxes with
    several users, which are few, are processed one after the other.
    """
    connection.execute("""
        create or replace temp table new_events as
        select file_row, event_id, sandbox_id, user_id
        from candidates
        where
            event_id not in (select event_id from landed_before)
            and file_row not in (select file_row from voided_rows)""")
    contested = connection.execute("""
        with contested as (
            select sandbox_id
            from (select sandbox_id, user_id from new_events union all select sandbox_id, user_id from owners_before)
            group by sandbox_id
            having min(user_id) <> max(user_id)
        ),
        uncontested as (
            select event_id, min(file_row) as file_row
            from new_events
            where sandbox_id not in (select sandbox_id from contested)
            group by event_id
        )
        select new_events.file_row, new_events.event_id, new_events.sandbox_id, new_events.user_id,
            owners_before.user_id, coalesce(uncontested.file_row < new_events.file_row, false)
        from new_events
        inner join contested on new_events.sandbox_id = contested.sandbox_id
        left join owners_before on new_events.sandbox_id = owners_before.sandbox_id
        left join uncontested on new_events.event_id = uncontested.event_id
        order by new_events.file_row""")
    owners: dict[str, str] = {}
    claimed: set[str] = set()
    wrong_owner_events: dict[int, str] = {}
    while rows := contested.fetchmany(10_000):
        for file_row, event_id, sandbox_id, user_id, owner_before, is_claimed_elsewhere in rows:
            if is_claimed_elsewhere or event_id in claimed:
                continue
            owner = owners.setdefault(sandbox_id, owner_before or user_id)
            if user_id == owner:
                claimed.add(event_id)
            else:
                wrong_owner_events[file_row] = owner
    found = pa.table(
        {"file_row": pa.array(wrong_owner_events.keys(), pa.int64()), "owner": pa.array(wrong_owner_events.values(), pa.string())}
    )
    connection.register("found", found)
    connection.execute("""
        insert into wrong_owner_events
        select
            found.file_row,
            'user_id is ''' || left(new_events.user_id, 200) || ''', but sandbox ''' || left(new_events.sandbox_id, 200)
            || ''' belongs to ''' || left(found.owner, 200) || ''' by its first event. Check which user is right.'
        from found inner join new_events on found.file_row = new_events.file_row""")
    connection.unregister("found")
