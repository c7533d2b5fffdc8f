select
    file_id,
    file_name,
    file_row,
    kind,
    reason,
    detail,
    raw_row,
    event_id
from {{ landed('raw/quarantine') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
