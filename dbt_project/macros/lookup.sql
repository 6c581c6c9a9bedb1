{#- The form in which names are compared; `spelling` in personalization/warehouse/reference.py is the same in Python. -#}
{% macro spelling(column) -%}
    {{ return(adapter.dispatch('spelling', 'personalization')(column)) }}
{%- endmacro %}

{% macro default__spelling(column) -%}
    trim(regexp_replace(upper(strip_accents(cast({{ column }} as varchar))), '[^A-Z0-9]+', ' ', 'g'))
{%- endmacro %}
