{#- The newest known value of a column among the rows of a group, which column `recency` numbers from the oldest. -#}
{% macro newest(column) -%}
    max_by({{ column }}, case when {{ column }} is not null then recency end)
{%- endmacro %}
