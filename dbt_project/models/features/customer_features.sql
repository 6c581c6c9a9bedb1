with

cutoffs as (
    {{ cutoffs() }}
),

customer_day as (

    select * from {{ ref('customer_day') }}

),

customers as (

    select * from {{ ref('customers') }}

),

-- the only place where time enters: what happened on the day of the cut-off or later is not there
history as (

    select
        cutoffs.as_of,
        customer_day.customer_token,
        customer_day.event,
        customer_day.department,
        customer_day.events,
        customer_day.quantity,
        customer_day.amount,
        customer_day.discount,
        customer_day.coupon_discount,
        {{ is_weekend('customer_day.event_day') }} as is_weekend,
        {{ dbt.datediff('customer_day.event_day', 'cutoffs.as_of', 'day') }} as days_before
    from customer_day
    inner join cutoffs on customer_day.event_day < cutoffs.as_of

),

activity as (

    select
        as_of,
        customer_token,
        max(days_before) as tenure_days,

        min(case when event = 'purchase' then days_before end) as recency_days,
        {{ total('events', 'purchase', 7) }} as orders_7d,
        {{ total('events', 'purchase', 28) }} as orders_28d,
        {{ total('events', 'purchase', 84) }} as orders_84d,
        {{ total('events', 'purchase') }} as orders_total,
        {{ total('amount', 'purchase', 28) }} as spend_28d,
        {{ total('amount', 'purchase', 56, after=28) }} as spend_previous_28d,
        {{ total('amount', 'purchase', 84) }} as spend_84d,
        {{ total('amount', 'purchase') }} as spend_total,
        {{ total('quantity', 'purchase', 84) }} as items_84d,
        {{ total('coalesce(discount, 0)', 'purchase', 84) }} as discount_84d,
        {{ total('coalesce(coupon_discount, 0)', 'purchase', 84) }} as coupon_discount_84d,
        {{ total('case when is_weekend then events else 0 end', 'purchase', 84) }} as weekend_orders_84d,
        count(distinct case when event = 'purchase' and days_before <= 84 then floor((days_before - 1) / 7) end)
            as active_weeks_12w,

        {{ total('events', 'mailing', 28) }} as mailings_28d,
        {{ total('events', 'mailing', 84) }} as mailings_84d,
        {{ total('events', 'mailing') }} as mailings_total,
        min(case when event = 'mailing' then days_before end) as last_mailing_days,
        {{ total('events', 'conversion', 84) }} as conversions_84d,
        {{ total('events', 'conversion') }} as conversions_total,
        min(case when event = 'conversion' then days_before end) as last_conversion_days
    from history
    where department = ''
    group by as_of, customer_token

),

department_amounts as (

    select
        as_of,
        customer_token,
        department,
        sum(amount) as amount,
        row_number() over (partition by as_of, customer_token order by sum(amount) desc, department) as place
    from history
    where event = 'purchase' and department not in ('', 'UNKNOWN') and days_before <= 84
    group by as_of, customer_token, department

),

departments as (

    select
        as_of,
        customer_token,
        count(department) as departments_84d,
        max(case when place = 1 then department end) as top_department_84d,
        max(case when place = 1 then amount end) as top_amount_84d,
        sum(case when department = 'PRODUCE' then amount else 0 end) as produce_84d,
        sum(case when department = 'MEAT' then amount else 0 end) as meat_84d,
        sum(case when department = 'GROCERY' then amount else 0 end) as grocery_84d
    from department_amounts
    group by as_of, customer_token

),

-- known before the cut-off: by an event, or by a record made before it (or made at a time nobody noted)
known as (

    select
        cutoffs.as_of,
        customers.customer_token,
        {{ dbt.datediff(business_day('customers.created_at'), 'cutoffs.as_of', 'day') }} as record_days
    from customers
    cross join cutoffs
    where customers.records > 0

),

final as (

    select
        coalesce(activity.as_of, known.as_of) as as_of,
        coalesce(activity.customer_token, known.customer_token) as customer_token,

        activity.recency_days,
        greatest(activity.tenure_days, known.record_days) as tenure_days, -- the one that is known, if only one is
        cast(coalesce(activity.orders_7d, 0) as bigint) as orders_7d,
        cast(coalesce(activity.orders_28d, 0) as bigint) as orders_28d,
        cast(coalesce(activity.orders_84d, 0) as bigint) as orders_84d,
        cast(coalesce(activity.orders_total, 0) as bigint) as orders_total,
        cast(coalesce(activity.spend_28d, 0) as double) as spend_28d,
        cast(coalesce(activity.spend_84d, 0) as double) as spend_84d,
        cast(coalesce(activity.spend_total, 0) as double) as spend_total,
        {{ ratio('activity.spend_84d', 'activity.orders_84d') }} as average_order_value_84d,
        cast(coalesce(activity.items_84d, 0) as double) as items_84d,
        {{ ratio('84', 'activity.orders_84d') }} as mean_gap_days_84d,
        case when activity.orders_84d > 0 then cast(activity.recency_days * activity.orders_84d as double) / 84 end
            as recency_to_gap,
        cast(coalesce(activity.active_weeks_12w, 0) as bigint) as active_weeks_12w,
        {{ ratio('activity.spend_28d', 'activity.spend_previous_28d') }} as spend_trend,
        {{ ratio('activity.discount_84d', '(activity.spend_84d + activity.discount_84d + activity.coupon_discount_84d)') }}
            as discount_share_84d,
        {{ ratio('activity.coupon_discount_84d', '(activity.spend_84d + activity.discount_84d + activity.coupon_discount_84d)') }}
            as coupon_share_84d,
        cast(coalesce(departments.departments_84d, 0) as bigint) as departments_84d,
        departments.top_department_84d,
        {{ ratio('departments.top_amount_84d', 'activity.spend_84d') }} as top_department_share_84d,
        {{ ratio('coalesce(departments.produce_84d, 0)', 'activity.spend_84d') }} as produce_share_84d,
        {{ ratio('coalesce(departments.meat_84d, 0)', 'activity.spend_84d') }} as meat_share_84d,
        {{ ratio('coalesce(departments.grocery_84d, 0)', 'activity.spend_84d') }} as grocery_share_84d,
        {{ ratio('activity.weekend_orders_84d', 'activity.orders_84d') }} as weekend_share_84d,

        cast(coalesce(activity.mailings_28d, 0) as bigint) as mailings_28d,
        cast(coalesce(activity.mailings_84d, 0) as bigint) as mailings_84d,
        cast(coalesce(activity.mailings_total, 0) as bigint) as mailings_total,
        activity.last_mailing_days,
        cast(coalesce(activity.conversions_84d, 0) as bigint) as conversions_84d,
        cast(coalesce(activity.conversions_total, 0) as bigint) as conversions_total,
        activity.last_conversion_days
    from known
    full outer join activity
        on known.as_of = activity.as_of and known.customer_token = activity.customer_token
    left join departments
        on activity.as_of = departments.as_of and activity.customer_token = departments.customer_token
    where activity.customer_token is not null or known.record_days is null or known.record_days > 0

)

select * from final
