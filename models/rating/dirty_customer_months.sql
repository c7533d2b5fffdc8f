-- depends_on: {{ ref('due_lines') }}
-- depends_on: {{ ref('customer_price_periods') }}
-- Dirty customer-months: the months whose days this build recomputes. A month is dirty if it has a dirty day, if its due lines or
-- prices differ from those of the last build, or if the last build was before it. In a full refresh this table is empty: all are
-- recomputed.
with

{% if not is_full_rating() %}
current_lines as (

    select * from {{ ref('due_lines') }}

),

previous_lines as (

    select * from {{ state_table('known_lines') }}

),

current_periods as (

    select * from {{ ref('customer_price_periods') }}

),

previous_periods as (

    select * from {{ state_table('known_price_periods') }}

),

changed_lines as (

    select * from (
        select * from current_lines
        except
        select * from previous_lines
    ) as new_rows
    union all
    select * from (
        select * from previous_lines
        except
        select * from current_lines
    ) as old_rows

),

changed_periods as (

    select * from (
        select * from current_periods
        except
        select * from previous_periods
    ) as new_rows
    union all
    select * from (
        select * from previous_periods
        except
        select * from current_periods
    ) as old_rows

),

{% endif %}
dirty_months as (

    select
        customer_id,
        {{ billing_period('cast(usage_date as timestamp)') }} as period
    from {{ ref('dirty_customer_days') }}
    {% if not is_full_rating() %}
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
    from current_lines
    where service_period > {{ last_rated('current_period') }}
    {% endif %}

)

select distinct
    customer_id,
    period,
    cast(period || '-01' as date) as first_date
from dirty_months
