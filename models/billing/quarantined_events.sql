select
    quarantined.file_id,
    quarantined.file_name,
    quarantined.file_row,
    quarantined.kind,
    quarantined.reason,
    quarantined.detail,
    quarantined.raw_row,
    quarantined.event_id,
    {{ from_utc('files.landed_at') }} as landed_at,
    {{ from_utc('settlements.settled_at') }} as settled_at,
    settlements.settled_by,
    settlements.settlement_reason
from {{ ref('stg_quarantined_events') }} as quarantined
inner join {{ ref('stg_landed_files') }} as files on quarantined.file_id = files.file_id
left join {{ ref('stg_quarantine_settlements') }} as settlements
    on
        quarantined.file_id = settlements.file_id
        and quarantined.file_row = settlements.file_row
