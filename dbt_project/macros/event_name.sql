{#- A kind of event the way rules name it: 'Added to Cart' is added_to_cart. -#}
{% macro event_name(column) -%}
    regexp_replace(lower(trim(cast({{ column }} as {{ dbt.type_string() }}))), '[^a-z0-9]+', '_', 'g')
{%- endmacro %}
