-- Complete syncs. A sync writes its row here last, so that rows of an interrupted sync are ignored.
select
    sync_id,
    livemode as is_live,
    is_full,
    {{ to_utc('started_at') }} as started_at,
    {{ to_utc('events_through') }} as events_through,
    objects as object_count
from {{ source('stripe', 'syncs') }}
