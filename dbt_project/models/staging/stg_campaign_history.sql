with

source as (

    select * from {{ source('landed', 'campaign_history') }}

),

renamed as (

    select
        -- ids
        {{ clean_text('campaign_id') }} as campaign_id,

        -- text
        {{ clean_text('kind') }} as kind,
        {{ clean_text('title') }} as title,

        -- timestamps
        {{ to_utc('starts_at', calendar=true) }} as starts_at,
        {{ to_utc('ends_at', calendar=true) }} as ends_at
    from source

)

select * from renamed
