select
    {{ to_utc('as_of') }} as as_of,
    {{ billing_period(to_utc('as_of')) }} as current_period,
    {{ to_utc('books_open_at') }} as books_open_at,
    heartbeat_timeout_seconds,
    default_currency,
    code_version,
    price_version
from {{ source('build', 'inputs') }}
