-- Fails if the raw events are not as many as the files say they accepted: a file of events was removed or added.
with

landed as (

    select count(*) as found_rows
    from {{ ref('stg_usage_events') }}

),

accounted as (

    select coalesce(sum(accepted_rows), 0) as expected_rows
    from {{ ref('stg_landed_files') }}
    where kind = 'usage'

)

select
    landed.found_rows,
    accounted.expected_rows
from landed
cross join accounted
where landed.found_rows <> accounted.expected_rows
