{#-
  Dates and times of every kind to a TIMESTAMP that means UTC.

  - A typed TIMESTAMP is an instant: without a zone it is taken as UTC.
  - Text that names its zone (Z, UTC, GMT, +02:00) is converted from it.
  - Text without a zone, and a typed DATE, is local time of the program's zone (var `timezone`).
  - With `calendar=true`, for columns that hold days more often than instants, a typed value of exactly midnight is a
    day too: databases and Parquet writers pad dates with 00:00:00, and read as UTC they would fall on the day before
    everywhere west of Greenwich.

  Formats come from var `date_formats`; text that fits none of them, or that writes its year with two digits, is NULL.
-#}
{% macro to_utc(column, calendar=false) -%}
    {{ return(adapter.dispatch('to_utc', 'personalization')(column, calendar)) }}
{%- endmacro %}

{% macro default__to_utc(column, calendar) -%}
    {%- set text = 'trim(cast(' ~ column ~ ' as varchar))' -%}
    {%- set typed = 'try_cast(' ~ column ~ ' as timestamp)' -%}
    {%- set zoned = [] -%}
    {%- set local = [] -%}
    {%- for format in var('date_formats') -%}
        {%- do (zoned if '%z' in format else local).append("'" ~ format ~ "'") -%}
    {%- endfor -%}
    case
        {%- if calendar %}
        when upper(typeof({{ column }})) like 'TIMESTAMP%' and {{ typed }} = date_trunc('day', {{ typed }})
            then {{ local_to_utc(typed) }}
        {%- endif %}
        when upper(typeof({{ column }})) like 'TIMESTAMP%' then {{ typed }}
        when not regexp_matches({{ text }}, '[0-9]{4}') then null
        {%- if zoned %}
        when regexp_matches({{ text }}, ':[0-9.]+ ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)$') then timezone(
            'UTC',
            try_strptime(regexp_replace({{ text }}, ' ?(Z|UTC|GMT)$', '+00:00'), [{{ zoned | join(', ') }}])
        )
        {%- endif %}
        {%- if local %}
        else {{ local_to_utc('try_strptime(' ~ text ~ ', [' ~ local | join(', ') ~ '])') }}
        {%- endif %}
    end
{%- endmacro %}


{#- A local time of the program's zone to UTC. -#}
{% macro local_to_utc(timestamp) -%}
    {{ return(adapter.dispatch('local_to_utc', 'personalization')(timestamp)) }}
{%- endmacro %}

{% macro default__local_to_utc(timestamp) -%}
    timezone('UTC', timezone('{{ var("timezone") }}', {{ timestamp }}))
{%- endmacro %}


{#- The business day of a UTC timestamp: its date in the program's zone. -#}
{% macro business_day(timestamp) -%}
    {{ return(adapter.dispatch('business_day', 'personalization')(timestamp)) }}
{%- endmacro %}

{% macro default__business_day(timestamp) -%}
    cast(timezone('{{ var("timezone") }}', timezone('UTC', {{ timestamp }})) as date)
{%- endmacro %}
