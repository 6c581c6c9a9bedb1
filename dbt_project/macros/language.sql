{#- The primary language of a tag: en for en-US and en_GB. Anything longer than a tag stays, in lower case. -#}
{% macro language(column) -%}
    case
        when regexp_matches(lower({{ clean_text(column) }}), '^[a-z]{2,3}[-_]')
            then regexp_extract(lower({{ clean_text(column) }}), '^[a-z]{2,3}')
        else lower({{ clean_text(column) }})
    end
{%- endmacro %}
