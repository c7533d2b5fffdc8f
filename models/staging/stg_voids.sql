-- Billing rules, sections 3 and 6: a void counts from its own instant on. A build as of an earlier instant ignores it.
select
    records.event_id,
    records.grant_id,
    {{ to_utc('records.voided_at') }} as voided_at,
    records.void_reason as reason,
    files.landed_sequence,
    records.file_id,
    records.file_row
from {{ source('raw', 'voids') }} as records
inner join {{ ref('stg_landed_files') }} as files on records.file_id = files.file_id
where {{ to_utc('records.voided_at') }} <= (select as_of from {{ ref('stg_build_inputs') }})
