select
    records.customer_id,
    records.plan_id,
    coalesce(records.is_trial, false) as is_trial,
    {{ to_utc('records.effective_at') }} as effective_at,
    files.landed_sequence,
    records.file_id,
    records.file_row
from {{ source('raw', 'subscriptions') }} as records
inner join {{ ref('stg_landed_files') }} as files on records.file_id = files.file_id
