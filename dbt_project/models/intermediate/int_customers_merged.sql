with

customers as (

    select * from {{ ref('stg_customers') }}

),

identities as (

    select * from {{ ref('stg_identities') }}

),

ranked as (

    select
        customers.*,
        coalesce(identities.customer_token, customers.customer_key) as customer_token,
        row_number() over (
            partition by coalesce(identities.customer_token, customers.customer_key)
            order by customers.updated_at nulls first, customers._source, customers._row
        ) as recency
    from customers
    left join identities on customers.customer_key = identities.identifier_token

),

merged as (

    select
        customer_token,
        {%- for column in [
            'email_token', 'phone_token', 'country', 'region', 'postcode', 'language', 'time_zone', 'birth_date',
            'age_band', 'income_band', 'household_size', 'marital_status', 'home_ownership', 'children'
        ] %}
        {{ newest(column) }} as {{ column }},
        {%- endfor %}
        min(created_at) as created_at,
        count(*) as records
    from ranked
    group by customer_token

)

select * from merged
