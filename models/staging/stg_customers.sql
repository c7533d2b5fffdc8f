select
    records.customer_id,
    records.name,
    records.email,
    records.currency,
    records.stripe_customer_id,
    records.monthly_spend_limit as monthly_spend_limit_amount,
    {{ to_utc('records.created_at') }} as created_at,
    {{ to_utc('records.effective_at') }} as effective_at,
    records.language,
    records.cleared_fields,
    files.landed_sequence,
    records.file_id,
    records.file_row
from {{ source('raw', 'customers') }} as records
inner join {{ ref('stg_landed_files') }} as files on records.file_id = files.file_id
