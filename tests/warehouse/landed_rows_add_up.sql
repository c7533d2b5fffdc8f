-- Fails if a file's received rows are not its accepted, duplicate and quarantined rows: landing lost a row or counted one twice.
select
    file_id,
    file_name,
    received_rows,
    accepted_rows,
    duplicate_rows,
    quarantined_rows
from {{ ref('stg_landed_files') }}
where received_rows <> accepted_rows + duplicate_rows + quarantined_rows
