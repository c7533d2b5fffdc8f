-- depends_on: {{ ref('due_lines') }}
-- depends_on: {{ ref('customer_price_periods') }}
-- Of which customers' months this build works out anew what their days come to: those with a changed day, those whose lines or prices
-- are not what the last build knew, and those that had not begun in it. Where nothing can be taken over, none is here.
with

{% if not rates_from_scratch() %}
lines_now as (

    select * from {{ ref('due_lines') }}

),

lines_then as (

    select * from {{ state_table('known_lines') }}

),

periods_now as (

    select * from {{ ref('customer_price_periods') }}

),

periods_then as (

    select * from {{ state_table('known_price_periods') }}

),

changed_lines as (

    select * from (
        select * from lines_now
        except
        select * from lines_then
    ) as come
    union all
    select * from (
        select * from lines_then
        except
        select * from lines_now
    ) as gone

),

changed_periods as (

    select * from (
        select * from periods_now
        except
        select * from periods_then
    ) as come
    union all
    select * from (
        select * from periods_then
        except
        select * from periods_now
    ) as gone

),

{% endif %}
changed as (

    select
        customer_id,
        {{ billing_period('cast(usage_date as timestamp)') }} as period
    from {{ ref('changed_days') }}
    {% if not rates_from_scratch() %}
    union all
    select
        customer_id,
        service_period
    from changed_lines
    union all
    select
        customer_id,
        period
    from changed_periods
    union all
    select
        customer_id,
        service_period
    from lines_now
    where service_period > {{ last_rated('current_period') }}
    {% endif %}

)

select distinct
    customer_id,
    period,
    cast(period || '-01' as date) as first_date
from changed
