with

source as (

    select * from {{ source('landed', 'email_events') }}

),

renamed as (

    select
        -- ids
        {{ clean_text('campaign_id') }} as campaign_id,
        customer_key,

        -- text
        {{ email_event('event') }} as event,
        {{ clean_text('detail') }} as detail,

        -- timestamps
        {{ to_utc('occurred_at', calendar=true) }} as occurred_at
    from source

)

select * from renamed
