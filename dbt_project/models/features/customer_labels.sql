with

customers as (

    select as_of, customer_token from {{ ref('customer_features') }}

),

customer_day as (

    select * from {{ ref('customer_day') }}

),

-- a window is closed when purchases are known up to its last day; before that, "did not buy" means "not yet"
known as (

    select max(event_day) as last_day
    from customer_day
    where event = 'purchase'

),

purchases as (

    select
        customer_token,
        event_day,
        amount
    from customer_day
    where event = 'purchase' and department = ''

),

final as (

    select
        customers.as_of,
        customers.customer_token,
        count(purchases.event_day) > 0 as purchased,
        coalesce(sum(purchases.amount), 0) as purchase_amount
    from customers
    inner join known on {{ dbt.dateadd("day", var("horizon_days"), "customers.as_of") }} <= known.last_day
    left join purchases
        on customers.customer_token = purchases.customer_token
        and purchases.event_day >= customers.as_of
        and purchases.event_day < {{ dbt.dateadd('day', var('horizon_days'), 'customers.as_of') }}
    group by customers.as_of, customers.customer_token

)

select * from final
