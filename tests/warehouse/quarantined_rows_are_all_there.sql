-- Fails if raw/quarantine has more or fewer rows of a landing than the landing counted, if a retry did not count as received the rows that it
-- judged again, if a superseded row was not in quarantine or was superseded twice, or if a settled row was never in quarantine or was
-- settled twice.
with

landed_files as (

    select
        file_id,
        file_name,
        retried_file_id,
        received_rows,
        quarantined_rows,
        superseded_rows
    from {{ source('raw', 'landed_files') }}

),

quarantined as (

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

settled as (

    select
        file_id,
        file_row
    from {{ ref('stg_quarantine_settlements') }}

),

quarantined_counts as (

    select
        file_id,
        count(*) as row_count
    from quarantined
    group by file_id

),

retried_counts as (

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
left join quarantined_counts on landed_files.file_id = quarantined_counts.file_id
where landed_files.quarantined_rows <> coalesce(quarantined_counts.row_count, 0)

union all

select
    landed_files.file_id,
    landed_files.file_name,
    'rows judged again' as what
from landed_files
left join retried_counts on landed_files.file_id = retried_counts.file_id
where
    coalesce(retried_counts.row_count, 0)
    <> case
        when landed_files.retried_file_id is null then 0
        -- A row that a source reads as several is received as several when it leaves the quarantine.
        else coalesce(landed_files.superseded_rows, landed_files.received_rows)
    end

union all

select
    retried.superseded_file_id as file_id,
    cast(retried.file_row as string) as file_name,
    'rows superseded' as what
from retried
left join quarantined on retried.superseded_file_id = quarantined.file_id and retried.file_row = quarantined.file_row
group by retried.superseded_file_id, retried.file_row
having count(*) <> 1 or count(quarantined.file_id) <> 1

union all

select
    settled.file_id,
    cast(settled.file_row as string) as file_name,
    'rows settled' as what
from settled
left join quarantined on settled.file_id = quarantined.file_id and settled.file_row = quarantined.file_row
group by settled.file_id, settled.file_row
having count(*) <> 1 or count(quarantined.file_id) <> 1
