select
    landed_sequence,
    file_id,
    file_name,
    file_bytes,
    kind,
    format,
    {{ from_utc('landed_at') }} as landed_at,
    received_rows,
    accepted_rows,
    duplicate_rows,
    quarantined_rows,
    {{ from_utc('first_at') }} as first_at,
    {{ from_utc('last_at') }} as last_at,
    unread_columns,
    retried_file_id,
    source_name,
    omitted_rows
from {{ ref('stg_landed_files') }}
