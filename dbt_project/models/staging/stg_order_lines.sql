with

source as (

    select * from {{ source('landed', 'order_lines') }}

),

cleaned as (

    select
        *,
        {{ currency_written('currency') }} as currency_written
    from source

),

priced as (

    select
        cleaned.*,
        currencies.currency as currency_code
    from cleaned
    left join {{ ref('iso_currencies') }} as currencies on cleaned.currency_written = currencies.currency

),

renamed as (

    select
        -- ids
        {{ clean_text('order_id') }} as order_id,
        {{ clean_text('product_id') }} as product_id,
        customer_key,
        {{ clean_text('store_id') }} as store_id,

        -- text
        {{ clean_text('channel') }} as channel,

        -- numerics
        {{ money('quantity') }} as quantity,
        {{ money('amount') }} as amount,
        {{ money('discount') }} as discount,
        {{ money('coupon_discount') }} as coupon_discount,
        currency_code as currency,
        {{ currency_problem('currency_written', 'currency_code') }} as currency_problem,

        -- timestamps
        {{ to_utc('ordered_at') }} as ordered_at
    from priced

)

select * from renamed
