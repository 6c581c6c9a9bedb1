with

products as (

    select * from {{ ref('stg_products') }}

),

final as (

    select
        product_id,
        gtin,
        name,
        brand,
        department,
        category,
        product_type,
        package_size,
        price,
        currency
    from products

)

select * from final
