with

merged as (

    select * from {{ ref('int_customers_merged') }}

),

seen as (

    select customer_token from merged
    union
    select customer_token from {{ ref('order_lines') }}
    union
    select customer_token from {{ ref('email_events') }}
    union
    select customer_token from {{ ref('customer_events') }}

),

final as (

    select
        seen.customer_token,
        merged.email_token,
        merged.phone_token,
        merged.country,
        merged.region,
        merged.postcode,
        merged.language,
        merged.time_zone,
        merged.birth_date,
        merged.age_band,
        merged.income_band,
        merged.household_size,
        merged.marital_status,
        merged.home_ownership,
        merged.children,
        merged.created_at,
        coalesce(merged.records, 0) as records
    from seen
    left join merged on seen.customer_token = merged.customer_token

)

select * from final
