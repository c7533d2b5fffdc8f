-- Rows that are in quarantine now. Billing rules, section 3: of a row that was judged again the latest judgement counts.
with

quarantined as (

    select
        file_id,
        file_name,
        file_row,
        kind,
        reason,
        detail,
        raw_row,
        event_id
    from {{ source('raw', 'quarantine') }}

),

landed_files as (

    select
        file_id,
        coalesce(retried_file_id, file_id) as original_file_id
    from {{ ref('stg_landed_files') }}

),

retried as (

    select
        superseded_file_id,
        file_row
    from {{ ref('stg_retried_rows') }}

)

select
    landed_files.original_file_id as file_id,
    quarantined.file_name,
    quarantined.file_row,
    quarantined.kind,
    quarantined.reason,
    quarantined.detail,
    quarantined.raw_row,
    quarantined.event_id
from quarantined
inner join landed_files on quarantined.file_id = landed_files.file_id
left join retried on quarantined.file_id = retried.superseded_file_id and quarantined.file_row = retried.file_row
where retried.file_row is null
