{#- Exact sum of a column of the activity before the cut-off, over the last `days` days (all of it without `days`). -#}
{% macro total(column, event, days=none, after=0) -%}
    sum(case when event = '{{ event }}'
        {%- if days %} and days_before > {{ after }} and days_before <= {{ days }}{% endif %} then {{ column }} else 0 end)
{%- endmacro %}

{#- A quotient of exact numbers as DOUBLE; NULL where the divisor is not positive. -#}
{% macro ratio(part, whole) -%}
    case when {{ whole }} > 0 then cast({{ part }} as double) / cast({{ whole }} as double) end
{%- endmacro %}

{#- Saturday or Sunday. Days are counted from a Monday, which every engine can do; their own weekday numbers differ. -#}
{% macro is_weekend(day) -%}
    {{ dbt.datediff("cast('1900-01-01' as date)", day, 'day') }} % 7 >= 5
{%- endmacro %}
