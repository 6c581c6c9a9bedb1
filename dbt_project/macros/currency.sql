{#- A currency as written, in upper case; the program's own currency where the source names none. -#}
{% macro currency_written(column) -%}
    coalesce(upper({{ clean_text(column) }}), '{{ var("currency") }}')
{%- endmacro %}

{% macro currency_problem(written, code) -%}
    case when {{ code }} is null then 'not an ISO 4217 currency: ' || {{ written }} end
{%- endmacro %}
