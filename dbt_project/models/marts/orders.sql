with

order_lines as (

    select * from {{ ref('order_lines') }}

),

final as (

    select
        order_id,
        min(customer_token) as customer_token,
        min(ordered_at) as ordered_at,
        min(order_day) as order_day,
        min(store_id) as store_id,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(amount) as amount,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount,
        min(currency) as currency
    from order_lines
    group by order_id

)

select * from final
