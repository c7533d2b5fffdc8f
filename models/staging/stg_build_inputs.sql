select
    {{ to_utc('as_of') }} as as_of,
    heartbeat_timeout_seconds
from {{ landed('build') }}
