with

source as (

    select * from {{ source('landed', 'customer_events') }}

),

renamed as (

    select
        -- ids
        {{ clean_text('event_id') }} as event_id,
        customer_key,
        {{ clean_text('product_id') }} as product_id,

        -- text
        {{ event_name('event') }} as event,
        upper({{ clean_text('department') }}) as department,
        {{ clean_text('category') }} as category,
        {{ clean_text('detail') }} as detail,

        -- numerics
        {{ money('quantity') }} as quantity,
        {{ money('amount') }} as amount,

        -- timestamps
        {{ to_utc('occurred_at') }} as occurred_at
    from source

)

select * from renamed
