-- Fails if a landing's rows in quarantine are not as many as it counted, if rows were judged again that it did not count as received,
-- or if a row left the quarantine that was not in it, or twice.
with

landed_files as (

    select
        file_id,
        file_name,
        retried_file_id,
        received_rows,
        quarantined_rows
    from {{ ref('stg_landed_files') }}

),

kept as (

    select
        file_id,
        file_row
    from {{ source('raw', 'quarantine') }}

),

retried as (

    select
        file_id,
        file_row,
        superseded_file_id
    from {{ ref('stg_retried_rows') }}

),

kept_rows as (

    select
        file_id,
        count(*) as row_count
    from kept
    group by file_id

),

retried_rows as (

    select
        file_id,
        count(*) as row_count
    from retried
    group by file_id

)

select
    landed_files.file_id,
    landed_files.file_name,
    'rows in quarantine' as what
from landed_files
left join kept_rows on landed_files.file_id = kept_rows.file_id
where landed_files.quarantined_rows <> coalesce(kept_rows.row_count, 0)

union all

select
    landed_files.file_id,
    landed_files.file_name,
    'rows judged again' as what
from landed_files
left join retried_rows on landed_files.file_id = retried_rows.file_id
where
    coalesce(retried_rows.row_count, 0)
    <> case when landed_files.retried_file_id is null then 0 else landed_files.received_rows end

union all

select
    retried.superseded_file_id as file_id,
    cast(retried.file_row as varchar) as file_name,
    'rows superseded' as what
from retried
left join kept on retried.superseded_file_id = kept.file_id and retried.file_row = kept.file_row
group by retried.superseded_file_id, retried.file_row
having count(*) <> 1 or count(kept.file_id) <> 1
