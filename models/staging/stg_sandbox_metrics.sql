select
    {{ sandbox_metric_columns() }}
from {{ source('raw', 'sandbox_metrics') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
