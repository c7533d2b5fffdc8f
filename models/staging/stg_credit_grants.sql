select
    records.grant_id,
    records.customer_id,
    records.amount,
    records.currency,
    records.priority,
    {{ to_utc('records.granted_at') }} as granted_at,
    {{ to_utc('records.expires_at') }} as expires_at,
    records.scope,
    records.source,
    records.file_id,
    records.file_row
from {{ source('raw', 'credit_grants') }} as records
inner join {{ ref('stg_landed_files') }} as files on records.file_id = files.file_id
