-- description: E2B's running sandboxes, as a listing
-- reads: complete answers of GET /v2/sandboxes, each a file that its instant names, as 2026-09-03T08-15-00Z.json
-- kind: running
--
-- A listing is complete or nothing: where a row of the answer is in quarantine, the whole listing is refused. Rows are numbered from 1, so that
-- a gap shows. An answer without any sandbox has no row to make a listing of: land it as a row of kind `running`, with an empty list.
with

sandboxes as (

    select
        file_row,
        row -> '$.sandboxID' as sandbox_id,
        -- The answer may have paused sandboxes too, which do not run.
        coalesce(row ->> '$.state', 'running') = 'running' as is_running,
        regexp_replace(split_part(file_name, '.', 1), 'T([0-9]{2})-([0-9]{2})-([0-9]{2})', 'T\1:\2:\3') as listed_at,
        count(*) over () = max(file_row) over () as is_whole,
        cast((row_number() over (order by file_row) - 1) // 1000 as integer) + 1 as part,
        cast((count(*) over () + 999) // 1000 as integer) as parts
    from rows

)

select
    list(file_row) as file_row,
    listed_at,
    case
        when any_value(is_whole) then to_json(coalesce(list(sandbox_id) filter (is_running), []))
        else to_json('a row of the answer is in quarantine, and so the listing would lack sandboxes')
    end as sandbox_ids,
    part,
    parts
from sandboxes
group by listed_at, part, parts
