-- Fails if a file received more or fewer rows than it accounts for: then a row was lost on the way, or made up.
select
    file_id,
    file_name,
    received_rows,
    accepted_rows,
    duplicate_rows,
    quarantined_rows
from {{ ref('stg_landed_files') }}
where received_rows <> accepted_rows + duplicate_rows + quarantined_rows
