with

order_lines as (

    select * from {{ ref('order_lines') }}

),

email_events as (

    select * from {{ ref('email_events') }}

),

customer_events as (

    select * from {{ ref('customer_events') }}

),

-- one row per order and department first: the two roll-ups after it then read a quarter of the lines
order_departments as (

    select
        customer_token,
        order_day,
        order_id,
        department,
        sum(quantity) as quantity,
        sum(amount) as amount,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount
    from order_lines
    group by customer_token, order_day, order_id, department

),

purchases as (

    select
        customer_token,
        order_day as event_day,
        'purchase' as event,
        department,
        '' as campaign_id,
        count(*) as events,
        sum(quantity) as quantity,
        sum(amount) as amount,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount
    from order_departments
    group by customer_token, order_day, department

    union all

    select
        customer_token,
        order_day as event_day,
        'purchase' as event,
        '' as department,
        '' as campaign_id,
        count(distinct order_id) as events,
        sum(quantity) as quantity,
        sum(amount) as amount,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount
    from order_departments
    group by customer_token, order_day

),

mail as (

    select
        customer_token,
        event_day,
        {{ behaviour('event') }} as event,
        '' as department,
        campaign_id,
        sum(events) as events,
        cast(null as decimal(38, 4)) as quantity,
        cast(null as decimal(38, 4)) as amount,
        cast(null as decimal(38, 4)) as discount,
        cast(null as decimal(38, 4)) as coupon_discount
    from email_events
    where event not in ('unknown', 'machine_opened') and event_day is not null
    group by customer_token, event_day, event, campaign_id

),

own as (

    select
        customer_token,
        event_day,
        event,
        '' as department,
        '' as campaign_id,
        count(*) as events,
        sum(quantity) as quantity,
        sum(amount) as amount,
        cast(null as decimal(38, 4)) as discount,
        cast(null as decimal(38, 4)) as coupon_discount
    from customer_events
    group by customer_token, event_day, event

),

final as (

    select * from purchases
    union all
    select * from mail
    union all
    select * from own

)

select * from final
-- a customer's days side by side: who aggregates by customer then needs a fraction of the memory
order by customer_token
