with

features as (

    select * from {{ ref('customer_features') }}

),

customers as (

    select * from {{ ref('customers') }}

),

final as (

    select
        features.*,
        customers.email_token,
        customers.age_band,
        customers.income_band,
        try_cast(regexp_extract(customers.household_size, '^[0-9]+') as integer) as household_size,
        customers.marital_status,
        customers.home_ownership,
        customers.children,
        customers.country,
        customers.region,
        customers.language,
        customers.time_zone,
        {{ lifecycle_stage('features') }} as lifecycle_stage
    from features
    inner join customers on features.customer_token = customers.customer_token
    where features.as_of = cast('{{ var("as_of") }}' as date)

)

select * from final
