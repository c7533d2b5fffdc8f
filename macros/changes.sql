{# What a build takes over of the sessions and prices that the last one worked out. The rows of a kept table are those that a build from
   scratch would make: those of what changed go, and come anew. What changed is data: `changed_timelines` and `changed_days`.

   The table `rated_state` in the schema `build_state` says what the standing tables were worked out from. Its row goes when a build begins to change them, and comes back
   when every step of it went well: a build that fails or is killed leaves nothing to take over but the folded events. #}

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
        -- Of these two, one row: while a build changes the standing tables what it has decided, else what they were worked out from.
        create table if not exists {{ state_table('rating_plan') }} (starts_anew boolean, as_of timestamp, current_period varchar);
        create table if not exists {{ state_table('rated_state') }} (
            as_of timestamp, current_period varchar, price_version varchar, build_number bigint, started_anew boolean
        );
        {{ drop_former_relations() }}
    {%- endif -%}
{%- endmacro %}

{# Statements that drop what no model makes any more: the project that built this warehouse had models with other names or in other schemas. #}
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

{# Whether all of it has to be worked out anew, as `changed_timelines` has decided for this build; between builds, whether the last one
   did, which is what the standing tables of changes hold. Engines that do not build on the last build always do. #}
{% macro rates_from_scratch() -%}
    {%- if not execute or target.type != 'duckdb' or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- set decided = run_query(
        "select coalesce((select starts_anew from " ~ state_table('rating_plan') ~ "),"
        ~ " (select started_anew from " ~ state_table('rated_state') ~ "), true)"
    ) -%}
    {{ return(decided.rows[0][0]) }}
{%- endmacro %}

{# What the kept tables depend on besides what landed: with another of these, nothing of the last build can be reused. #}
{% macro rating_basis() -%}
    price_version || '/' || code_version || '/' || cast(books_open_at as varchar) || '/'
    || coalesce(cast(heartbeat_timeout_seconds as varchar), 'none')
{%- endmacro %}

{# The decision: nothing can be reused where the last build did not finish or was as of a later instant, where the fold started from scratch
   since, or where the price book, the models or a setting is another. #}
{% macro must_rate_from_scratch() -%}
    {%- set build = ref('stg_build_inputs') -%}
    {%- if not execute or target.type != 'duckdb' or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- set standing = run_query(
        "select count(*) from " ~ state_table('rated_state') ~ " as state"
        ~ " cross join (select as_of, " ~ rating_basis() ~ " as basis from " ~ build ~ ") as build"
        ~ " where state.price_version = build.basis and state.as_of <= build.as_of"
        ~ " and not exists (select 1 from " ~ state_table('rating_plan') ~ ")"
    ) -%}
    {{ return(standing.rows[0][0] != 1) }}
{%- endmacro %}

{# With `changed_timelines`, in its transaction: from here on the standing tables are not what the last build left. #}
{% macro begin_rating() -%}
    {%- set plan, state = state_table('rating_plan'), state_table('rated_state') -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set starts_anew = must_rate_from_scratch() -%}
        delete from {{ plan }};
        insert into {{ plan }}
        {% if starts_anew %}select true, null, null{% else %}select false, as_of, current_period from {{ state }}{% endif %};
        delete from {{ state }}
    {%- endif -%}
{%- endmacro %}

{# What the last build was as of: `as_of` or `current_period`. #}
{% macro last_rated(column) -%}
    (
        select {{ column }} from {{ state_table('rating_plan') }}
        union all
        select {{ column }} from {{ state_table('rated_state') }}
    )
{%- endmacro %}

{# After a build: where it worked out every kept table, and every step went well, what the next one compares with. #}
{% macro remember_rated(results) -%}
    {%- set build, sessions = ref('stg_build_inputs'), ref('sandbox_sessions') -%}
    {%- set known = {
        'known_terms': ref('customer_terms'),
        'known_currencies': ref('customer_currencies'),
        'known_lines': ref('due_lines'),
        'known_price_periods': ref('customer_price_periods'),
    } -%}
    {%- set plan, state = state_table('rating_plan'), state_table('rated_state') -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set done = [] -%}
        {%- for result in results if result.status in ('success', 'pass', 'warn', 'no-op') -%}
            {%- do done.append(result.node.unique_id) -%}
        {%- endfor -%}
        {%- set missing = [] -%}
        {%- for node in graph.nodes.values() if node.config.materialized == 'kept' -%}
            {%- if node.unique_id not in done and node.config.get('starts_anew') not in ['folds_from_scratch', 'samples_start_anew'] -%}{%- do missing.append(node.name) -%}{%- endif -%}
        {%- endfor -%}
        {%- if done | length == results | length and not missing -%}
            {# Also what its limit ended at as_of itself: only a later build can tell that it fell silent at that instant. #}
            create or replace table {{ state_table('open_timelines') }} as
            select distinct sandbox_id, execution_id from {{ sessions }}
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
                {{ rating_basis() }} as price_version,
                (select build_number from {{ state_table('fold_state') }}) as build_number,
                (select starts_anew from {{ plan }}) as started_anew
            from {{ build }};
            delete from {{ plan }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Only rows of the timelines, or of the customers' days, that this build works out anew; all of them where it takes nothing over. #}
{% macro of_changed_timelines(rows) -%}
    {%- set changed = ref('changed_timelines') -%}
    {%- if not rates_from_scratch() -%}
    inner join {{ changed }} as changed_timelines
        on
            {{ rows }}.sandbox_id = changed_timelines.sandbox_id
            and {{ rows }}.execution_id = changed_timelines.execution_id
    {%- endif -%}
{%- endmacro %}

{% macro of_changed_days(rows) -%}
    {%- set changed = ref('changed_days') -%}
    {%- if not rates_from_scratch() -%}
    inner join {{ changed }} as changed_days
        on
            {{ rows }}.customer_id = changed_days.customer_id
            and {{ rows }}.usage_date = changed_days.usage_date
    {%- endif -%}
{%- endmacro %}

{% macro of_changed_months(rows, period='period') -%}
    {%- set changed = ref('changed_months') -%}
    {%- if not rates_from_scratch() -%}
    inner join {{ changed }} as changed_months
        on
            {{ rows }}.customer_id = changed_months.customer_id
            and {{ rows }}.{{ period }} = changed_months.period
    {%- endif -%}
{%- endmacro %}

{# A condition that holds for whatever touches a changed day, and that the engine can tell from a block's lowest and highest values. #}
{% macro may_touch_changed_days(started_at, ended_at) -%}
    {%- set changed = ref('changed_days') -%}
    {%- if rates_from_scratch() -%}
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

{# Before a kept table gets new rows: those of what changed go. #}
{% macro forget_changed_timelines(where='true') -%}
    {%- set changed_timelines = ref('changed_timelines') -%}
    {%- if takes_over() -%}
        delete from {{ this }} as standing
        using {{ changed_timelines }} as changed
        where
            standing.sandbox_id = changed.sandbox_id
            and coalesce(standing.execution_id, '') = changed.execution_id
            and {{ where }}
    {%- endif -%}
{%- endmacro %}

{% macro forget_changed_days() -%}
    {%- set changed_days = ref('changed_days') -%}
    {%- if takes_over() -%}
        delete from {{ this }} as standing
        using {{ changed_days }} as changed
        where standing.customer_id = changed.customer_id and standing.usage_date = changed.usage_date
    {%- endif -%}
{%- endmacro %}

{% macro forget_changed_months(where='true') -%}
    {%- set changed_months = ref('changed_months') -%}
    {%- if takes_over() -%}
        delete from {{ this }} as standing
        using {{ changed_months }} as changed
        where standing.customer_id = changed.customer_id and standing.period = changed.period and {{ where }}
    {%- endif -%}
{%- endmacro %}

{# Whether `billed_usage_daily` cannot take over its rows: nothing can be, or other months are closed than it last knew. #}
{% macro billed_days_start_anew() -%}
    {%- if rates_from_scratch() -%}{{ return(true) }}{%- endif -%}
    {%- set differing = run_query(
        "select count(*) from " ~ ref('stg_closes') ~ " as closes"
        ~ " full join " ~ state_table('known_closes') ~ " as known on closes.period = known.period"
        ~ " where closes.period is null or known.period is null"
    ) -%}
    {{ return(differing.rows[0][0] > 0) }}
{%- endmacro %}

{% macro remember_closes() -%}
    {%- set closes = ref('stg_closes') -%}
    {%- if execute and target.type == 'duckdb' -%}
        create or replace table {{ state_table('known_closes') }} as select period from {{ closes }}
    {%- endif -%}
{%- endmacro %}

{# After a kept report got new rows: which parts of it (days or months, by config.meta.parts) this build has written. The analysts' copy
   takes over the others. `changed` selects a day of each part that may have changed. #}
{% macro note_parts(changed) -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set parts = config.get('meta').parts -%}
        {%- set part = "cast(date_trunc('" ~ parts.unit ~ "', " ~ parts.by ~ ") as date)" -%}
        {%- set is_changed = 'true' -%}
        {%- set is_whole = not takes_over() -%}
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
