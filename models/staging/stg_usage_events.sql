-- Landing writes a file's row in landed_files last: rows of a file without it are of an interrupted landing and are ignored.
select
    {{ usage_event_columns() }}
from {{ source('raw', 'usage_events') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
