{# What a build takes over of the sessions and prices that the last one worked out. The rows of a kept table are those that a build from
   scratch would make: those of what changed go, and come anew. What changed is data: `changed_timelines` and `changed_days`.

   `build_state.rated_state` says what the standing tables were worked out from. Its row goes when a build begins to change them, and comes back
   when every step of it went well: a build that fails or is killed leaves nothing to take over but the folded events. #}

{# Before a build: where its state is kept. Once, since models that run beside one another cannot both make it. #}
{% macro prepare_state() -%}
    {%- if execute and target.type == 'duckdb' -%}
        create schema if not exists build_state;
        create table if not exists build_state.report_parts (report varchar, part date, written_by varchar);
        create table if not exists build_state.known_closes (period varchar);
        -- Of these two, one row: while a build changes the standing tables what it has decided, else what they were worked out from.
        create table if not exists build_state.rating_plan (starts_anew boolean, as_of timestamp, current_period varchar);
        create table if not exists build_state.rated_state (
            as_of timestamp, current_period varchar, price_version varchar, build_number bigint, started_anew boolean
        )
    {%- endif -%}
{%- endmacro %}

{# Whether all of it has to be worked out anew, as `changed_timelines` has decided for this build; between builds, whether the last one
   did, which is what the standing tables of changes hold. Engines that do not build on the last build always do. #}
{% macro rates_from_scratch() -%}
    {%- if not execute or target.type != 'duckdb' or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- set decided = run_query(
        "select coalesce((select starts_anew from build_state.rating_plan), (select started_anew from build_state.rated_state), true)"
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
    {%- if not execute or target.type != 'duckdb' or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- set standing = run_query(
        "select count(*) from build_state.rated_state as state"
        ~ " cross join (select as_of, " ~ rating_basis() ~ " as basis from staging.stg_build_inputs) as build"
        ~ " where state.price_version = build.basis and state.as_of <= build.as_of"
        ~ " and not exists (select 1 from build_state.rating_plan)"
    ) -%}
    {{ return(standing.rows[0][0] != 1) }}
{%- endmacro %}

{# With `changed_timelines`, in its transaction: from here on the standing tables are not what the last build left. #}
{% macro begin_rating() -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set starts_anew = must_rate_from_scratch() -%}
        delete from build_state.rating_plan;
        insert into build_state.rating_plan
        {% if starts_anew %}select true, null, null{% else %}select false, as_of, current_period from build_state.rated_state{% endif %};
        delete from build_state.rated_state
    {%- endif -%}
{%- endmacro %}

{# What the last build was as of: `as_of` or `current_period`. #}
{% macro last_rated(column) -%}
    (
        select {{ column }} from build_state.rating_plan
        union all
        select {{ column }} from build_state.rated_state
    )
{%- endmacro %}

{# After a build: where it worked out every kept table, and every step went well, what the next one compares with. #}
{% macro remember_rated(results) -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set done = [] -%}
        {%- for result in results if result.status in ('success', 'pass', 'warn') -%}
            {%- do done.append(result.node.unique_id) -%}
        {%- endfor -%}
        {%- set missing = [] -%}
        {%- for node in graph.nodes.values() if node.config.materialized == 'kept' -%}
            {%- if node.unique_id not in done and node.config.get('starts_anew') not in ['folds_from_scratch', 'samples_start_anew'] -%}{%- do missing.append(node.name) -%}{%- endif -%}
        {%- endfor -%}
        {%- if done | length == results | length and not missing -%}
            {# Also what its limit ended at as_of itself: only a later build can tell that it fell silent at that instant. #}
            create or replace table build_state.open_timelines as
            select distinct sandbox_id, execution_id from usage.sandbox_sessions
            where ended_at >= (select as_of from staging.stg_build_inputs);
            create or replace table build_state.known_voids as select event_id from build_state.applied_voids;
            create or replace table build_state.known_terms as select * from usage.customer_terms;
            create or replace table build_state.known_currencies as select * from usage.customer_currencies;
            create or replace table build_state.known_lines as select * from rating.due_lines;
            create or replace table build_state.known_price_periods as select * from rating.customer_price_periods;
            delete from build_state.rated_state;
            insert into build_state.rated_state
            select
                as_of,
                current_period,
                {{ rating_basis() }} as price_version,
                (select build_number from build_state.fold_state) as build_number,
                (select starts_anew from build_state.rating_plan) as started_anew
            from staging.stg_build_inputs;
            delete from build_state.rating_plan
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
    {%- if takes_over() -%}
        delete from {{ this }} as standing
        using usage.changed_timelines as changed
        where
            standing.sandbox_id = changed.sandbox_id
            and coalesce(standing.execution_id, '') = changed.execution_id
            and {{ where }}
    {%- endif -%}
{%- endmacro %}

{% macro forget_changed_days() -%}
    {%- if takes_over() -%}
        delete from {{ this }} as standing
        using usage.changed_days as changed
        where standing.customer_id = changed.customer_id and standing.usage_date = changed.usage_date
    {%- endif -%}
{%- endmacro %}

{% macro forget_changed_months(where='true') -%}
    {%- if takes_over() -%}
        delete from {{ this }} as standing
        using rating.changed_months as changed
        where standing.customer_id = changed.customer_id and standing.period = changed.period and {{ where }}
    {%- endif -%}
{%- endmacro %}

{# Whether `billed_usage_daily` cannot take over its rows: nothing can be, or other months are closed than it last knew. #}
{% macro billed_days_start_anew() -%}
    {%- if rates_from_scratch() -%}{{ return(true) }}{%- endif -%}
    {%- set differing = run_query(
        "select count(*) from staging.stg_closes as closes full join build_state.known_closes as known on closes.period = known.period"
        ~ " where closes.period is null or known.period is null"
    ) -%}
    {{ return(differing.rows[0][0] > 0) }}
{%- endmacro %}

{% macro remember_closes() -%}
    {%- if execute and target.type == 'duckdb' -%}
        create or replace table build_state.known_closes as select period from staging.stg_closes
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
        delete from build_state.report_parts
        where report = '{{ this.identifier }}' and {{ is_changed if is_whole else 'part ' ~ is_changed }};
        insert into build_state.report_parts
        select distinct '{{ this.identifier }}', {{ part }}, '{{ invocation_id }}' from {{ this }}
        where {{ is_changed if is_whole else part ~ ' ' ~ is_changed }}
    {%- endif -%}
{%- endmacro %}
