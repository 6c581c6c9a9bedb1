with

campaigns as (

    select * from {{ ref('stg_campaign_history') }}

),

final as (

    select
        campaign_id,
        kind,
        title,
        starts_at,
        ends_at
    from campaigns

)

select * from final
