"""Breaks a usage line down to days, to sessions or sandboxes, and to the landed events."""

from __future__ import annotations

from typing import Any

import duckdb

from pipeline.ledger.due_lines import fetch_rows, line_condition
from pipeline.ledger.explanation import DayShare, LandedEvent, SessionShare


def billed_days(connection: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> list[DayShare]:
    """The line's days with their quantities and amounts, in order."""
    condition, values = line_condition(line, period="period")
    rows = fetch_rows(
        connection,
        f"select usage_date, quantity, amount from rating.due_usage_by_day where {condition} order by usage_date",
        *values,
    )
    return [DayShare(**row) for row in rows]


def add_sessions(connection: duckdb.DuckDBPyConnection, line: dict[str, Any], days: list[DayShare]) -> None:
    """Split each day's amount over its sessions by quantity: largest remainder, ties by session id. Billing rules, section 2."""
    condition, values = line_condition(line, period="period")
    by_date = {day.usage_date: day for day in days}
    rows = fetch_rows(
        connection,
        f"""
        with sessions as (
            select usage_date, coalesce(session_id, '') as session_id, sandbox_id, execution_id,
                sum(quantity) as quantity, min(started_at) as first_at, max(ended_at) as last_at,
                sum(case when is_trial then 0 else quantity end) as billed_quantity
            from rating.priced_segments where {condition} group by all
        ),
        days as (
            select usage_date, quantity, cast(amount * 1000 as hugeint) as amount_thousandths
            from rating.due_usage_by_day where {condition}
        ),
        digits as (
            select cast(1000 / minor_units_per_unit as integer) as step from rating.currency_units where currency = ?
        ),
        shares as (
            select sessions.*, step,
                cast(sessions.billed_quantity * 1000000000000::decimal(13, 0) as hugeint) as weight,
                cast(sum(weight) over (partition by usage_date) as hugeint) as billed_weight,
                -- Usage in a trial has no share. A day's flat fee belongs to no session where all of its usage is in a trial.
                case when billed_weight = 0 then 0 else days.amount_thousandths // step end as minor_units,
                greatest(billed_weight, 1) as whole,
                minor_units * weight // whole as share
            from sessions inner join days using (usage_date) cross join digits
        ),
        ranked as (
            select *, minor_units - sum(share) over (partition by usage_date) as left_over,
                row_number() over (
                    partition by usage_date
                    order by minor_units * weight - share * whole desc, session_id, sandbox_id, execution_id
                ) as rank
            from shares
        )
        select ranked.usage_date, ranked.session_id, ranked.sandbox_id, coalesce(started_at, first_at) as started_at,
            coalesce(ended_at, last_at) as ended_at, coalesce(end_reason, 'no_session') as end_reason, quantity,
            cast(
                (share + case when rank <= left_over then 1 else 0 end) * step * 0.001::decimal(4, 3) as decimal(18, 3)
            ) as amount
        from ranked left join usage.sandbox_sessions as sessions on ranked.session_id = sessions.session_id
        order by usage_date, ranked.sandbox_id, started_at, ranked.session_id""",
        *values,
        *values,
        line["currency"],
    )
    for row in rows:
        by_date[row.pop("usage_date")].sessions.append(SessionShare(**row))


def add_events(connection: duckdb.DuckDBPyConnection, days: list[DayShare]) -> None:
    """Add the landed events of each session, without voided ones. An event at a session's end belongs to it.

    Where no session ran, these are the events that carried a quantity.
    """
    shares: dict[tuple[str, str, str], list[SessionShare]] = {}
    for day in days:
        for share in day.sessions:
            key = ("", share.sandbox_id, str(day.usage_date)) if not share.session_id else (share.session_id, "", "")
            shares.setdefault(key, []).append(share)
    columns = ("vcpu_count", "memory_gb", "storage_gb", "gpu_count", "tokens")
    named = ", ".join(f"'{name} ' || rtrim(rtrim({name}::varchar, '0'), '.')" for name in columns)
    rows = fetch_rows(
        connection,
        f"""
        with explained as (
            select session_id, '' as sandbox, '' as day, sandbox_id, execution_id, started_at, ended_at
            from usage.sandbox_sessions where session_id in (select unnest($sessions))
            union all
            select '', sandbox_id, cast(usage_date as varchar), sandbox_id, execution_id, event_at, event_at
            from usage.recorded_quantities where session_id is null and sandbox_id in (select unnest($sandboxes))
        ),
        events as (
            select explained.session_id, explained.sandbox, explained.day, events.*
            from explained
            inner join staging.stg_usage_events as events
                on explained.sandbox_id = events.sandbox_id and explained.execution_id = events.execution_id
                and events.event_at >= explained.started_at and events.event_at <= explained.ended_at
            union
            -- Events that name no execution and belong to this one. Billing rules, section 4.
            select explained.session_id, explained.sandbox, explained.day, events.*
            from explained
            inner join staging.assigned_events as assigned
                on explained.sandbox_id = assigned.sandbox_id and explained.execution_id = assigned.execution_id
            inner join staging.stg_usage_events as events
                on explained.sandbox_id = events.sandbox_id and events.execution_id = ''
                and events.event_at >= explained.started_at and events.event_at <= explained.ended_at
                and events.event_at >= assigned.first_at and events.event_at <= assigned.last_at
            where explained.execution_id <> ''
        )
        select session_id, sandbox, day, events.event_id, events.event_type, events.event_at,
            concat_ws(', ', {named}) as named, files.file_name, events.file_row
        from events
        inner join staging.stg_landed_files as files on events.file_id = files.file_id
        where events.event_id not in (
            select event_id from staging.event_voids where voided_at <= (select as_of from staging.stg_build_inputs)
        )
        order by events.event_at, events.event_id""",
        {"sessions": [key[0] for key in shares], "sandboxes": [key[1] for key in shares]},
    )
    for row in rows:
        for share in shares.get((row.pop("session_id"), row.pop("sandbox"), row.pop("day")), ()):
            share.events.append(LandedEvent(**row))
