with

order_lines as (

    select * from {{ ref('stg_order_lines') }}

),

identities as (

    select * from {{ ref('stg_identities') }}

),

products as (

    select * from {{ ref('products') }}

),

final as (

    select
        order_lines.order_id,
        order_lines.product_id,
        coalesce(identities.customer_token, order_lines.customer_key) as customer_token,
        order_lines.store_id,
        order_lines.ordered_at,
        {{ business_day('order_lines.ordered_at') }} as order_day,
        order_lines.quantity,
        order_lines.amount,
        order_lines.discount,
        order_lines.coupon_discount,
        order_lines.currency,
        coalesce(products.department, 'UNKNOWN') as department,
        products.category
    from order_lines
    left join identities on order_lines.customer_key = identities.identifier_token
    left join products on order_lines.product_id = products.product_id

)

select * from final
