{# Events without an execution id, of sandboxes with executions: to which execution each belongs. Billing rules, section 4. Few deployments have
   such events: without them, `assigned_events` is empty, and `execution_events` is `compacted_events`. #}

{# Whether there are events with an execution id and events without. #}
{% macro may_have_mixed_sandboxes() -%}
    {%- set events = ref('compacted_events') -%}
    {%- if not execute -%}{{ return(true) }}{%- endif -%}
    {%- set found = run_query("select min(execution_id), max(execution_id) from " ~ events).rows[0] -%}
    {{ return(found[0] == '' and found[1] != '') }}
{%- endmacro %}

{# Whether any sandbox has both. #}
{% macro has_mixed_sandboxes() -%}
    {%- set sandboxes = ref('mixed_sandboxes') -%}
    {%- if not execute -%}{{ return(true) }}{%- endif -%}
    {{ return(run_query("select count(*) from " ~ sandboxes).rows[0][0] > 0) }}
{%- endmacro %}

{# The raw events that `assigned_events` reads: all of them on engines without incremental builds. #}
{% macro assignment_plan() -%}
    {{ return(adapter.dispatch('assignment_plan')()) }}
{%- endmacro %}

{% macro default__assignment_plan() -%}
    {{ return({'reads_all': true, 'is_full': true, 'files': []}) }}
{%- endmacro %}

{# files: the raw files of days on which a sandbox to recompute has events without an execution id. #}
{% macro duckdb__assignment_plan() -%}
    {%- set plan = {'reads_all': false, 'is_full': true, 'files': []} -%}
    {%- set events, landed = ref('compacted_events'), ref('stg_landed_files') -%}
    {%- if not execute or not has_mixed_sandboxes() -%}{{ return(plan) }}{%- endif -%}
    {%- do plan.update({'is_full': not has_rows_to_reuse()
        or run_query("select count(*) from " ~ assignment_state()).rows[0][0] == 0}) -%}
    {%- set days = "event_date in (select event_date from " ~ events ~ " where execution_id = '' and sandbox_id in (select sandbox_id from "
        ~ ref('mixed_sandboxes') ~ ")" ~ ("" if plan.is_full else " and " ~ has_changed_events()) ~ ")" -%}
    {%- set found = run_query(
        "select distinct path from " ~ usage_files(days) ~ " where " ~ days ~ " and file_id in (select file_id from " ~ landed ~ ") order by path"
    ) -%}
    {%- for row in found.rows -%}{%- do plan.files.append(row[0]) -%}{%- endfor -%}
    {{ return(plan) }}
{%- endmacro %}

{# Condition on `sandbox_id`: events of the sandbox landed or were voided since the last time that `assigned_events` was computed. #}
{% macro has_changed_events() -%}
    (
        sandbox_id in (
            select sandbox_id from {{ ref('compacted_events') }}
            where build_number > (select build_number from {{ assignment_state() }})
        )
        or sandbox_id in (
            select sandbox_id from {{ applied_voids() }}
            where event_id not in (select event_id from {{ assigned_voids() }})
        )
    )
{%- endmacro %}

{% macro assignment_needs_full_refresh() -%}
    {{ return(assignment_plan().is_full) }}
{%- endmacro %}

{# The build whose compacted events `assigned_events` was computed from. A full refresh of these clears it. #}
{% macro assignment_state() -%}
    {{ return(state_table('assignment_state')) }}
{%- endmacro %}

{# The voided events that `assigned_events` excludes. #}
{% macro assigned_voids() -%}
    {{ return(state_table('assigned_voids')) }}
{%- endmacro %}

{% macro delete_changed_assignments() -%}
    {%- if execute and target.type == 'duckdb' and not assignment_plan().is_full -%}
        delete from {{ this }} where {{ has_changed_events() }}
    {%- endif -%}
{%- endmacro %}

{% macro record_assignments() -%}
    {%- if execute and target.type == 'duckdb' -%}
        delete from {{ assignment_state() }};
        insert into {{ assignment_state() }} select build_number from {{ state_table('compaction_state') }};
        delete from {{ assigned_voids() }};
        insert into {{ assigned_voids() }} select event_id from {{ applied_voids() }}
    {%- endif -%}
{%- endmacro %}

{# Condition on compacted events of an execution, with `timeline_starts_at`, its first event: the execution opens there. A reported start does, too. #}
{% macro opens_an_execution() -%}
    (
        has_start
        or has_resume
        or (first_at = timeline_starts_at and (has_update or has_heartbeat) and not has_stop)
    )
{%- endmacro %}

{# Whether an event of a sandbox with executions belongs to none, and is ignored: quantities alone are billed without an execution too. #}
{% macro has_no_execution(events, assigned) -%}
    {{ events }}.execution_id = ''
    and {{ assigned }}.execution_id is null
    and {{ events }}.event_kind not in ('quantities', 'usage_recorded')
{%- endmacro %}

{# The executions of events without an execution id: event_id, execution_id. Events that belong to none are absent. `events`: a relation with
   event_id, sandbox_id, execution_id, event_at and event_kind. Of the executions that run at the instant the one that opened last; a stop or a
   pause is rather of one that ran before it, any other event of one that runs after it. #}
{% macro executions_of(events) -%}
(
    with

    candidates as (

        select
            unassigned.event_id,
            spans.execution_id,
            row_number() over (
                partition by unassigned.event_id
                order by
                    case
                        when unassigned.event_kind in ('stop', 'pause') and spans.opened_at < unassigned.event_at then 1
                        when
                            unassigned.event_kind not in ('stop', 'pause')
                            and coalesce(unassigned.event_at < spans.ended_at, true)
                            then 1
                        else 0
                    end desc,
                    spans.opened_at desc,
                    spans.execution_id desc
            ) as preference
        from {{ events }} as unassigned
        inner join {{ ref('execution_spans') }} as spans
            on
                unassigned.sandbox_id = spans.sandbox_id
                and unassigned.event_at >= spans.opened_at
                and unassigned.event_at <= coalesce(spans.ended_at, {{ end_of_time() }})
        where unassigned.execution_id = ''

    )

    select
        event_id,
        execution_id
    from candidates
    where preference = 1
)
{%- endmacro %}
