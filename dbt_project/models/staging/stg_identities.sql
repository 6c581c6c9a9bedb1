with

source as (

    select * from {{ source('landed', 'identity') }}

),

renamed as (

    select
        identifier_token,
        kind,
        customer_token,
        linked_by
    from source

)

select * from renamed
