-- Billing rules, section 4: segments. Pieces of sessions with constant resources, cut at midnight UTC, so that each lies in one day and one
-- billing period. `priced_segments` cuts them where plan or rate changes.
with

pieces_with_days as (

    select
        *,
        {{ starts_of_each('day', 'started_at', 'ended_at') }} as day_starts_at
    from {{ ref('session_pieces') }}

),

segments as (

    select
        session_id,
        sandbox_id,
        execution_id,
        customer_id,
        cast(day_starts_at as date) as usage_date,
        {{ billing_period('day_starts_at') }} as period,
        greatest(started_at, day_starts_at) as started_at,
        least(ended_at, day_starts_at + interval 1 day) as ended_at,
        {%- for resource in resource_columns() %}
        {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from pieces_with_days

)

select
    *,
    {{ microseconds_between('started_at', 'ended_at') }} as duration_microseconds
from segments
