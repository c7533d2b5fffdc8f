select
    quarantined.file_id,
    quarantined.file_name,
    quarantined.file_row,
    quarantined.kind,
    quarantined.reason,
    quarantined.detail,
    quarantined.raw_row,
    quarantined.event_id,
    {{ from_utc('files.landed_at') }} as landed_at
from {{ ref('stg_quarantined_events') }} as quarantined
inner join {{ ref('stg_landed_files') }} as files on quarantined.file_id = files.file_id
