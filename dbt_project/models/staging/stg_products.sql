with

source as (

    select * from {{ source('landed', 'products') }}

),

cleaned as (

    select
        *,
        {{ gtin_digits('gtin') }} as gtin_digits,
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
        {{ clean_text('product_id') }} as product_id,
        {{ gtin('gtin_digits') }} as gtin,
        {{ gtin_problem('gtin_digits') }} as gtin_problem,

        -- text
        {{ clean_text('name') }} as name,
        {{ clean_text('brand') }} as brand,
        upper({{ clean_text('department') }}) as department,
        {{ clean_text('category') }} as category,
        {{ clean_text('product_type') }} as product_type,
        {{ clean_text('package_size') }} as package_size,

        -- numerics
        {{ money('price') }} as price,
        currency_code as currency,
        {{ currency_problem('currency_written', 'currency_code') }} as currency_problem
    from priced

)

select * from renamed
