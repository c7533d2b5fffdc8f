-- A build as of an instant before a close's as_of ignores the close: it shows the books as they were then.
select
    period,
    {{ to_utc('as_of') }} as as_of,
    {{ to_utc('closed_at') }} as closed_at,
    sum(landed_files) over (order by period rows between unbounded preceding and current row) as landed_through_sequence
from {{ source('closes', 'close') }}
where {{ to_utc('as_of') }} <= (select as_of from {{ ref('stg_build_inputs') }})
