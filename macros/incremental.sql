{# Incremental builds: which rows of the last build are reused. In an incremental_replace table the dirty rows are deleted and inserted
   again; all others are those of a full refresh. The dirty keys are models: dirty_executions, dirty_customer_days, dirty_customer_months.

   The state table `rated_inputs` has the inputs that the tables were computed from. Its row is deleted when a build begins to change them and
   written again when every step has passed: after a build that failed or was killed, only the compacted events are reused. #}

{# A table of the state that a build leaves for the next one. It is no model: hooks write it, in the transaction of the model that it
   belongs to. `schema`: `build_state`, or `sample_state` for utilisation. #}
{% macro state_table(name, schema='build_state') -%}
    {#- Spark has no such tables, and its target no database. -#}
    {%- set database = target.database if target.type == 'duckdb' else none -%}
    {{ return(api.Relation.create(database=database, schema=schema, identifier=name, type='table')) }}
{%- endmacro %}

{# The table of a model as the last build left it, for a model that this one depends on: `ref` would be a cycle. Only in execute mode is the
   graph there to look it up. #}
{% macro last_built(name) -%}
    {%- if not execute -%}{{ return(this) }}{%- endif -%}
    {%- set node = graph.nodes['model.' ~ project_name ~ '.' ~ name] -%}
    {{ return(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias, type='table')) }}
{%- endmacro %}

{# Before a build: the schema and the tables of its state. Once, since two models that run at the same time cannot both create them. #}
{% macro prepare_state() -%}
    {%- if execute and target.type == 'duckdb' -%}
        create schema if not exists build_state;
        create table if not exists {{ state_table('report_parts') }} (report varchar, part date, written_by varchar);
        create table if not exists {{ state_table('known_closes') }} (period varchar);
        create table if not exists {{ assignment_state() }} (build_number bigint);
        create table if not exists {{ assigned_voids() }} (event_id varchar);
        -- One of these two has a row: the decision while a build changes the tables, otherwise the inputs that they were computed from.
        create table if not exists {{ state_table('rating_decision') }} (is_full boolean, as_of timestamp, current_period varchar);
        create table if not exists {{ state_table('rated_inputs') }} (
            as_of timestamp, current_period varchar, price_version varchar, build_number bigint, was_full boolean
        );
        {{ drop_former_relations() }}
    {%- endif -%}
{%- endmacro %}

{# Statements that drop tables and views that no model creates: those of earlier versions, under other names or in other schemas. #}
{% macro drop_former_relations() -%}
    {%- set schemas, relations = ['monitoring'], [] -%}
    {%- for node in graph.nodes.values() if node.resource_type in ('model', 'seed') -%}
        {%- do schemas.append(node.schema) -%}
        {%- do relations.append(node.schema ~ '.' ~ node.alias) -%}
    {%- endfor -%}
    {%- set found = run_query(
        "select schema_name, table_name, 'table' as type from duckdb_tables() where database_name = current_database() and not temporary"
        ~ " union all "
        ~ "select schema_name, view_name, 'view' from duckdb_views() where database_name = current_database() and not temporary"
    ) -%}
    {%- for row in found.rows if row[0] in schemas and row[0] ~ '.' ~ row[1] not in relations -%}
        drop {{ row[2] }} {{ api.Relation.create(database=target.database, schema=row[0], identifier=row[1]) }};
    {% endfor -%}
    drop schema if exists monitoring
{%- endmacro %}

{# Whether this build recomputes everything, as decided with `dirty_executions`; between builds, whether the last one did. Engines without
   incremental builds always do. `begin_rating` leaves the decision in the graph, which all models of a build share: one query instead of
   ninety. #}
{% macro is_full_rating() -%}
    {%- if not execute or target.type != 'duckdb' or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- if 'is_full_rating' in graph -%}{{ return(graph.is_full_rating) }}{%- endif -%}
    {%- set decided = run_query(
        "select coalesce((select is_full from " ~ state_table('rating_decision') ~ "),"
        ~ " (select was_full from " ~ state_table('rated_inputs') ~ "), true)"
    ) -%}
    {{ return(decided.rows[0][0]) }}
{%- endmacro %}

{# The inputs besides landed files: if one of them changes, nothing of the last build can be reused. #}
{% macro rating_inputs() -%}
    price_version || '/' || code_version || '/' || cast(books_open_at as varchar) || '/'
    || coalesce(cast(heartbeat_timeout_seconds as varchar), 'none')
{%- endmacro %}

{# Nothing can be reused if the last build did not finish or was as of a later instant, if all events were compacted again since, or if the
   price book, the models or a setting changed. #}
{% macro needs_full_rating() -%}
    {%- set build = ref('stg_build_inputs') -%}
    {%- if not execute or target.type != 'duckdb' or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- set same_inputs = run_query(
        "select count(*) from " ~ state_table('rated_inputs') ~ " as state"
        ~ " cross join (select as_of, " ~ rating_inputs() ~ " as basis from " ~ build ~ ") as build"
        ~ " where state.price_version = build.basis and state.as_of <= build.as_of"
        ~ " and not exists (select 1 from " ~ state_table('rating_decision') ~ ")"
    ) -%}
    {{ return(same_inputs.rows[0][0] != 1) }}
{%- endmacro %}

{# Events that were voided since the last build: event_id, sandbox_id, execution_id. #}
{% macro new_voids() -%}
    (
        select * from {{ state_table('applied_voids') }}
        where event_id not in (select event_id from {{ state_table('known_voids') }})
    )
{%- endmacro %}

{# Whether the first event of each customer is looked for in all events: it can have been voided. #}
{% macro first_events_need_full_refresh() -%}
    {%- if needs_full_rating() -%}{{ return(true) }}{%- endif -%}
    {{ return(run_query("select count(*) from " ~ new_voids() ~ " as voids").rows[0][0] > 0) }}
{%- endmacro %}

{# With `dirty_executions`, in its transaction: from here on the tables differ from those of the last build. #}
{% macro begin_rating() -%}
    {%- set plan, state = state_table('rating_decision'), state_table('rated_inputs') -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set is_full = needs_full_rating() -%}
        {%- do graph.update({'is_full_rating': is_full}) -%}
        delete from {{ plan }};
        insert into {{ plan }}
        {% if is_full %}select true, null, null{% else %}select false, as_of, current_period from {{ state }}{% endif %};
        delete from {{ state }}
    {%- endif -%}
{%- endmacro %}

{# Of the last build: `as_of` or `current_period`. #}
{% macro last_rated(column) -%}
    (
        select {{ column }} from {{ state_table('rating_decision') }}
        union all
        select {{ column }} from {{ state_table('rated_inputs') }}
    )
{%- endmacro %}

{# `full_refresh_when` of the tables that are computed before `dirty_executions`: they know by themselves what they can reuse. After a decision they
   are not built again. tests/models/test_refresh.py compares the list with the graph. #}
{% macro before_rating() -%}
    {{ return([
        'must_compact_everything', 'voids_need_full_refresh', 'samples_need_full_refresh', 'listings_need_full_refresh',
        'assignment_needs_full_refresh', 'first_events_need_full_refresh',
    ]) }}
{%- endmacro %}

{# After a build that computed every incremental_replace table and passed every step: what the next build compares with. #}
{% macro record_rated_inputs(results) -%}
    {%- set build, sessions = ref('stg_build_inputs'), ref('sandbox_sessions') -%}
    {%- set known = {
        'known_terms': ref('customer_terms'),
        'known_currencies': ref('customer_currencies'),
        'known_lines': ref('due_lines'),
        'known_price_periods': ref('customer_price_periods'),
    } -%}
    {%- set plan, state = state_table('rating_decision'), state_table('rated_inputs') -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set done = [] -%}
        {%- for result in results if result.status in ('success', 'pass', 'warn', 'no-op') -%}
            {%- do done.append(result.node.unique_id) -%}
        {%- endfor -%}
        {%- set missing = [] -%}
        {%- for node in graph.nodes.values() if node.config.materialized == 'incremental_replace' -%}
            {%- if node.unique_id not in done and node.config.get('full_refresh_when') not in before_rating() -%}{%- do missing.append(node.name) -%}{%- endif -%}
        {%- endfor -%}
        {%- if done | length == results | length and not missing -%}
            {# Sessions that their limit ended at as_of itself are included: only a later build knows that no event followed. #}
            create or replace table {{ state_table('open_executions') }} as
            select distinct timeline_key, sandbox_id, execution_id from {{ sessions }}
            where ended_at >= (select as_of from {{ build }});
            create or replace table {{ state_table('known_voids') }} as select event_id from {{ state_table('applied_voids') }};
            {%- for name, model in known.items() %}
            create or replace table {{ state_table(name) }} as select * from {{ model }};
            {%- endfor %}
            delete from {{ state }};
            insert into {{ state }}
            select
                as_of,
                current_period,
                {{ rating_inputs() }} as price_version,
                (select build_number from {{ state_table('compaction_state') }}) as build_number,
                (select is_full from {{ plan }}) as was_full
            from {{ build }};
            delete from {{ plan }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Joins that narrow an input to its dirty rows; in a full refresh they are empty. #}
{% macro only_dirty_executions(rows) -%}
    {%- set changed = ref('dirty_executions') -%}
    {%- if not is_full_rating() -%}
    inner join {{ changed }} as dirty_executions
        on {{ rows }}.timeline_key = dirty_executions.timeline_key
    {%- endif -%}
{%- endmacro %}

{% macro only_dirty_customer_days(rows) -%}
    {%- set changed = ref('dirty_customer_days') -%}
    {%- if not is_full_rating() -%}
    inner join {{ changed }} as dirty_customer_days
        on
            {{ rows }}.customer_id = dirty_customer_days.customer_id
            and {{ rows }}.usage_date = dirty_customer_days.usage_date
    {%- endif -%}
{%- endmacro %}

{% macro only_dirty_customer_months(rows, period='period') -%}
    {%- set changed = ref('dirty_customer_months') -%}
    {%- if not is_full_rating() -%}
    inner join {{ changed }} as dirty_customer_months
        on
            {{ rows }}.customer_id = dirty_customer_months.customer_id
            and {{ rows }}.{{ period }} = dirty_customer_months.period
    {%- endif -%}
{%- endmacro %}

{# A condition that is true for every span that touches a dirty day. The engine can skip blocks by it, from their minimum and maximum. #}
{% macro may_touch_dirty_days(started_at, ended_at) -%}
    {%- set changed = ref('dirty_customer_days') -%}
    {%- if is_full_rating() -%}
    true
    {%- else -%}
    {%- set days = run_query('select min(usage_date), max(usage_date) + 1 from ' ~ changed).rows[0] -%}
    {%- if days[0] is none -%}
    false
    {%- else -%}
    {{ started_at }} < cast('{{ days[1] }}' as timestamp) and {{ ended_at }} >= cast('{{ days[0] }}' as timestamp)
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Delete the dirty rows of an incremental_replace table, before the new ones are inserted. #}
{% macro delete_dirty_executions(where='true', has_keys=true) -%}
    {%- set dirty_executions = ref('dirty_executions') -%}
    {%- if reuses_rows() -%}
        delete from {{ this }} as existing
        using {{ dirty_executions }} as changed
        where
            {% if has_keys -%}
            existing.timeline_key = changed.timeline_key
            {%- else -%}
            existing.sandbox_id = changed.sandbox_id
            and coalesce(existing.execution_id, '') = changed.execution_id
            {%- endif %}
            and {{ where }}
    {%- endif -%}
{%- endmacro %}

{% macro delete_dirty_customer_days() -%}
    {%- set dirty_customer_days = ref('dirty_customer_days') -%}
    {%- if reuses_rows() -%}
        delete from {{ this }} as existing
        using {{ dirty_customer_days }} as changed
        where existing.customer_id = changed.customer_id and existing.usage_date = changed.usage_date
    {%- endif -%}
{%- endmacro %}

{% macro delete_dirty_customer_months(where='true') -%}
    {%- set dirty_customer_months = ref('dirty_customer_months') -%}
    {%- if reuses_rows() -%}
        delete from {{ this }} as existing
        using {{ dirty_customer_months }} as changed
        where existing.customer_id = changed.customer_id and existing.period = changed.period and {{ where }}
    {%- endif -%}
{%- endmacro %}

{# Whether `billed_usage_daily` needs a full refresh: everything does, or other months are closed than in the last build. #}
{% macro closes_have_changed() -%}
    {%- if is_full_rating() -%}{{ return(true) }}{%- endif -%}
    {%- set differing = run_query(
        "select count(*) from " ~ ref('stg_closes') ~ " as closes"
        ~ " full join " ~ state_table('known_closes') ~ " as known on closes.period = known.period"
        ~ " where closes.period is null or known.period is null"
    ) -%}
    {{ return(differing.rows[0][0] > 0) }}
{%- endmacro %}

{% macro record_closes() -%}
    {%- set closes = ref('stg_closes') -%}
    {%- if execute and target.type == 'duckdb' -%}
        create or replace table {{ state_table('known_closes') }} as select period from {{ closes }}
    {%- endif -%}
{%- endmacro %}

{# After an incremental report got new rows: record which parts (days or months, by config.meta.parts) this build has written. The analysts'
   file reuses the others. `changed` selects a day of each part that may have changed. #}
{% macro record_parts(changed) -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set parts = config.get('meta').parts -%}
        {%- set part = "cast(date_trunc('" ~ parts.unit ~ "', " ~ parts.by ~ ") as date)" -%}
        {%- set is_changed = 'true' -%}
        {%- set is_whole = not reuses_rows() -%}
        {%- if not is_whole -%}
            {%- set is_changed -%}
                in (select cast(date_trunc('{{ parts.unit }}', changed_on) as date) from ({{ changed }}) as days (changed_on))
            {%- endset -%}
        {%- endif -%}
        delete from {{ state_table('report_parts') }}
        where report = '{{ this.identifier }}' and {{ is_changed if is_whole else 'part ' ~ is_changed }};
        insert into {{ state_table('report_parts') }}
        select distinct '{{ this.identifier }}', {{ part }}, '{{ invocation_id }}' from {{ this }}
        where {{ is_changed if is_whole else part ~ ' ' ~ is_changed }}
    {%- endif -%}
{%- endmacro %}
