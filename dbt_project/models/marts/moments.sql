{{ config(materialized='view') }}

with

purchases as (

    select
        customer_token,
        ordered_at as occurred_at,
        order_day as event_day,
        'purchase' as event,
        order_id as event_id,
        department,
        category,
        product_id,
        cast(null as {{ dbt.type_string() }}) as campaign_id,
        cast(null as {{ dbt.type_string() }}) as detail,
        1 as events,
        quantity,
        amount
    from {{ ref('order_lines') }}

),

mail as (

    select
        customer_token,
        occurred_at,
        event_day,
        {{ behaviour('event') }} as event,
        cast(null as {{ dbt.type_string() }}) as event_id,
        cast(null as {{ dbt.type_string() }}) as department,
        cast(null as {{ dbt.type_string() }}) as category,
        cast(null as {{ dbt.type_string() }}) as product_id,
        campaign_id,
        detail,
        events,
        cast(null as decimal(38, 4)) as quantity,
        cast(null as decimal(38, 4)) as amount
    from {{ ref('email_events') }}
    where event not in ('unknown', 'machine_opened') and event_day is not null

),

own as (

    select
        customer_token,
        occurred_at,
        event_day,
        event,
        event_id,
        department,
        category,
        product_id,
        cast(null as {{ dbt.type_string() }}) as campaign_id,
        detail,
        1 as events,
        quantity,
        amount
    from {{ ref('customer_events') }}

),

united as (

    select * from purchases
    union all
    select * from mail
    union all
    select * from own

),

final as (

    select
        customer_token,
        {{ microseconds('occurred_at') }} as moment_us,
        occurred_at,
        event_day,
        event,
        event_id,
        department,
        category,
        product_id,
        campaign_id,
        detail,
        events,
        quantity,
        amount
    from united

)

select * from final
