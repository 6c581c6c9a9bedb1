{#- A UTC timestamp in microseconds since 1970, so that instants are compared as whole numbers everywhere. -#}
{% macro microseconds(timestamp) -%}
    {{ return(adapter.dispatch('microseconds', 'personalization')(timestamp)) }}
{%- endmacro %}

{% macro default__microseconds(timestamp) -%}
    epoch_us({{ timestamp }})
{%- endmacro %}

{% macro spark__microseconds(timestamp) -%}
    unix_micros({{ timestamp }})
{%- endmacro %}
