-- Fails if raw/usage_events has more or fewer rows of a file than it accepted: rows were removed or added after landing.
with

found as (

    select
        file_id,
        sum(row_count) as found_rows
    from {{ usage_file_rows() }}
    group by file_id

)

select
    files.file_id,
    files.file_name,
    files.accepted_rows,
    coalesce(found.found_rows, 0) as found_rows
from {{ ref('stg_landed_files') }} as files
left join found on files.file_id = found.file_id
where files.kind = 'usage' and files.accepted_rows <> coalesce(found.found_rows, 0)
