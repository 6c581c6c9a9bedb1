with

source as (

    select * from {{ source('landed', 'customers') }}

),

cleaned as (

    select
        *,
        {{ spelling('country') }} as country_spelling,
        {{ spelling('region') }} as region_spelling,
        upper({{ clean_text('postcode') }}) as postcode_written
    from source

),

located as (

    select
        cleaned.*,
        countries.country as country_code,
        subdivisions.region as region_code,
        time_zones.time_zone as time_zone_name,
        {{ postcode('countries.country', 'cleaned.postcode_written') }} as postcode_code
    from cleaned
    left join {{ ref('iso_countries') }} as countries on cleaned.country_spelling = countries.spelling
    left join {{ ref('iso_subdivisions') }} as subdivisions
        on countries.country = subdivisions.country
        and cleaned.region_spelling = subdivisions.spelling
    left join {{ ref('time_zones') }} as time_zones on lower({{ clean_text('cleaned.time_zone') }}) = time_zones.spelling

),

renamed as (

    select
        -- ids
        customer_key,
        email_token,
        phone_token,

        -- place
        country_code as country,
        region_code as region,
        {{ clean_text('city') }} as city,
        postcode_code as postcode,
        {{ postcode_problem('country_code', 'postcode_written', 'postcode_code') }} as postcode_problem,

        -- person
        {{ language('language') }} as language,
        time_zone_name as time_zone,
        {{ business_day(to_utc('birth_date', calendar=true)) }} as birth_date,
        {{ clean_text('age_band') }} as age_band,
        {{ clean_text('income_band') }} as income_band,
        {{ clean_text('household_size') }} as household_size,
        {{ clean_text('marital_status') }} as marital_status,
        {{ clean_text('home_ownership') }} as home_ownership,
        {{ clean_text('children') }} as children,

        -- timestamps
        {{ to_utc('created_at', calendar=true) }} as created_at,
        {{ to_utc('updated_at', calendar=true) }} as updated_at,

        -- position in the source
        _source,
        _row
    from located

)

select * from renamed
