{{ config(materialized='table') }}
-- A table, not a view: many models read it, and each landing adds a Parquet file.
select
    landed_sequence,
    file_id,
    file_name,
    file_bytes,
    kind,
    format,
    {{ to_utc('landed_at') }} as landed_at,
    received_rows,
    accepted_rows,
    duplicate_rows,
    quarantined_rows,
    {{ to_utc('first_at') }} as first_at,
    {{ to_utc('last_at') }} as last_at,
    unread_columns,
    retried_file_id,
    source_name,
    coalesce(omitted_rows, 0) as omitted_rows
from {{ source('raw', 'landed_files') }}
