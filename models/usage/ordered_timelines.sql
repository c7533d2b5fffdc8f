{{ config(materialized='table') }}
-- Billing rules, section 4: the timelines that this build recomputes and that are not plain: the order of their events decides something. Most
-- deployments have few. A table, so that the engine knows how few.
select
    timeline_key,
    customer_id
from {{ ref('timelines') }}
where not is_plain
