{#- Text without surrounding space. Empty text and the ways in which exports spell "no value" become NULL. -#}
{% macro clean_text(column) -%}
    case
        when upper(trim(cast({{ column }} as {{ dbt.type_string() }}))) in ('', 'NULL', 'N/A', '#N/A', '\N') then null
        else trim(cast({{ column }} as {{ dbt.type_string() }}))
    end
{%- endmacro %}
