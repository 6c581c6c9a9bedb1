{#- An exact amount or quantity: sums of it do not depend on the order of the rows, sums of DOUBLE would. -#}
{% macro money(column) -%}
    try_cast({{ column }} as decimal(18, 4))
{%- endmacro %}
