with

email_events as (

    select * from {{ ref('stg_email_events') }}

),

campaigns as (

    select * from {{ ref('campaign_history') }}

),

identities as (

    select * from {{ ref('stg_identities') }}

),

dated as (

    select
        coalesce(identities.customer_token, email_events.customer_key) as customer_token,
        email_events.campaign_id,
        email_events.event,
        -- a mailing list without times was sent when its campaign started
        coalesce(email_events.occurred_at, campaigns.starts_at) as occurred_at,
        email_events.detail
    from email_events
    left join campaigns on email_events.campaign_id = campaigns.campaign_id
    left join identities on email_events.customer_key = identities.identifier_token

),

final as (

    select
        customer_token,
        campaign_id,
        event,
        occurred_at,
        {{ business_day('occurred_at') }} as event_day,
        detail,
        count(*) as events
    from dated
    group by customer_token, campaign_id, event, occurred_at, event_day, detail

)

select * from final
