-- A file's rows count from the moment its row in landed_files is there, and never before: that row is the commit.
select
    {{ usage_event_columns() }}
from {{ source('raw', 'usage_events') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
