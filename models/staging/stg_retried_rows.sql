select
    file_id,
    file_row,
    superseded_file_id
from {{ source('raw', 'retried_rows') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
