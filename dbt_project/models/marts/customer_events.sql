with

events as (

    select * from {{ ref('stg_customer_events') }}

),

identities as (

    select * from {{ ref('stg_identities') }}

),

products as (

    select * from {{ ref('products') }}

),

final as (

    select
        coalesce(identities.customer_token, events.customer_key) as customer_token,
        events.event,
        events.event_id,
        events.occurred_at,
        {{ business_day('events.occurred_at') }} as event_day,
        events.product_id,
        -- what the source says of the event itself comes before what is known of the product
        coalesce(events.department, products.department) as department,
        coalesce(events.category, products.category) as category,
        events.detail,
        events.quantity,
        events.amount
    from events
    left join identities on events.customer_key = identities.identifier_token
    left join products on events.product_id = products.product_id

)

select * from final
