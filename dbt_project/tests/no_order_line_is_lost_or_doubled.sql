-- Joins to persons, products and currencies must neither drop a landed line nor repeat it.
{{ config(meta={'dagster': {'ref': {'name': 'order_lines'}}}) }}

select
    landed.lines as landed_lines,
    marts.lines as mart_lines
from (select count(*) as lines from {{ source('landed', 'order_lines') }}) as landed
cross join (select count(*) as lines from {{ ref('order_lines') }}) as marts
where landed.lines <> marts.lines
