select
    {{ running_listing_columns() }}
from {{ source('raw', 'running_listings') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
