{#- The instants to compute features for, one row each, from var `cutoffs`. -#}
{% macro cutoffs() -%}
    {%- for day in var('cutoffs') %}
    select cast('{{ day }}' as date) as as_of
    {{- "\n    union all" if not loop.last }}
    {%- endfor %}
{%- endmacro %}
