{#-
  A postcode in the form its country uses. Where a country is unknown or has no rule here, the trimmed upper-case text
  stays; where a rule does not fit, the text is NULL and `postcode_problem` says so: a half-right postcode is worse
  than none for anything that is grouped or matched by it.
-#}
{% macro postcode(country, written) -%}
    {%- set compact = "regexp_replace(" ~ written ~ ", '[^A-Z0-9]', '', 'g')" -%}
    case {{ country }}
        when 'US' then case
            when regexp_matches({{ compact }}, '^[0-9]{5}$') then {{ compact }}
            when regexp_matches({{ compact }}, '^[0-9]{9}$') then substr({{ compact }}, 1, 5) || '-' || substr({{ compact }}, 6, 4)
            when regexp_matches({{ compact }}, '^[0-9]{4}$') then lpad({{ compact }}, 5, '0')
        end
        when 'DE' then case
            when regexp_matches({{ compact }}, '^D?[0-9]{4,5}$') then lpad(replace({{ compact }}, 'D', ''), 5, '0')
        end
        when 'GB' then case
            when regexp_matches({{ compact }}, '^([A-Z]{1,2}[0-9][A-Z0-9]?|GIR)[0-9][A-Z]{2}$')
                then substr({{ compact }}, 1, length({{ compact }}) - 3) || ' ' || right({{ compact }}, 3)
        end
        when 'CA' then case
            when regexp_matches({{ compact }}, '^[A-Z][0-9][A-Z][0-9][A-Z][0-9]$')
                then substr({{ compact }}, 1, 3) || ' ' || right({{ compact }}, 3)
        end
        when 'NL' then case
            when regexp_matches({{ compact }}, '^[0-9]{4}[A-Z]{2}$')
                then substr({{ compact }}, 1, 4) || ' ' || right({{ compact }}, 2)
        end
        else regexp_replace({{ written }}, '\s+', ' ', 'g')
    end
{%- endmacro %}

{% macro postcode_problem(country, written, postcode) -%}
    case when {{ written }} is not null and {{ postcode }} is null then 'not a postcode of ' || {{ country }} end
{%- endmacro %}
